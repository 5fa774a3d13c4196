"""When a schedule recurs: the first occurrence of an iCalendar recurrence after a moment."""

from redbike.recurrence.errors import BadRecurrence
from redbike.recurrence.recurrence import Recurrence

__all__ = ["BadRecurrence", "Recurrence"]
