# nightly_report.py
import csv
from datetime import date, timedelta
from pathlib import Path

from pydantic import BaseModel

from agency import Context, Retry, workflow

FOLDER = Path(__file__).parent


class Report(BaseModel):
    day: date
    pieces: int
    euros: int


def read_sales(day: date) -> list[dict[str, str]]:
    with (FOLDER / f"sales-{day}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def send(report: Report) -> str:
    with (FOLDER / "sent.log").open("a") as file:
        file.write(f"{report.day}: {report.pieces} pieces, {report.euros} EUR\n")
    return f"{report.pieces} pieces, {report.euros} EUR"


@workflow("nightly-report")
async def nightly_report(ctx: Context, day: date | None) -> str:
    """Sum up the sales of a day, of yesterday by default; send them when somebody agrees."""
    day = day or ctx.now().date() - timedelta(days=1)
    # The tills hand in late now and then: look again for an hour.
    late = Retry(attempts=7, base_s=600, factor=1, cap_s=600, jitter=False)
    sales = await ctx.step("read", read_sales, day, retry=late)
    report = Report(
        day=day,
        pieces=sum(int(sale["pieces"]) for sale in sales),
        euros=sum(int(sale["pieces"]) * int(sale["price"]) for sale in sales),
    )
    decision = await ctx.approve(
        f"Send the report of {day}?",
        show=report,
        schema=Report,
        expires_s=8 * 3600,
        name="send-report",
    )
    if not decision:
        return f"not sent: {decision.comment or 'nobody has looked at it'}"
    # Whoever has approved it may have corrected it.
    sent = await ctx.step("send", send, decision.value or report, effect="once")
    return f"sent: {sent}"
