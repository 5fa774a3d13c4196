"""Turn python-dateutil's own tests of its module `rrule` into questions to Redbike."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from itertools import islice, takewhile
from types import SimpleNamespace
from typing import Any

from dateutil import rrule as dateutil_rrule
from dateutil import tz

from .asking import Asker, LeftOut, moment
from .interpreter import Answer, TestFile

SOURCE = "python-dateutil"
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
_WEEKDAYS = (
    dateutil_rrule.MO,
    dateutil_rrule.TU,
    dateutil_rrule.WE,
    dateutil_rrule.TH,
    dateutil_rrule.FR,
    dateutil_rrule.SA,
    dateutil_rrule.SU,
)


def answers(test_file: str, asker: Asker) -> Iterator[Answer]:
    """Yield the answers to the tests in the text of `tests/test_rrule.py`."""

    def rrule(freq: int, **options: Any) -> "Rule":
        return Rule(asker, freq, options)

    def rrulestr(text: str, **options: Any) -> "Times":
        for option in options.keys() - {"dtstart", "unfold", "forceset", "cache"}:
            raise LeftOut(f"rrulestr(…, {option}=…) is not part of a text")
        start = f"DTSTART:{_written(options['dtstart'])}\n" if "dtstart" in options else ""
        return Times(asker, start + text)

    def written_and_read(rule: "Rule") -> Iterator[tuple[Callable[[], object], object]]:
        theirs = rule.of_dateutil()
        yield lambda: list(Times(asker, str(theirs))), list(theirs)

    names: dict[str, object] = {
        "datetime": datetime,
        "date": date,
        "tz": SimpleNamespace(gettz=tz.gettz, UTC=tz.UTC),
        "PY2": False,
        "rrule": rrule,
        "rrulestr": rrulestr,
        "rruleset": lambda cache=False: RuleSet(asker),  # noqa: ARG005 - as python-dateutil calls it
    }
    names |= {name: number for number, name in enumerate(_FREQUENCIES)}
    names |= {str(day): day for day in _WEEKDAYS}
    file = TestFile(SOURCE, test_file, names, asker)
    file.replace_helper("_rrulestr_reverse_test", written_and_read)
    yield from file.answers()


class Times:
    """The runs of a text, with the methods that python-dateutil has for its rules."""

    def __init__(self, asker: Asker, text: str) -> None:
        self._asker, self._text = asker, text
        # python-dateutil raises when a rule is made, and Redbike when a text is asked.
        asker.next_run(self.text, 0)

    @property
    def text(self) -> str:
        return self._text

    def __iter__(self) -> Iterator[datetime]:
        return map(moment, self._asker.runs(self.text))

    def __contains__(self, when: datetime) -> bool:
        return _aware(when) in list(self)

    def __getitem__(self, index: int | slice) -> object:
        forward = isinstance(index, slice) and (index.step or 1) > 0 and (index.stop or 0) > 0
        if isinstance(index, slice) and forward:
            return list(islice(self, index.start, index.stop, index.step))
        return list(self)[index]

    def count(self) -> int:
        return len(list(self))

    def after(self, when: datetime, inc: bool = False) -> datetime | None:
        run = self._asker.next_run(self.text, _aware(when).timestamp() - inc)
        return None if run is None else moment(run)

    def xafter(self, when: datetime, count: int | None = None, inc: bool = False) -> Iterator[datetime]:
        later = self._asker.runs(self.text, _aware(when).timestamp() - inc)
        return map(moment, islice(later, count))

    def before(self, when: datetime, inc: bool = False) -> datetime | None:
        earlier = takewhile(lambda run: run < _aware(when) or (inc and run == _aware(when)), self)
        return max(earlier, default=None)

    def between(self, after: datetime, before: datetime, inc: bool = False) -> list[datetime]:
        first, last = _aware(after), _aware(before)
        until_last = takewhile(lambda run: run <= last, self)
        return [run for run in until_last if first < run < last or (inc and run in (first, last))]


class Rule(Times):
    """A rule that a test makes with arguments. The text is made of them."""

    def __init__(self, asker: Asker, freq: int, options: dict[str, Any]) -> None:
        self.freq, self.options = freq, {name: value for name, value in options.items() if name != "cache"}
        if "dtstart" not in options:
            raise LeftOut("a rule without a start goes by the clock of python-dateutil's machine")
        super().__init__(asker, "\n".join((self.start_line(), f"RRULE:{self.value()}")))

    def start_line(self) -> str:
        return f"DTSTART:{_written(self.options['dtstart'])}"

    def value(self) -> str:
        """Return the rule as it stands after `RRULE:`."""
        parts = [f"FREQ={_FREQUENCIES[self.freq]}"]
        for name, value in self.options.items():
            if name != "dtstart":
                name = "byday" if name == "byweekday" else name
                write = _weekday if name == "byday" else _written
                parts.append(f"{name.upper()}={','.join(write(item) for item in _several(value))}")
        return ";".join(parts)

    def replace(self, **options: Any) -> "Rule":
        return Rule(self._asker, self.freq, self.options | options)

    def of_dateutil(self) -> dateutil_rrule.rrule:
        return dateutil_rrule.rrule(self.freq, **self.options)  # type: ignore[arg-type]


class RuleSet(Times):
    """A set of rules and dates that a test puts together."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._starts: set[str] = set()
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        if len(self._starts) > 1:
            raise LeftOut("a text has one start for all of its rules")
        return "\n".join([*self._starts, *self._lines])

    def rrule(self, rule: Rule) -> None:
        self._add("RRULE", rule)

    def exrule(self, rule: Rule) -> None:
        self._add("EXRULE", rule)

    def rdate(self, when: datetime) -> None:
        self._lines.append(f"RDATE:{_written(when)}")

    def exdate(self, when: datetime) -> None:
        self._lines.append(f"EXDATE:{_written(when)}")

    def _add(self, name: str, rule: Rule) -> None:
        self._starts.add(rule.start_line())
        self._lines.append(f"{name}:{rule.value()}")


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (tuple, list, range)) else (value,)


def _weekday(value: Any) -> str:
    day = _WEEKDAYS[value] if isinstance(value, int) else value
    return f"{day.n or ''}{str(day)[:2]}"


def _written(value: Any) -> str:
    if not isinstance(value, date):
        return str(value)
    if not isinstance(value, datetime):
        return f"{value:%Y%m%d}"
    if value.tzinfo is not None and value.utcoffset():
        raise LeftOut("a time in a zone that the test makes")
    return f"{value:%Y%m%dT%H%M%S}{'Z' if value.tzinfo else ''}"


def _aware(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)
