"""Which replies a round loses, and of which kinds of commands: each kind that is sent has its turn, the rare ones too.

Losses come in pairs at the most, as a rule: a third in a row would show no more, and is answered with a pause.
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
    """Lost replies of one round, over all its proxies."""

    def __init__(self, rng: random.Random, share: float) -> None:
        """`share`: of the commands, whose reply is lost; of the first hundred of each kind, every other one's."""
        self._rng, self._share = rng, share
        self._lock = threading.Lock()
        self.are_on = False
        self.seen: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def judge(self, rest: int) -> Judge:
        """For the proxy of one process. After a pair of losses at least `rest` commands pass."""
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
        """Whether so many replies are lost, and of each kind that is expected at least one."""
        return self.lost.total() >= count and not any(self.lost[kind] == 0 for kind in EXPECTED)

    def faults(self) -> list[str]:
        """What makes these losses worth less than they seem."""
        left_out = [kind for kind, count in self.seen.items() if count >= OFTEN and not self.lost[kind]]
        missing = [kind for kind in EXPECTED if not self.lost[kind]]
        return [f"{kind}: seen {self.seen[kind]} times, no reply lost" for kind in sorted({*left_out, *missing})]
