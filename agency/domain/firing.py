"""When a schedule fires: pure, from its spec alone.

**Cron and the clocks of people.** A cron expression is about wall clocks, and those have days on
which an hour is missing and days on which one comes twice. The rule is that of Vixie's and Debian's
cron, as cronsim has it:

- An expression whose minute and hour both say which (neither begins with ``*``) means *times of the
  day*. A time that is missing is fired once, at the first moment after the gap; one that comes
  twice is fired the first time only.
- Any other means *every so often*. It goes by the time that passes: what is missing is left out,
  and what comes twice is fired twice.

cronsim reads the expression and walks the calendar, always without a zone; the zone is put on here.
Its own walk with a zone takes steps of an hour in UTC, and so goes astray where clocks are moved by
half an hour (Australia/Lord_Howe) or at midnight (Africa/Cairo); and it leaves expressions with
seconds out of the rule.
Source: cron(8) of Debian, "Local-time changes less than three hours"; cronsim, README, "Handling of
DST". No bound of three hours is needed here: larger gaps (Pacific/Apia, 2011) go by the same rule.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from agency.core.clock import to_micros
from agency.core.records import dataclass
from agency.core.suggestions import nearest
from agency.domain.schedule import Schedule, ScheduleSpec
from agency.errors import Fault

CRON_CHARACTERS_MAX = 256
"""Length of a cron expression: the longest sensible ones list every minute of an hour."""
INTERVAL_S_MIN = 1.0
"""As often as the finest cron expression."""
INTERVAL_S_MAX = 10 * 366 * 86_400.0
JITTER_S_MAX = 86_400.0
CATCH_UP_MAX = 100
"""Runs that one look at a schedule starts at most: more hold up other writers."""
MISSED_MAX = 2_000
"""Missed firings that are counted one by one: more would hold up the loop."""
MOMENT_MIN = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_MAX = datetime(2200, 1, 1, tzinfo=UTC)
"""Moments of a schedule lie between these, far from where calendars end."""

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_FIRST_WINDOW = timedelta(minutes=1)


def check_timing(spec: ScheduleSpec) -> list[Fault]:
    """Find all that is wrong with when a schedule is to fire."""
    faults = []
    if (spec.cron is None) == (spec.interval_s is None):
        where = "/cron" if spec.cron is None else "/interval_s"
        faults.append(Fault(where, "Either cron or interval_s is needed, and not both."))
    faults += _check_zone(spec.zone)
    if spec.cron is not None:
        faults += _check_cron(spec.cron)
        if spec.anchor_at is not None:
            faults.append(Fault("/anchor_at", "Only an interval_s has an anchor."))
    faults += _check_spans(spec)
    for name in ("anchor_at", "starts_at", "ends_at"):
        moment = getattr(spec, name)
        if moment is not None and not MOMENT_MIN <= moment < MOMENT_MAX:
            faults.append(Fault(f"/{name}", "A moment from 1970 to 2199 is needed."))
    if spec.starts_at is not None and spec.ends_at is not None and spec.starts_at >= spec.ends_at:
        faults.append(Fault("/ends_at", "It is not after starts_at, so nothing would be fired."))
    return faults


def _check_spans(spec: ScheduleSpec) -> Iterator[Fault]:
    interval_s = spec.interval_s
    if interval_s is not None and not INTERVAL_S_MIN <= interval_s <= INTERVAL_S_MAX:
        what = f"From {INTERVAL_S_MIN:g} to {INTERVAL_S_MAX:g} seconds are needed."
        yield Fault("/interval_s", what)
    if not 0 <= spec.jitter_s <= JITTER_S_MAX:
        yield Fault("/jitter_s", f"From 0 to {JITTER_S_MAX:g} seconds are needed.")
    elif interval_s is not None and spec.jitter_s > interval_s:
        yield Fault("/jitter_s", "It is longer than interval_s.")
    if not 1 <= spec.catch_up_max <= CATCH_UP_MAX:
        yield Fault("/catch_up_max", f"From 1 to {CATCH_UP_MAX} firings are needed.")


def _check_cron(cron: str) -> list[Fault]:
    hint = "Write minute, hour, day of the month, month, day of the week: 30 2 * * MON-FRI."
    if len(cron) > CRON_CHARACTERS_MAX:
        return [Fault("/cron", f"It has more than {CRON_CHARACTERS_MAX} characters.", hint)]
    try:
        walk = CronSim(cron, datetime(2000, 1, 1))  # noqa: DTZ001  a wall clock
    except CronSimError as error:
        return [Fault("/cron", f"{cron!r} is no cron expression: {_lower(str(error))}.", hint)]
    if next(walk, None) is None:
        return [Fault("/cron", f"{cron!r} never comes.", hint)]
    return []


def _check_zone(zone: str) -> list[Fault]:
    try:
        load_zone(zone)
    except LookupError:
        near = nearest(zone[:64], available_timezones())
        hint = f"Did you mean {near!r}?" if near else "Write an IANA name: Europe/Berlin."
        return [Fault("/zone", f"There is no time zone {zone[:64]!r}.", hint)]
    return []


def load_zone(name: str) -> ZoneInfo:
    """Load a time zone by its IANA name.

    Raises:
        LookupError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        # A folder of zones, or a name that leaves their folder, is no zone, either.
        raise LookupError(f"There is no time zone {name!r}.") from error


