"""The errors that a user can cause, each with a message that stands alone: the thing, the value, the way out.

The command line prints such a message as its one line on stderr and exits with 1; whatever else is raised is a fault.
"""


class RedbikeError(Exception):
    """Base of all errors below: what a user, a file or the state of a server can cause.

    An argument of the wrong type, or a time that is not a finite number, raises TypeError or ValueError instead.
    """


class ConfigError(RedbikeError):
    """A configuration that is missing, malformed, or asks for what cannot be."""


class WorkerError(RedbikeError):
    """A worker expression that cannot be read or found, or a worker object that breaks its side of the contract."""


class JobIdError(RedbikeError, ValueError):
    """A job id that cannot be registered: empty, too long, with control characters, or colliding with another key."""


class ScheduleFileError(RedbikeError):
    """A CSV of schedules that cannot be read; nothing of it was set."""


class SignalError(RedbikeError, ValueError):
    """A control signal that nobody knows."""


class TimeFileError(RedbikeError):
    """A time file that could not be written."""


class ServerError(RedbikeError):
    """A server that is out of reach, refuses us, or cannot carry Redbike."""


class OutputError(RedbikeError):
    """Data that has nowhere to go."""
