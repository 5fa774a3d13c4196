"""What comes next for a job: the vocabulary that schedules, the loops and the Lua scripts share."""

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What happens to a job next. The Lua scripts use the same words."""

    QUEUE = "queue"  # it enters its queue
    AT = "at"  # it goes on the timeline
    STOP = "stop"  # no further run
    BAD = "bad"  # its schedule cannot be read, or its id would break a queue
    # Only at the end of a run:
    OVER = "over"  # its schedule was for one run: it becomes STOP
    QUIT = "quit"  # the job raised StopWork: its schedule becomes STOP
    UNSET = "unset"  # the job raised UnsetJob: it is forgotten
    DIE = "die"  # the job raised another exception: it is neither planned nor queued any more


@dataclass(frozen=True, slots=True)
class Plan:
    """What comes next for a job by its schedule, at one reference time."""

    action: Action
    """QUEUE, AT, STOP or BAD."""
    registered: str
    """The schedule text that is registered for the job."""
    due_at: float | None = None
    """With AT: the time of the next run, in Unix seconds."""
    reason: str | None = None
    """With BAD: the error in the text, in one line. With STOP: why there is no run, unless the text itself is STOP."""

    @property
    def step(self) -> Action:
        """The former name of `action`."""
        return self.action

    @property
    def leads_on(self) -> bool:
        """True if there is a further run."""
        return self.action in (Action.QUEUE, Action.AT)
