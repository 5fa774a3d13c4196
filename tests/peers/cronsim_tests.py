"""Turn cronsim's own tests into questions to Redbike, whose cron expressions cronsim reads."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import cronsim

from .asking import Asker, LeftOut, Refused, moment
from .interpreter import Answer, Predicted, TestFile

SOURCE = "cronsim"
_YEAR = 2020  # of the tests without a zone


def answers(test_file: str, asker: Asker) -> Iterator[Answer]:
    """Yield the answers to the tests in the text of `tests/test_cronsim.py`."""

    def as_cronsim_itself(expression: str, now: datetime) -> Iterator[tuple[Callable[[], object], object]]:
        theirs = list(islice(cronsim.CronSim(expression, now), 5))
        yield lambda: list(islice(Expression(asker, expression, now), 5)), theirs

    names: dict[str, object] = {
        "datetime": datetime,
        "timezone": _Timezone(),
        "ZoneInfo": ZoneInfo,
        "CronSim": _Expressions(asker),
        "CronSimError": Refused,
    }
    file = TestFile(SOURCE, test_file, names, asker)
    file.replace_helper("_test", as_cronsim_itself)
    yield from file.answers()


class _Timezone:
    utc = UTC


class _Expressions:
    """The class `CronSim` of the tests."""

    LAST = cronsim.CronSim.LAST
    LAST_WEEKDAY = cronsim.CronSim.LAST_WEEKDAY

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __call__(self, expression: str, now: datetime, reverse: bool = False) -> "Expression":
        if reverse:
            raise LeftOut("goes backwards")
        return Expression(self._asker, expression, now)


class Expression:
    """The runs of a cron expression in the zone of `now`, and the fields that a test may ask for."""

    def __init__(self, asker: Asker, expression: str, now: datetime) -> None:
        zone = now.tzinfo.key if isinstance(now.tzinfo, ZoneInfo) else ""
        self._text = f"CRON:{expression} {zone}".rstrip()
        self._asker, self._zone = asker, now.tzinfo
        self._reference = (now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp()
        # cronsim raises when an expression is read, and Redbike when a text is asked.
        asker.next_run(self._text, self._reference)

    def __iter__(self) -> "Expression":
        return self

    def __next__(self) -> datetime:
        run = self._asker.next_run(self._text, self._reference)
        if run is None:
            raise StopIteration
        self._reference = run
        return _in_zone(run, self._zone)

    @property
    def minutes(self) -> "Field":
        return self._field("{0} * * * *", timedelta(days=1), lambda run: {run.minute})

    @property
    def hours(self) -> "Field":
        return self._field("* {1} * * *", timedelta(days=1), lambda run: {run.hour})

    @property
    def days(self) -> "Field":
        return self._field("0 0 {2} * *", timedelta(days=365), _names_of_day)

    @property
    def months(self) -> "Field":
        return self._field("0 0 * {3} *", timedelta(days=365), lambda run: {run.month})

    @property
    def weekdays(self) -> "Field":
        return self._field("0 0 * * {4}", timedelta(days=365), _names_of_weekday)

    def _field(self, alone: str, length: timedelta, names: Callable[[datetime], set[object]]) -> "Field":
        fields = self._text.removeprefix("CRON:").split()
        return Field(self._asker, f"CRON:{alone.format(*fields)}", length, names)


class Field(Predicted):
    """The values of one field, as the runs within a year or a day show them."""

    def __init__(self, asker: Asker, text: str, length: timedelta, names: Callable[[datetime], set[object]]) -> None:
        start = datetime(_YEAR, 1, 1, tzinfo=UTC)
        runs = asker.runs(text, start.timestamp() - 1)
        self._got = [moment(run) for run in takewhile(lambda run: moment(run) < start + length, runs)]
        self._step = timedelta(days=1) if length > timedelta(days=1) else timedelta(minutes=1)
        self._start, self._length, self._names = start, length, names

    def answers(self, expected: object) -> tuple[object, object]:
        """Return the runs, and the times whose value is among the expected values."""
        assert isinstance(expected, set)
        times = (self._start + number * self._step for number in range(self._length // self._step))
        return self._got, [time for time in times if self._names(time) & expected]


def _names_of_day(run: datetime) -> set[object]:
    """Return what cronsim's field of days may call this day."""
    last = (run.date().replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    last_weekday = last - timedelta(days=max(0, last.weekday() - 4))
    names: set[object] = {run.day}
    if run.date() == last:
        names.add(cronsim.CronSim.LAST)
    if run.date() == last_weekday:
        names.add(cronsim.CronSim.LAST_WEEKDAY)
    return names


def _names_of_weekday(run: datetime) -> set[object]:
    """Return what cronsim's field of weekdays may call this day."""
    last = run.month != (run + timedelta(days=7)).month
    names: set[object] = set()
    for number in {run.isoweekday(), run.isoweekday() % 7}:
        names |= {number, (number, (run.day + 6) // 7)}
        if last:
            names.add((number, cronsim.CronSim.LAST))
    return names


def _in_zone(run: float, zone: tzinfo | None) -> datetime:
    return moment(run).astimezone(zone) if zone else moment(run).replace(tzinfo=None)
