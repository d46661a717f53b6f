# availability_planner.py
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, model_validator

from agency import Context, workflow

DAYS_MAX = 92
STEP_S = 900  # slots begin at full quarters of an hour

Span = tuple[datetime, datetime]


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin") from error
    return name


class Period(BaseModel):
    start: AwareDatetime
    end: AwareDatetime

    @model_validator(mode="after")
    def has_length(self) -> Self:
        if self.end <= self.start:
            raise ValueError("the end must be after the start")
        return self

    def span(self) -> Span:
        return self.start.astimezone(UTC), self.end.astimezone(UTC)


class Person(BaseModel):
    name: str
    zone: Annotated[str, AfterValidator(known_zone)] = "UTC"
    begins: time = time(9)
    ends: time = time(17)
    weekdays: set[Annotated[int, Field(ge=1, le=7)]] = {1, 2, 3, 4, 5}
    busy: Annotated[list[Period], Field(max_length=5000)] = []

    @model_validator(mode="after")
    def works_by_day(self) -> Self:
        if self.begins.tzinfo or self.ends.tzinfo or self.ends <= self.begins:
            raise ValueError("working hours are local, and end after they begin")
        return self


class Wish(BaseModel):
    people: Annotated[list[Person], Field(min_length=1, max_length=100)]
    window: Period
    minutes: Annotated[int, Field(ge=5, le=1440)] = 30
    slots: Annotated[int, Field(ge=1, le=50)] = 3

    @model_validator(mode="after")
    def is_bounded(self) -> Self:
        if self.window.end - self.window.start > timedelta(days=DAYS_MAX):
            raise ValueError(f"the window has more than {DAYS_MAX} days")
        return self


class Slot(BaseModel):
    start: datetime
    end: datetime
    local: dict[str, str]


def working_hours(person: Person, window: Span) -> list[Span]:
    """Working hours in UTC, in order; the clock change is that of the person's zone."""
    zone = ZoneInfo(person.zone)
    day = (window[0].astimezone(zone) - timedelta(days=1)).date()
    last = window[1].astimezone(zone).date()
    found = []
    while day <= last:
        if day.isoweekday() in person.weekdays:
            begin = datetime.combine(day, person.begins, zone).astimezone(UTC)
            end = datetime.combine(day, person.ends, zone).astimezone(UTC)
            found.append((begin, end))
        day += timedelta(days=1)
    return common(found, [window])


def common(one: list[Span], other: list[Span]) -> list[Span]:
    """What two ordered lists of spans have in common."""
    found, i, j = [], 0, 0
    while i < len(one) and j < len(other):
        start, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if start < end:
            found.append((start, end))
        if one[i][1] <= other[j][1]:
            i += 1
        else:
            j += 1
    return found


def without(spans: list[Span], busy: list[Span]) -> list[Span]:
    """What is left of ordered spans; busy ones may overlap and need no order."""
    for start, end in sorted(busy):
        left = []
        for begin, until in spans:
            left += [(begin, min(until, start)), (max(begin, end), until)]
        spans = [span for span in left if span[0] < span[1]]
    return spans


def starts(span: Span, length: timedelta) -> Iterator[datetime]:
    """Full quarters of an hour at which a slot fits into the span."""
    moment = datetime.fromtimestamp(-(-span[0].timestamp() // STEP_S) * STEP_S, UTC)
    while moment + length <= span[1]:
        yield moment
        moment += timedelta(seconds=STEP_S)


def plan(wish: Wish) -> list[Slot]:
    """The slots at which all are free, far from the ends of everybody's day, the best first."""
    window, length = wish.window.span(), timedelta(minutes=wish.minutes)
    free, days = [window], []
    for person in wish.people:
        hours = working_hours(person, window)
        days.append(hours)
        free = common(free, without(hours, [one.span() for one in person.busy]))

    def comfort(start: datetime) -> timedelta:
        """Distance to the nearest end of anybody's working day."""
        own = [day for hours in days for day in hours if day[0] <= start < day[1]]
        return min(min(start - day[0], day[1] - start - length) for day in own)

    fitting = [start for span in free for start in starts(span, length)]
    chosen: list[datetime] = []
    for start in sorted(fitting, key=lambda start: (-comfort(start), start)):
        if len(chosen) < wish.slots and all(abs(start - other) >= length for other in chosen):
            chosen.append(start)
    return [slot_at(start, length, wish.people) for start in chosen]


def slot_at(start: datetime, length: timedelta, people: list[Person]) -> Slot:
    local = {one.name: f"{start.astimezone(ZoneInfo(one.zone)):%a %H:%M}" for one in people}
    return Slot(start=start, end=start + length, local=local)


@workflow("availability")
async def availability(ctx: Context, wish: Wish) -> list[Slot]:
    """Find when everybody has time: working hours and zones counted, what is busy left out."""
    return await ctx.step("plan", plan, wish)
