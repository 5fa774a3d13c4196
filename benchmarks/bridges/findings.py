"""The findings of a row: a number or counts, the bar, and whether the bar is met."""

from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the table."""

    title: str
    value: str
    bar: str = ""
    is_met: bool | None = None
    """Whether the bar is met; None without a bar."""
    is_sound: bool = True
    """False if a message was lost, was sent twice or has a wrong id. It does not depend on the speed of the machine."""


class Sizes(NamedTuple):
    """How large a row is."""

    rounds: int = 3
    senders: int = 2_000  # entries of which one is due each second, for the rates
    warm_s: float = 2.0  # before a rate or the idle beat is measured
    window_s: float = 10.0  # of one rate
    now_runs: int = 200
    entries: int = 100_000
    down_s: float = 20.0
    frozen_s: float = 10.0
    kills: int = 20
    lease_s: float = 60.0
    period_s: int = 10  # of the entries that run again and again
    steady_s: float = 60.0
    idle_s: float = 20.0
    bad_s: float = 15.0

    @property
    def socket_timeout_s(self) -> float:
        """The time limit of a reply of the broker: without an answer for so long, it counts as away."""
        return min(10.0, self.lease_s / 2)


FULL = Sizes()
QUICK = Sizes(
    rounds=1, window_s=3.0, now_runs=30, entries=5_000, down_s=4.0, frozen_s=3.0, kills=4, lease_s=3.0,
    period_s=2, steady_s=5.0, idle_s=3.0, bad_s=3.0,
)  # fmt: skip
SUITE = Sizes(
    rounds=1, senders=200, warm_s=0.2, window_s=0.5, now_runs=5, entries=500, down_s=1.5, frozen_s=1.5, kills=2,
    lease_s=2.0, period_s=2, steady_s=2.0, idle_s=1.0, bad_s=2.0,
)  # fmt: skip
"""The test suite judges only whether the messages are right, not how long they take."""


def table(findings: Iterable[Finding]) -> str:
    """Return the findings as a table."""
    rows = [("figure", "measured", "bar", "")]
    for one in findings:
        verdict = "" if one.is_met is None else "met" if one.is_met else "MISSED"
        rows.append((one.title, one.value, one.bar, verdict if one.is_sound else "WRONG"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
