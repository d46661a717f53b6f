# tests/test_nightly_report.py
from datetime import date, timedelta
from pathlib import Path

import nightly_report as example
import pytest
from nightly_report import nightly_report

DAY = date(2025, 12, 31)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sales of the day before the one on which the clock stands."""
    (tmp_path / f"sales-{DAY}.csv").write_text("pieces,price\n2,10\n1,5\n")
    monkeypatch.setattr(example, "FOLDER", tmp_path)
    return tmp_path


def test_report_is_sent_when_somebody_agrees(workflows, folder):
    run = workflows.run(nightly_report)
    assert run.wait("send-report").show["show"] == {"day": "2025-12-31", "pieces": 3, "euros": 25}

    run = workflows.approve(run)

    assert run.output == "sent: 3 pieces, 25 EUR"
    assert (folder / "sent.log").read_text() == "2025-12-31: 3 pieces, 25 EUR\n"


def test_whoever_agrees_may_correct_it(workflows, folder):
    run = workflows.run(nightly_report)

    run = workflows.approve(run, value={"day": "2025-12-31", "pieces": 3, "euros": 24})

    assert run.output == "sent: 3 pieces, 24 EUR"


def test_report_that_nobody_has_looked_at_is_not_sent(workflows, folder):
    run = workflows.run(nightly_report)

    workflows.advance(hours=8)

    assert workflows.get(run).output == "not sent: nobody has looked at it"
    assert not (folder / "sent.log").exists()


def test_missing_sales_fail_after_an_hour(workflows):
    began_at = workflows.clock.now()

    run = workflows.run(nightly_report, date(1999, 1, 1))

    assert run.status == "failed"
    assert run.error.error_class == "FileNotFoundError"
    assert workflows.clock.now() - began_at == timedelta(hours=1)


def test_report_is_sent_once_wherever_the_daemon_is_killed(workflows, folder):
    sent = folder / "sent.log"

    proof = workflows.prove_resumable(
        nightly_report,
        answers={"send-report": True},
        reset=lambda: sent.unlink(missing_ok=True),
    )

    assert proof.output == "sent: 3 pieces, 25 EUR"
    assert "send#1" not in proof.repeated
