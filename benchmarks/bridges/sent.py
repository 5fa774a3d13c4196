"""Judge the messages in the broker by their ids: an id is made of the job and its due time (identity.py)."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis

from benchmarks.bridges.sides import Side
from redbike.bridges.identity import run_id


class Verdict(NamedTuple):
    """What has become of the runs that were due."""

    sent: int
    missing: list[tuple[str, float]]
    doubled: int  # further messages with the id of a run that was sent
    foreign: int  # ids of no run that was due

    @property
    def text(self) -> str:
        """The counts in words."""
        foreign = f", {self.foreign} unknown" if self.foreign else ""
        return f"{self.sent} sent, {len(self.missing)} missing, {self.doubled} doubled{foreign}"


def judge(
    prefix: str, ids: Iterable[str], due: Iterable[tuple[str, float]], allowed: Iterable[tuple[str, float]] = ()
) -> Verdict:
    """Compare ids with the runs that were due (job id, Unix time). `allowed`: further runs that may have been sent."""
    wanted = {run_id(prefix, *run): run for run in due}
    known = wanted.keys() | {run_id(prefix, *run) for run in allowed}
    found = Counter(ids)
    doubled = sum(count - 1 for one, count in found.items() if one in known)
    missing = [run for one, run in wanted.items() if one not in found]
    return Verdict(sum(found.values()), missing, doubled, sum(1 for one in found if one not in known))


class Arrivals:
    """Take messages from the broker's list as they come, and note id and Unix time of each, within a `with` block."""

    def __init__(self, side: Side) -> None:
        self.seen: list[tuple[str, float]] = []
        self._side = side
        self._client: Any = redis.Redis.from_url(side.broker.url)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._take)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _take(self) -> None:
        while not self._stop.is_set():
            found = self._client.blpop(self._side.list_key, 0.2)
            if found:
                self.seen.append((self._side.id_of(found[1]), time.time()))