def expected_times(
    schedule: Schedule, *, after: datetime, until: datetime | None, limit: int
) -> Sequence[datetime]:
    """List the moments at which a schedule is to fire, in UTC, strictly rising.

    However a span is cut into pieces, the pieces together have the moments of the whole.

    Args:
        after: Only later ones.
        until: None later than this; None for no bound.
        limit: At most so many, 1 or more.

    Raises:
        LookupError: the time zone is not known any more.
    """
    spec = schedule.spec
    if spec.starts_at is not None:
        after = max(after, spec.starts_at - timedelta(microseconds=1))
    found = []
    for moment in islice(_all_times(schedule, after), limit):
        if until is not None and moment > until:
            break
        if spec.ends_at is not None and moment >= spec.ends_at:
            break
        found.append(moment)
    return found


def next_time(schedule: Schedule, *, after: datetime) -> datetime | None:
    """Tell when a schedule fires next after a moment, or None. Raises as `expected_times`."""
    found = expected_times(schedule, after=after, until=None, limit=1)
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Missed:
    """Expected moments of a span.

    Attributes:
        newest: The newest of them, oldest first.
        older: How many come before those; None: more than `MISSED_MAX`.
        oldest: The very first of all, when there are older ones.
    """

    newest: Sequence[datetime]
    older: int | None
    oldest: datetime | None


def newest_times(schedule: Schedule, *, after: datetime, until: datetime, limit: int) -> Missed:
    """Find the newest expected moments of a span that may hold millions, without counting them all.

    Raises as `expected_times`.
    """
    first = expected_times(schedule, after=after, until=until, limit=MISSED_MAX + 1)
    if len(first) <= MISSED_MAX:
        cut = max(0, len(first) - limit)
        return Missed(first[cut:], cut, first[0] if cut else None)
    window = _FIRST_WINDOW
    while True:
        # Twice as long a look each time: what is looked at in vain is less than what is found.
        start = max(after, until - window)
        walk = _bounded(schedule, start, until)
        newest = deque(walk, maxlen=limit)
        if len(newest) == limit or start == after:
            return Missed(list(newest), None, first[0])
        window *= 2


