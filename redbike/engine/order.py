"""The order in which a worker looks at its queues, with repetitions, and the place where the next look begins.

A long order is cut into blocks. A turn looks at the places of one block only, so its cost does not grow with the length
of the order.
"""

from collections.abc import Callable

from redbike.store.keys import Keys
from redbike.store.messages import Places, Queues

BLOCK = 64  # places
_MOST_KEPT = 64


class Order:
    """The order of one worker. It makes the arguments of a turn once for each place, and every turn uses them."""

    def __init__(self, queue_keys: list[str], timeouts_s: list[float], keys: Keys) -> None:
        self.queue_keys = queue_keys
        self._timeouts_s = timeouts_s
        self._timeout_s = dict(zip(queue_keys, timeouts_s, strict=True))
        self._keys = keys
        unique = list(dict.fromkeys(queue_keys))
        self.bell_keys = [keys.bell(key) for key in unique]
        self._blocks = [_Block(queue_keys[at : at + BLOCK], self._queues) for at in range(0, len(queue_keys), BLOCK)]
        self.whole = Places(b"", self._blocks[0].queues if len(self._blocks) == 1 else self._queues(unique), 0)
        """All queues, to see whether a job is in any of them."""
        self.shortest_timeout_s = min(timeouts_s)
        self._alone: dict[str, Queues] = {}
        self._all: dict[tuple[int, int], Places] = {}
        self._position = 0

    def _queues(self, unique: list[str]) -> Queues:
        keys, timeout_s = self._keys, self._timeout_s
        triples = [(queue_key, keys.members(queue_key), keys.bell(queue_key)) for queue_key in unique]
        return Queues(triples, [max(1, round(1000 * timeout_s[queue_key])) for queue_key in unique])

    def one(self) -> Places:
        """Return the next place alone."""
        queue_key = self.queue_keys[self._position]
        queues = self._alone.get(queue_key)
        if queues is None:
            if len(self._alone) >= _MOST_KEPT:
                self._alone.clear()
            self._alone[queue_key] = queues = self._queues([queue_key])
        return Places(b"1", queues, 1)

    def next_block(self, most: int | None = None) -> Places:
        """Return the places at which one turn looks, from the next place on: at most `most`, and none of them twice."""
        number = len(self.queue_keys)
        wanted = number if most is None else most
        places = self._all.get((self._position, wanted))
        if places is None:
            if len(self._all) >= _MOST_KEPT:
                self._all.clear()
            block = self._blocks[self._position // BLOCK]
            if len(self._blocks) == 1:
                places = Places(block.from_place(self._position, wanted), block.queues, wanted)
            else:
                at = self._position % BLOCK
                count = min(wanted, block.size - at)
                places = Places(block.from_place(at, count), block.queues, count, wanted - count)
            self._all[self._position, wanted] = places
        return places

    def timeout_s(self, queue_key: str) -> float:
        """Return the timeout of a run from this queue, in seconds."""
        return self._timeout_s[queue_key]

    def is_of(self, queue_keys: list[str], timeouts_s: list[float]) -> bool:
        """Return True if this is the order of these queues with these timeouts."""
        return (self.queue_keys, self._timeouts_s) == (queue_keys, timeouts_s)

    def continue_from(self, former: "Order") -> None:
        """Begin at the position of an earlier order of the same queues."""
        if former.queue_keys == self.queue_keys:
            self._position = former._position

    def looked(self, places: int) -> str:
        """Move on by this number of places. Return the queue key of the last of them."""
        last = (self._position + places - 1) % len(self.queue_keys)
        self._position = (last + 1) % len(self.queue_keys)
        return self.queue_keys[last]


class _Block:
    """Consecutive places, and the numbers of their queues in a turn."""

    def __init__(self, queue_keys: list[str], queues_of: Callable[[list[str]], Queues]) -> None:
        unique = list(dict.fromkeys(queue_keys))
        number_of = {queue_key: number for number, queue_key in enumerate(unique, 1)}
        order = bytes(48 + number_of[queue_key] for queue_key in queue_keys)
        self.queues = queues_of(unique)
        self.size = len(queue_keys)
        self._twice_round = order * 2  # the order from any place on is a slice of it

    def from_place(self, at: int, count: int) -> bytes:
        """Return `count` places from this place on."""
        return self._twice_round[at : at + count]
