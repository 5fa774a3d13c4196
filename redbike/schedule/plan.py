"""What comes next for a job: the vocabulary that schedules, the loops and the Lua scripts share."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol


class Action(StrEnum):
    """What happens to a job next. The Lua scripts use the same words."""

    QUEUE = "queue"  # it enters its queue
    AT = "at"  # it goes on the timeline
    STOP = "stop"  # no further run
    BAD = "bad"  # its schedule cannot be read, or its id would break a queue
    PAUSE = "pause"  # no run while it is paused: it also leaves its queue
    # Only at the end of a run:
    OVER = "over"  # its schedule was for one run: it becomes STOP
    QUIT = "quit"  # the job raised StopWork: its schedule becomes STOP
    UNSET = "unset"  # the job raised UnsetJob: it is forgotten
    DIE = "die"  # the job raised another exception: it is neither planned nor queued any more
    LOST = "lost"  # the run had no end within its timeout: places and status stay as they are


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next for a job by its schedule, at one reference time."""

    action: Action
    """QUEUE, AT, STOP, PAUSE or BAD."""
    registered: str
    """The schedule text that is registered for the job."""
    due_at: float | None = None
    """With AT: the time of the next run, in Unix seconds."""
    reason: str | None = None
    """With BAD: the error in the text, in one line. With STOP: why there is no run, unless the text itself is STOP."""
    warnings: tuple[str, ...] = ()
    """What the user may not expect of the schedule, one sentence each. Filled in by `Redbike.set`."""

    @property
    def step(self) -> Action:
        """The former name of `action`."""
        return self.action

    @property
    def leads_on(self) -> bool:
        """True if there is a further run."""
        return self.action in (Action.QUEUE, Action.AT)


class Schedule(Protocol):
    """A schedule text after reading it."""

    needs_reference: ClassVar[bool]
    """True if the answer of `first` depends on the reference time."""

    @property
    def restarts(self) -> bool:
        """True if the schedule starts again after each run, because it has no DTSTART."""

    @property
    def may_end(self) -> bool:
        """False if the schedule surely has further runs, once it has a run."""

    @property
    def zone(self) -> str | None:
        """The IANA name of the zone in which the schedule is read; None for UTC."""

    def read_as_utc(self) -> "Schedule":
        """Return the same schedule with its wall times read as UTC: on a clock that never changes."""

    def first(self, reference: float) -> Plan:
        """Return what comes next when the schedule is set, with this reference time."""

    def again(self, now: float) -> Plan:
        """Return what comes next when a run of the job ends."""

    def warnings(self, reference: float) -> Sequence[str]:
        """Return what the user may not expect of a schedule that is set with this reference time, a sentence each."""