def _bounded(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    while page := expected_times(schedule, after=after, until=until, limit=MISSED_MAX):
        yield from page
        after = page[-1]


def due_time(schedule: Schedule, expected_at: datetime) -> datetime:
    """Put an expected moment off by its jitter: the same always, and another for the next one.

    Never beyond the moment that is expected after it, so that firings keep their order.
    Raises as `expected_times`.
    """
    jitter_s = schedule.spec.jitter_s
    if jitter_s <= 0:
        return expected_at
    following = next_time(schedule, after=expected_at)
    if following is not None:
        jitter_s = min(jitter_s, (following - expected_at).total_seconds())
    said = f"{schedule.spec.name}\x1f{to_micros(expected_at)}"
    share = int.from_bytes(hashlib.sha256(said.encode()).digest()[:7]) / (1 << 56)
    return expected_at + timedelta(seconds=share * jitter_s)


def _all_times(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    spec = schedule.spec
    after = min(max(after.astimezone(UTC), MOMENT_MIN), MOMENT_MAX)
    if spec.interval_s is not None:
        times = _interval_times(schedule.anchor_at, spec.interval_s, after)
    else:
        assert spec.cron is not None, spec.name
        zone = load_zone(spec.zone)
        minute, hour = spec.cron.split()[-5:-3]
        is_timed = not minute.startswith("*") and not hour.startswith("*")
        walk = _daily_times if is_timed else _elapsed_times
        times = walk(spec.cron, zone, after)
    for moment in times:
        if moment >= MOMENT_MAX:
            return
        yield moment


def _interval_times(anchor_at: datetime, interval_s: float, after: datetime) -> Iterator[datetime]:
    """Whole intervals from the anchor on; in whole microseconds, so that no error adds up."""
    anchor, step = to_micros(anchor_at), max(1, round(interval_s * 1_000_000))
    count = max(0, (to_micros(after) - anchor) // step + 1)
    while True:
        yield MOMENT_MIN + timedelta(microseconds=anchor + count * step)
        count += 1


def _daily_times(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Times of the day: once each, those of a gap at its end."""
    last = after
    for wall in CronSim(cron, _wall(after, zone)):
        moment = _moment(wall, zone)
        # Several of a gap come at its end, together with one that is meant there; and from the
        # second of two hours on, the first one is over.
        if moment > last:
            yield moment
            last = moment


def _elapsed_times(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Every so often: by the wall clock from one change of it to the next."""
    while True:
        offset = _offset(after, zone)
        change = None
        for wall in CronSim(cron, _naive(after + offset)):
            moment = (wall - offset).replace(tzinfo=UTC)
            change = _find_change(zone, after, moment)
            if change is not None:
                break
            yield moment
            after = moment
        if change is None:
            return
        # What follows is looked for behind the change, so that its own moment is looked at here.
        wall = _naive(change + _offset(change, zone))
        if next(CronSim(cron, wall - _SECOND), None) == wall:
            yield change
        after = change


def _find_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """Find the first moment in ``(after, until]`` with another offset from UTC than ``after``.

    Looked for day by day: no zone moves its clocks twice within one.
    """
    offset = _offset(after, zone)
    while after < until:
        step = min(after + _DAY, until)
        if _offset(step, zone) != offset:
            return _bisect(zone, after, step, offset)
        after = step
    return None


def _bisect(zone: ZoneInfo, low: datetime, high: datetime, offset: timedelta) -> datetime:
    """Find the second at which the offset changes; it does at whole ones."""
    before = math.floor(low.timestamp())
    behind = math.ceil(high.timestamp())
    while behind - before > 1:
        middle = (before + behind) // 2
        if _offset(datetime.fromtimestamp(middle, UTC), zone) == offset:
            before = middle
        else:
            behind = middle
    return datetime.fromtimestamp(behind, UTC)


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """Tell when a wall clock first shows a time, or else, in a gap, when it first shows a later."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall(moment, zone) == wall:
        return moment
    # In a gap the offset from before it counts, so this lies behind the change.
    change = _find_change(zone, moment - _DAY, moment)
    assert change is not None, (wall, zone.key)
    return change


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None, zone.key
    return offset


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
