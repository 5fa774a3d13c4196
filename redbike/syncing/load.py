"""Set the jobs of a file, or change only what differs between the file and Redis."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redbike.csvfile import Row
from redbike.engine.loading import Progress, Source, check
from redbike.engine.many import ManyPlanner
from redbike.errors import ScheduleFileError
from redbike.schedule.plan import Action
from redbike.store.loaded import Loaded
from redbike.store.messages import Placement
from redbike.syncing.compare import Change, Comparison, Kind
from redbike.syncing.notes import Note, written
from redbike.syncing.seen import Seen, repeated

if TYPE_CHECKING:
    from redbike.bike import Redbike

_PAGE_ROWS = 500
_PAGE_CHARS = 1_048_576  # of payloads


@dataclass
class Counts:
    """How many jobs a load has changed."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    bad: int = 0

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.added + self.changed + self.unchanged


class Load:
    """One load of a file."""

    def __init__(
        self,
        bike: "Redbike",
        file: Source,
        name: str,
        after: float | None = None,
        *,
        show: Callable[[Change], object] = lambda _: None,
        progress: Progress | None = None,
    ) -> None:
        """`name`: the jobs belong to the load with this name; "" for none. `after`: the reference time, Unix seconds.

        `show` is called with each change, and `progress` now and then with the number of rows that are done.
        """
        parts = bike._parts
        self._bike = bike
        self._file = file
        self._name = name
        self._many = ManyPlanner(parts.planner, parts.references.of(after))
        self._placing = parts.placing
        self._loaded = Loaded(bike.redis, parts.keys, parts.call)
        self._show = show
        self._progress = progress
        self._seen = Seen()

    def keep(self, jobids: Iterable[str]) -> None:
        """Do not unset these jobs, although the file lacks them. Call this before `check`."""
        for jobid in jobids:
            self._seen.add(jobid)

    def check(self, unique: bool) -> int:
        """Check all rows, and return how many there are. Raise ScheduleFileError for the first bad row.

        `unique`: also for the second row of a job.
        """
        count = check(self._file, self._many, self._progress, self._seen.add if unique else None)
        if unique and self._seen.sort() and (found := repeated(self._file.rows(), self._seen)):
            row, line = found
            raise ScheduleFileError(
                f"{self._file.path}:{row.line}: job {row.jobid!r} is in line {line} already; leave one row per job;"
                " nothing of the file was set"
            )
        return count

    def set_all(self) -> Counts:
        """Set every row, whatever is in Redis. The jobs belong to this load then."""
        self._loaded.check()
        counts = Counts()
        counts.changed = self._placing.place_all(self._placements(counts), self._progress)
        return counts

    def _placements(self, counts: Counts) -> Iterator[Placement]:
        for row in self._file.rows():
            placement = self._many.placement(row.jobid, row.schedule, row.payload, row.first)
            counts.bad += placement.action is Action.BAD
            yield placement._replace(note=written(self._name, row)) if self._name else placement

    def sync(self, *, removes: bool = True, dry_run: bool = False) -> Counts:
        """Change what differs between the file and Redis. `removes`: unset this load's jobs that the file lacks.

        `dry_run`: change nothing, only show the changes.
        """
        counts, done = Counts(), 0
        comparison = Comparison(self._name, self._bike.now())
        for page in _pages(self._file.rows()):
            self._sync_page(page, comparison, counts, dry_run)
            done += len(page)
            if self._progress is not None:
                self._progress(done)
        if removes:
            for page_of_notes in self._loaded.notes():
                gone = {jobid: note for jobid, note in page_of_notes if self._is_gone(jobid, note)}
                self._remove(gone, counts, dry_run)
        return counts

    def _sync_page(self, rows: list[Row], comparison: Comparison, counts: Counts, dry_run: bool) -> None:
        jobids = [row.jobid for row in rows]
        found = self._loaded.found(jobids, [row.jobid for row in rows if row.payload is not None])
        changes: list[Change] = []
        placements: list[Placement] = []
        payloads: list[Placement] = []
        notes: dict[str, str] = {}
        for row in rows:
            held, note = found[row.jobid], written(self._name, row)
            placement = self._many.placement(row.jobid, row.schedule, row.payload, row.first)
            counts.bad += placement.action is Action.BAD
            change, schedule, payload = comparison.verdict(row, placement, held)
            if change is not None:
                changes.append(change)
            if schedule is not None:
                if schedule != row.schedule:
                    placement = self._many.placement(row.jobid, schedule, payload, row.first)
                # Another load may set the job in the meantime: then it has another note.
                placements.append(placement._replace(payload=payload, note=note, former=held.note))
            else:
                if payload is not None and change is not None:
                    payloads.append(self._bike._parts.planner.carry(row.jobid, payload))
                if held.note != note:
                    notes[row.jobid] = note
        if not dry_run:
            self._placing.place_all(placements)
            self._placing.place_all(payloads, only_payload=True)
            self._loaded.write(notes)
        counts.added += sum(change.kind is Kind.ADDED for change in changes)
        counts.changed += sum(change.kind is Kind.CHANGED for change in changes)
        counts.unchanged += len(rows) - len(changes)
        for change in changes:
            self._show(change)

    def _is_gone(self, jobid: str, note: str) -> bool:
        return Note.of(note).owner == self._name and jobid not in self._seen

    def _remove(self, notes: dict[str, str], counts: Counts, dry_run: bool) -> None:
        found = self._loaded.found(list(notes), ())
        for jobid, note in notes.items():
            if not dry_run:
                # Another load may set the job in the meantime: then it has another note.
                self._placing.unset(jobid, self._bike._parts.queue_for_any(jobid), note)
            text = found[jobid].text
            if text is not None:
                counts.removed += 1
                self._show(Change(Kind.REMOVED, jobid, text, None))


def _pages(rows: Iterable[Row]) -> Iterator[list[Row]]:
    page: list[Row] = []
    chars = 0
    for row in rows:
        page.append(row)
        chars += len(row.payload or "")
        if len(page) == _PAGE_ROWS or chars > _PAGE_CHARS:
            yield page
            page, chars = [], 0
    if page:
        yield page
