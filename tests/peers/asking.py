"""Ask Redbike, and keep each answer beside the answer that was expected."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from redbike.schedule.forms import EARLIEST, read
from redbike.schedule.plan import Action

MOST_RUNS = 2_000


class Refused(Exception):
    """Redbike answered `BAD`, with this reason."""


class LeftOut(Exception):
    """A part of a peer's tests asks for nothing that a schedule text can say."""


@dataclass(frozen=True)
class Vector:
    """One expected answer of a peer, and the answer of Redbike."""

    source: str
    name: str
    text: str
    expected: str
    got: str

    @property
    def right(self) -> bool:
        return self.expected == self.got


@dataclass(frozen=True)
class Skipped:
    """One test or event of a peer that was left out, with the reason."""

    source: str
    name: str
    reason: str


class Asker:
    """Ask for runs. Count the questions, and remember the texts that were asked."""

    def __init__(self) -> None:
        self.questions = 0
        self.texts: list[str] = []

    def next_run(self, text: str, reference: float) -> float | None:
        """Return the next run in Unix seconds; None if there is none. Raise Refused."""
        self.questions += 1
        if self.texts[-1:] != [text]:
            self.texts.append(text)
        plan = read(text).first(reference)
        if plan.action is Action.BAD:
            raise Refused(plan.reason)
        return plan.due_at

    def runs(self, text: str, reference: float = EARLIEST) -> Iterator[float]:
        """Yield the runs after the reference time. Ask for each of them with the time of the run before."""
        for _ in range(MOST_RUNS):
            run = self.next_run(text, reference)
            if run is None:
                return
            yield run
            reference = run
        raise LeftOut(f"more than {MOST_RUNS} runs are asked for")

    def describe(self, text: str) -> str:
        """Return in words what a text leads to."""
        try:
            run = self.next_run(text, EARLIEST)
        except Refused as error:
            return refusal(error)
        return "accepted: no run" if run is None else f"accepted: {shown(moment(run))}, …"


def moment(instant: float) -> datetime:
    return datetime.fromtimestamp(instant, UTC)


def refusal(error: Refused) -> str:
    return f"refused: {error}"


def shown(value: object) -> str:
    """Return a value as text. Two values are equal answers if their texts are equal: times without a zone are UTC."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return f"{aware.astimezone(UTC):%Y%m%dT%H%M%S}Z"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(shown(item) for item in value)}]"
    return repr(value)
