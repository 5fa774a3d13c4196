"""The order in which a worker's queues are looked at, repetitions included, and where the next look begins."""

import itertools

from redbike.keys import Keys
from redbike.steps import Places, Queues

_MOST_KEPT = 64


class Order:
    """One worker's order. What a turn needs to know of each place is made once, and used for every turn."""

    def __init__(self, queue_keys: list[str], timeouts_s: list[float], keys: Keys) -> None:
        self.queue_keys = queue_keys
        self._timeouts_s = timeouts_s
        self._timeout_s = dict(zip(queue_keys, timeouts_s, strict=True))
        unique = list(dict.fromkeys(queue_keys))
        number_of = {queue_key: number for number, queue_key in enumerate(unique, 1)}
        timeout_ms = dict(zip(queue_keys, (max(1, round(1000 * seconds)) for seconds in timeouts_s), strict=True))
        triples = [(key, keys.members(key), keys.bell(key)) for key in unique]
        self.bell_keys = [bell for _, _, bell in triples]
        timeouts = tuple(timeout_ms[key] for key in unique)
        self._queues = Queues(tuple(key for triple in triples for key in triple), timeouts)
        self._alone = [Queues(*one) for one in zip(triples, ((each,) for each in timeouts), strict=True)]
        self._numbers = [number_of[queue_key] for queue_key in queue_keys]
        # Twice round, and where each number begins: an order from any place on is a slice of it. All of them made
        # beforehand would take the square of the number of places.
        words = [b"%d" % number for number in self._numbers]
        self._twice_round = b" ".join(words * 2)
        self._starts = [0, *itertools.accumulate(len(word) + 1 for word in words)]
        self._all: dict[int, Places] = {}
        self._position = 0

    def one(self) -> Places:
        """The next place alone."""
        return Places(b"1", self._alone[self._numbers[self._position] - 1], 1)

    def all(self) -> Places:
        """Every place, from the next one round to the one before it."""
        places = self._all.get(self._position)
        if places is None:
            if len(self._all) >= _MOST_KEPT:
                self._all.clear()
            start = self._starts[self._position]
            spec = self._twice_round[start : start + self._starts[-1] - 1]
            self._all[self._position] = places = Places(spec, self._queues, len(self._numbers))
        return places

    def timeout_s(self, queue_key: str) -> float:
        """How long a run from this queue may take."""
        return self._timeout_s[queue_key]

    def is_of(self, queue_keys: list[str], timeouts_s: list[float]) -> bool:
        """Whether it is the order of these queues with these timeouts."""
        return (self.queue_keys, self._timeouts_s) == (queue_keys, timeouts_s)

    def continue_from(self, former: "Order") -> None:
        """Begin where an earlier order of the same queues stands."""
        if former.queue_keys == self.queue_keys:
            self._position = former._position

    def looked(self, places: int) -> str:
        """Move on by so many places; the queue key of the last one of them."""
        last = (self._position + places - 1) % len(self.queue_keys)
        self._position = (last + 1) % len(self.queue_keys)
        return self.queue_keys[last]
