"""A sync fails: what the disk holds is unknown, so the daemon ends, says why, and recovers."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tests.crash.daemons import Died, place_in
from tests.crash.driver import RUNS, until
from tests.crash.power import cut_power
from tests.crash.shim import Shim
from tests.crash.witness import check_effects, read_effects, read_left

STEPS = 20


async def test_daemon_ends_when_a_sync_fails_and_recovers_at_its_next_start(
    tmp_path: Path, library: Path
) -> None:
    async with place_in(tmp_path) as place:
        broken, undo = tmp_path / "broken", tmp_path / "undo"
        shim = Shim(library=library, database=place.database, eio=broken, undo=undo)
        daemon = await place.start(shim)
        run_id = (await daemon.post(RUNS, {"workflow": "crash-long", "input": STEPS}))["id"]

        broken.touch()
        # It may end before it has answered; what it must not do is accept.
        with suppress(Died):
            refused = await daemon.ask("POST", RUNS, {"workflow": "crash-short", "input": 1})
            assert refused.status == 500, refused
        code = await daemon.wait_ended()
        critical = [line for line in daemon.messages() if line["level"] == "critical"]
        # Lines of the log, which are JSON, may come in between from another thread.
        spoken = [line for line in daemon.log.read_text().splitlines() if line[:1] != "{"]
        # After a failed sync the system may have dropped what was to be written.
        cut_power(place.database, undo)
        left = read_left(place.database, boot=1)

        again = await place.start()
        run = await until(again, run_id)

    assert code == 1
    assert [line["message"] for line in critical] == ["the store is broken"]
    assert spoken[-2:] == [
        "agency-daemon: A commit or a sync of the database failed.",
        "Look at the disk and its log; the daemon recovers when it is started again.",
    ]
    assert left.integrity == "ok"
    assert run_id in left.runs
    assert (run["status"], run["output"], run["attempt"]) == ("completed", STEPS, 1)
    check_effects(read_effects(place.effects), [left])


async def test_daemon_does_not_start_on_a_disk_that_does_not_sync(
    tmp_path: Path, library: Path
) -> None:
    async with place_in(tmp_path) as place:
        broken = tmp_path / "broken"
        broken.touch()

        daemon = await place.spawn(Shim(library=library, database=place.database, eio=broken))
        code = await daemon.wait_ended()
        log = daemon.log.read_text()

        broken.unlink()
        await place.start()

    assert code == 1
    assert "cannot be opened" in log
    assert "Traceback" not in log
