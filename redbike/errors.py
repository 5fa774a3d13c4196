"""The errors that a user can cause. Each message names the thing, the value and the way out.

The command line prints the message as one line on stderr. It exits with 78 for ConfigError, WorkerError and
ScheduleFileError, which a restart cannot mend, else with 1. Any other exception is a fault of Redbike or of a worker.
"""


class RedbikeError(Exception):
    """Base of all errors that a user, a file or the state of a server can cause.

    An argument of the wrong type, or a time that is not a finite number, raises TypeError or ValueError instead.
    """


class ConfigError(RedbikeError):
    """The configuration is missing or malformed, or it asks for something impossible."""


class WorkerError(RedbikeError):
    """A worker expression cannot be read or found, or a worker object does not do what `Worker` asks of it."""


class JobIdError(RedbikeError, ValueError):
    """A job id cannot be registered: empty, too long, with control characters, or in collision with another key."""


class ScheduleError(RedbikeError, ValueError):
    """A schedule cannot be read, and so it does not replace the schedule of the job."""


class PayloadError(RedbikeError, ValueError):
    """A payload or a note is too long, or is not valid text."""


class ScheduleFileError(RedbikeError):
    """A CSV file of schedules cannot be read. The message says whether rows of it were set."""


class SignalError(RedbikeError, ValueError):
    """A control signal is unknown."""


class TimeFileError(RedbikeError):
    """The time file cannot be written."""


class ServerError(RedbikeError):
    """A server cannot be reached, denies access, or is not suitable for Redbike."""


class OutputError(RedbikeError):
    """The output cannot be written."""
