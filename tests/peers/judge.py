"""Judge the answers of Redbike, and report them as a table."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .asking import Asker, Skipped, Vector
from .differences import Difference

_SHOWN_CHARS = 600


@dataclass
class Tally:
    """What came of the vectors of one source."""

    title: str
    fewest: int
    """With fewer vectors than this, the source is not read as it was."""
    questions: int = 0
    right: int = 0
    explained: int = 0
    wrong: list[Vector] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def vectors(self) -> int:
        return self.right + self.explained + len(self.wrong)


@dataclass
class Judgement:
    """What came of all sources."""

    differences: Sequence[Difference]
    tallies: list[Tally] = field(default_factory=list)
    met: Counter[Difference] = field(default_factory=Counter)

    def judge(self, title: str, fewest: int, answers: Iterable[Vector | Skipped], asker: Asker) -> None:
        """Count the answers of one source."""
        tally = Tally(title, fewest)
        before = asker.questions
        for answer in answers:
            if isinstance(answer, Skipped):
                tally.left_out[answer.reason] += 1
            elif answer.right:
                tally.right += 1
            else:
                reasons = [difference for difference in self.differences if difference.explains(answer)]
                self.met.update(reasons[:1])
                tally.explained += bool(reasons)
                tally.wrong += [] if reasons else [answer]
        tally.questions = asker.questions - before
        self.tallies.append(tally)

    def failures(self) -> Iterator[str]:
        """Yield what fails the run: wrong answers, sources that are not read, and entries that are out of date."""
        for tally in self.tallies:
            for vector in tally.wrong:
                yield (
                    f"WRONG: {tally.title}, {vector.name}: {_cut(repr(vector.text))}\n"
                    f"    expected: {_cut(vector.expected)}\n"
                    f"    Redbike:  {_cut(vector.got)}"
                )
            if tally.vectors < tally.fewest:
                yield f"{tally.title}: {tally.vectors} vectors were read, at least {tally.fewest} are expected"
        for difference in self.differences:
            if not self.met[difference] and not difference.pending:
                yield f"out of date: no vector of {difference.source} meets {difference.name!r}: {difference.reason}"

    def report(self) -> Iterator[str]:
        """Yield the lines of the table, and the reasons below it."""
        heads = ("source", "vectors", "questions", "right", "different, meant", "wrong", "left out")
        rows = [
            (t.title, t.vectors, t.questions, t.right, t.explained, len(t.wrong), t.left_out.total())
            for t in self.tallies
        ]
        cells = [heads, *(tuple(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) for row in rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
        for name, *numbers in cells:
            yield "  ".join([name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])])
        yield "\nDifferent, and meant:"
        for difference in self.differences:
            if self.met[difference]:
                yield f"  {self.met[difference]} of {difference.source}: {difference.reason}"
            elif difference.pending:
                yield f"  none of {difference.source}: {difference.reason}: take this entry out, or make it final"
        yield "\nLeft out:"
        for tally in self.tallies:
            for reason, count in tally.left_out.most_common():
                yield f"  {count} of {tally.title}: {reason}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
