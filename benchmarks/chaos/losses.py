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
"""Kinds without which a fleet and those who set its jobs did not do what they are there for."""

_MOST_IN_A_ROW = 2


class Losses:
    """Lost replies of one round, over all its proxies."""

    def __init__(self, rng: random.Random, share: float) -> None:
        """`share`: of the commands, beside the first of each kind, whose reply is lost."""
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
                is_wanted = not self.lost[kind] or self._rng.random() < self._share
                if not is_wanted or in_a_row == _MOST_IN_A_ROW:
                    passed += 1
                    return Fate.PASS
                in_a_row, passed = in_a_row + 1, 0
                self.lost[kind] += 1
                return Fate.LOSE_REPLY

        return fate

    def faults(self) -> list[str]:
        """What makes these losses worth less than they seem."""
        left_out = [kind for kind, count in self.seen.items() if count >= OFTEN and not self.lost[kind]]
        missing = EXPECTED - set(self.seen)
        return [f"{kind} was seen {self.seen[kind]} times, and no reply to it lost" for kind in sorted(left_out)] + [
            f"{kind} was not seen" for kind in sorted(missing)
        ]
