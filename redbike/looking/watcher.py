"""Look at a prefix again and again in a separate thread, so that a slow or missing Redis blocks no key press.

Up to 2,000 jobs are read each time. Of more jobs, only those on the screen are; the index reads the others in between.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from redbike.errors import RedbikeError
from redbike.looking.answer import Asked, Tally, complete
from redbike.looking.calls import Calls
from redbike.looking.index import Index
from redbike.looking.overview import Overview, look
from redbike.looking.recent import HOUR_S, Recent
from redbike.looking.rows import Row, Rows
from redbike.looking.settled import settled

if TYPE_CHECKING:
    from redbike.bike import Redbike

_FEW = 2_000
_QUICK_S = 0.5  # a read that takes longer, because payloads are long, is not repeated with each look


class Snapshot(NamedTuple):
    """What was seen last."""

    by_id: Mapping[str, Row]
    version: int
    """Grows when the rows have to be sorted again."""
    overview: Overview
    tally: Tally
    at: float
    """The time of the look, on the monotonic clock."""

    @property
    def now(self) -> float:
        """The server's time at this moment."""
        return self.overview.now + time.monotonic() - self.at


class Watcher:
    """Looks each `interval_s` seconds while the block of `with` lasts. `notify`: called after each look."""

    def __init__(self, bike: "Redbike", asked: Asked, interval_s: float, notify: Callable[[], object]) -> None:
        self._bike, self._asked, self._interval_s, self._notify = bike, asked, interval_s, notify
        self._rows, self._index, self._recent = Rows(bike), Index(bike), Recent(bike, HOUR_S)
        self._calls = Calls(bike)
        self._tally = Tally()
        self._version = 0
        self._stop = threading.Event()
        self.snapshot: Snapshot | None = None
        self.fault: str | None = None
        """Why the last look failed; None if it succeeded."""
        self.crash: BaseException | None = None
        """An error that ends the watch."""
        self.on_screen: Sequence[str] = ()
        """The ids of the jobs that are shown now."""

    def __enter__(self) -> Self:
        # A daemon: a thread that waits for a missing Redis does not hold up the end of the command.
        threading.Thread(target=self._run, daemon=True, name="redbike info").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self.snapshot = self._look()
                self.fault = None
            except RedbikeError as error:
                self.fault = str(error)
            except Exception as error:
                self.crash = error
                self._stop.set()
            self._notify()
            self._stop.wait(max(0.05, began + self._interval_s - time.monotonic()))

    def _look(self) -> Snapshot:
        if self._asked.jobids:
            by_id = {row.jobid: row for row in self._of(dict.fromkeys(self._asked.jobids))}
            self._version += 1
            return Snapshot(by_id, self._version, look(self._bike), Tally(), time.monotonic())
        index = self._index
        is_new = index.refresh(at_once=len(index.by_id) <= _FEW and index.took_s < _QUICK_S)
        if not is_new and self.on_screen:
            shown = list(self.on_screen)
            index.put(self._of(shown), asked=shown)
        if is_new:
            self._version += 1
            self._tally = Tally()
            for _ in self._tally.pass_on(index.by_id.values()):
                pass
        self._recent.refresh()
        overview = complete(self._bike, self._tally, self._recent)
        return Snapshot(index.by_id, self._version, overview, self._tally, time.monotonic())

    def _of(self, jobids: Iterable[str]) -> list[Row]:
        return list(self._calls.fill(settled(self._bike, self._rows.of(jobids))))
