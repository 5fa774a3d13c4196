"""Compare a row of a file with the job in Redis. This module calls neither Redis nor a clock."""

from enum import StrEnum
from typing import NamedTuple

from redbike.csvfile import Row
from redbike.schedule.forms import PAUSED
from redbike.store.loaded import Found
from redbike.store.messages import Placement
from redbike.syncing.notes import Note, written

_EVERY = "EVERY:"
_START = "DTSTART:"
_OVER = "STOP"


class Kind(StrEnum):
    """What a load does to a job. The values begin the lines that it prints."""

    ADDED = "+"
    CHANGED = "~"
    REMOVED = "-"


class Change(NamedTuple):
    """What is different between a row and the job."""

    kind: Kind
    jobid: str
    old: str | None
    new: str | None

    def line(self) -> str:
        """Return the change as one line."""
        old, new = ((text or "").replace("\n", "\\n").replace("\r", "\\r") for text in (self.old, self.new))
        if self.kind is Kind.REMOVED:
            return f"- {self.jobid}"
        if self.kind is Kind.ADDED:
            return f"+ {self.jobid} {new}"
        return f"~ {self.jobid} {old} -> {new}"


class Verdict(NamedTuple):
    """What becomes of a job."""

    change: Change | None  # None: it stays as it is
    schedule: str | None = None  # with which it is set; None: only its payload changes
    payload: str | None = None


_STAYS = Verdict(None)


class Comparison:
    """Compare rows of the load with this name."""

    def __init__(self, name: str, now: float) -> None:
        """`now`: the server's time, Unix seconds."""
        self._name = name
        self._now = now

    def verdict(self, row: Row, placement: Placement, found: Found) -> Verdict:
        """Return what becomes of the job of this row. `placement`: how a new job of the row is placed."""
        note, new_note = Note.of(found.note), Note.of(written(self._name, row))
        is_ours = note.owner == self._name
        # The file may have another name by now, but a job for one run has had its run.
        is_same_row = note[1:] == new_note[1:]
        # The payload goes with the file that brought it.
        loses_payload = row.payload is None and is_ours and note.has_payload
        payload = "" if loses_payload else row.payload
        if found.text is None:
            # A job for one run may be forgotten after its run.
            if placement.once and is_same_row:
                return _STAYS
            return Verdict(Change(Kind.ADDED, row.jobid, None, row.schedule), row.schedule, payload)
        # A job that somebody has paused stays paused. A job that the file has paused does not.
        is_paused = found.text.startswith(PAUSED) and not row.schedule.lstrip().startswith(PAUSED)
        stays_paused = is_paused and not (is_ours and note.is_paused)
        if placement.once and is_same_row:
            if found.text == _OVER or stays_paused:
                return _STAYS
            schedule = self._left_of(row, placement)
        elif (
            placement.once
            or (is_paused and not stays_paused)
            or (is_ours and note.first != new_note.first)
            or not is_same(row.schedule, placement.text, found.text.removeprefix(PAUSED) if is_paused else found.text)
        ):
            schedule = row.schedule
        elif loses_payload or (payload is not None and payload != found.payload):
            change = Change(Kind.CHANGED, row.jobid, found.text, f"{found.text} (new payload)")
            return Verdict(change, None, payload)
        else:
            return _STAYS
        if stays_paused:
            schedule = PAUSED + schedule
        return Verdict(Change(Kind.CHANGED, row.jobid, found.text, schedule), schedule, payload)

    def _left_of(self, row: Row, placement: Placement) -> str:
        """Return the schedule of a job for one run whose text in Redis somebody has changed."""
        is_to_come = placement.due_at is not None and placement.due_at > self._now
        return row.schedule if is_to_come else _OVER


def is_same(schedule: str, planned: str | None, registered: str) -> bool:
    """Return True if this schedule of a row was registered as this text."""
    if registered == planned:
        return True
    # EVERY is registered as the recurrence that starts when it is set.
    is_every = schedule.strip().startswith(_EVERY) and planned is not None and registered.startswith(_START)
    return is_every and registered.partition("\n")[2] == (planned or "").partition("\n")[2]
