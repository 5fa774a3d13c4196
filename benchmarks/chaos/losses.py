"""The replies that a round loses. Every kind of command that is sent loses some, rare kinds too.

At most two losses follow each other, as a rule: a third would only cause a pause, and show nothing more.
"""

import random
import threading
from collections import Counter

from benchmarks.chaos.proxy import Fate, Judge

OFTEN = 20
"""A kind that was seen so often without a loss was left out."""

EXPECTED = {f"EVALSHA {name}" for name in ("turn", "place", "promote", "unset")} | {"BLPOP", "SUBSCRIBE"}
"""What a fleet and those who set its jobs cannot do without: a round goes on until replies to each are lost."""

_MOST_IN_A_ROW = 2
_RARE, _SHARE_OF_RARE = 100, 0.5


class Losses:
    """The lost replies of one round, over all its proxies."""

    def __init__(self, rng: random.Random, share: float) -> None:
        """`share` of all commands lose their reply; of the first hundred of each kind, every second command does."""
        self._rng, self._share = rng, share
        self._lock = threading.Lock()
        self.are_on = False
        self.seen: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def judge(self, rest: int) -> Judge:
        """Return the judge for the proxy of one process. After a pair of losses at least `rest` commands pass."""
        in_a_row, passed = 0, rest

        def fate(_number: int, kind: str) -> Fate:
            nonlocal in_a_row, passed
            with self._lock:
                if not self.are_on:
                    return Fate.PASS
                self.seen[kind] += 1
                if passed >= rest:
                    in_a_row = 0
                share = _SHARE_OF_RARE if self.seen[kind] < _RARE else self._share
                is_wanted = not self.lost[kind] or self._rng.random() < share
                if not is_wanted or in_a_row == _MOST_IN_A_ROW:
                    passed += 1
                    return Fate.PASS
                in_a_row, passed = in_a_row + 1, 0
                self.lost[kind] += 1
                return Fate.LOSE_REPLY

        return fate

    def are_enough(self, count: int) -> bool:
        """Return True if this many replies are lost, and at least one of each expected kind."""
        return self.lost.total() >= count and not any(self.lost[kind] == 0 for kind in EXPECTED)

    def faults(self) -> list[str]:
        """Return the reasons why these losses prove less than they seem to."""
        left_out = [kind for kind, count in self.seen.items() if count >= OFTEN and not self.lost[kind]]
        missing = [kind for kind in EXPECTED if not self.lost[kind]]
        return [f"{kind}: seen {self.seen[kind]} times, no reply lost" for kind in sorted({*left_out, *missing})]
