"""Turn the calendars (.ics) in the tests of recurring-ical-events into questions to Redbike.

The expected answers are those of python-dateutil: each rule is walked on the wall clock, and each run is then read in
the zone of the start. The texts are the lines of an event as they stand in the file, unfolded, and its rules once more
in the small hours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from heapq import merge
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo, available_timezones

from dateutil.rrule import rrulestr

from .asking import Asker, LeftOut, Refused, Skipped, Vector, refusal, shown

SOURCE = "recurring-ical-events"
_FIRST_RUNS = 40
_LAST = datetime(2042, 1, 1, tzinfo=UTC)  # no question about later times
_PROPERTIES = ("DTSTART", "RRULE", "RDATE", "EXRULE", "EXDATE")
_COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL", "STANDARD", "DAYLIGHT")


@dataclass
class Event:
    """One component that recurs: its lines, in the order of the file."""

    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def values(self, name: str) -> Iterator[tuple[dict[str, str], str]]:
        """Yield the parameters and the value of each property of this name."""
        for line in self.lines:
            head, _, value = line.partition(":")
            own, *parameters = head.split(";")
            if own.upper() == name:
                yield dict(_pair(parameter) for parameter in parameters), value


def answers(calendars: dict[str, str], asker: Asker) -> Iterator[Vector | Skipped]:
    """Yield the answers for each event that recurs, as it is and in the small hours. Equal events are asked once."""
    known: set[str] = set()
    for name, text in sorted(calendars.items()):
        for number, event in enumerate(events(text), start=1):
            for kind, asked in (("", event), (", small hours", in_small_hours(event))):
                if asked is not None and asked.text not in known:
                    known.add(asked.text)
                    yield from _event(f"{name}, {number}{kind}", asked, asker)


def events(calendar: str) -> Iterator[Event]:
    """Yield the components of a calendar that have a rule or further dates."""
    open_components: list[tuple[str, Event]] = []
    for line in re.sub(r"\r?\n[ \t]", "", calendar).splitlines():
        name = re.split("[:;]", line, maxsplit=1)[0].upper()
        if name == "BEGIN":
            open_components.append((line.partition(":")[2].strip().upper(), Event()))
        elif name == "END" and open_components:
            component, event = open_components.pop()
            recurs = any(True for rule in ("RRULE", "RDATE") for _ in event.values(rule))
            if component in _COMPONENTS and recurs:
                yield event
        elif name in _PROPERTIES and open_components:
            open_components[-1][1].lines.append(line)


def in_small_hours(event: Event) -> Event | None:
    """Return the rules of an event from 02:30 in New York on, which the clock leaves out once a year.

    The events of the calendars take place by day. None if the event has no rule, or a start before that zone's rules.
    """
    rules = [line for line in event.lines if line.upper().startswith(("RRULE:", "EXRULE:"))]
    days = [re.match(r"\d{8}", value) for _, value in event.values("DTSTART")]
    if not rules or len(days) != 1 or days[0] is None or days[0][0] < "1970":
        return None
    return Event([f"DTSTART;TZID=America/New_York:{days[0][0]}T023000", *rules])


def _event(name: str, event: Event, asker: Asker) -> Iterator[Vector | Skipped]:
    try:
        expected = list(expected_runs(event))
    except LeftOut as error:
        yield Skipped(SOURCE, name, str(error))
        return
    except Refused:
        answer = asker.describe(event.text)
        yield Vector(SOURCE, name, event.text, "refused", "refused" if answer.startswith("refused") else answer)
        return
    complete = not expected or expected[-1] < _LAST - timedelta(days=1500)
    # From the start on, then from some later times: a job is often set long after the start.
    yield _walk(name, event.text, expected[:_FIRST_RUNS], complete and len(expected) <= _FIRST_RUNS, asker)
    for index in range(_FIRST_RUNS, len(expected) - 1, max(1, len(expected) // 20)):
        earlier, later = expected[index : index + 2]
        for reference in (earlier, later - timedelta(seconds=1)):
            yield _next(name, event.text, reference, later, asker)


def _walk(name: str, text: str, expected: list[datetime], complete: bool, asker: Asker) -> Vector:
    wanted = [shown(run) for run in expected] + (["no further run"] if complete else [])
    got = []
    try:
        for run in islice(asker.runs(text), len(wanted)):
            got.append(shown(datetime.fromtimestamp(run, UTC)))
        if len(got) < len(wanted):
            got.append("no further run")
    except Refused as error:
        got = [refusal(error)]
    return Vector(SOURCE, name, text, " ".join(wanted), " ".join(got))


def _next(name: str, text: str, reference: datetime, expected: datetime, asker: Asker) -> Vector:
    try:
        run = asker.next_run(text, reference.timestamp())
        got = "no further run" if run is None else shown(datetime.fromtimestamp(run, UTC))
    except Refused as error:
        got = refusal(error)
    return Vector(SOURCE, f"{name}, after {shown(reference)}", text, shown(expected), got)


def expected_runs(event: Event) -> Iterator[datetime]:
    """Yield what python-dateutil finds, in UTC, up to the last year that is asked for.

    Raise LeftOut if there is no answer, and Refused if python-dateutil refuses a rule.
    """
    starts = list(event.values("DTSTART"))
    if len(starts) != 1:
        raise LeftOut("has no start, or several")
    parameters, value = starts[0]
    zone = _zone(parameters)
    start = _moment(value, zone)
    here = start.tzinfo or UTC
    found = [_rule(value, start, here) for _, value in event.values("RRULE")]
    found.append(iter(sorted(_instant(moment, here) for moment, _ in _moments(event, "RDATE"))))
    excluded_rules = [_rule(value, start, here) for _, value in event.values("EXRULE")]
    excluded = {run for rule in excluded_rules for run in takewhile(lambda run: run < _LAST, rule)}
    days = set()
    for moment, is_date in _moments(event, "EXDATE"):
        excluded.add(_instant(moment, here))
        if is_date:
            days.add(moment.date())
    for before, run in pairwise([None, *takewhile(lambda run: run < _LAST, merge(*found))]):
        if run != before and run not in excluded and run.astimezone(here).date() not in days:  # type: ignore[union-attr]
            yield run  # type: ignore[misc]


def _rule(value: str, start: datetime, zone: tzinfo) -> Iterator[datetime]:
    parts = dict(_pair(part) for part in value.strip().split(";") if part)
    until = parts.pop("UNTIL", None)
    last = None if until is None else _instant(_moment(until, None), zone)
    try:
        walls = rrulestr(";".join(f"{name}={part}" for name, part in parts.items()), dtstart=start.replace(tzinfo=None))
    except ValueError as error:
        raise Refused(f"python-dateutil: {error}") from error
    found = (_instant(wall, zone) for wall in walls)
    return takewhile(lambda run: last is None or run <= last, found)


def _moments(event: Event, name: str) -> Iterator[tuple[datetime, bool]]:
    """Yield each date of the properties of this name, and whether it is a date without a time."""
    for parameters, values in event.values(name):
        for value in filter(None, values.split(",")):
            start = value.partition("/")[0]
            yield _moment(start, _zone(parameters)), "T" not in start


def _moment(value: str, zone: tzinfo | None) -> datetime:
    match = re.fullmatch(r"(\d{8})(?:T(\d{6})(Z?))?", value.strip())
    if match is None:
        raise LeftOut("has a date that is not in a form of RFC 5545")
    wall = datetime.strptime(match[1] + (match[2] or "000000"), "%Y%m%d%H%M%S")
    return wall.replace(tzinfo=UTC if match[3] else zone)


def _instant(moment: datetime, zone: tzinfo) -> datetime:
    """Return a moment in UTC. Of a wall time in a gap or shown twice, `zoneinfo` takes the offset before the change."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _zone(parameters: dict[str, str]) -> ZoneInfo | timezone | None:
    name = parameters.get("TZID")
    if name is None:
        return None
    known = _zones().get(name.strip('"').casefold())
    if known is None:
        raise LeftOut("has a zone that its calendar defines, outside of the IANA database")
    return ZoneInfo(known)


@lru_cache(maxsize=1)
def _zones() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones()}


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().upper(), value.strip()
