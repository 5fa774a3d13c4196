"""Redbike: a simple, flexible scheduler for pools of distributed workers on Redis."""

from typing import TYPE_CHECKING, Any

from redbike.bike import Redbike
from redbike.errors import (
    ConfigError,
    JobIdError,
    PayloadError,
    RedbikeError,
    ScheduleError,
    ScheduleFileError,
    ServerError,
    SignalError,
    TimeFileError,
    WorkerError,
)
from redbike.schedule.plan import Action, Plan
from redbike.worker import BadJob, Later, LeaseLost, RoundRobin, Run, StopWork, UnsetJob, Worker

if TYPE_CHECKING:
    from redbike.schedule.preview import Preview, next_runs

    __version__: str

__all__ = [
    "Action",
    "BadJob",
    "ConfigError",
    "JobIdError",
    "Later",
    "LeaseLost",
    "PayloadError",
    "Plan",
    "Preview",
    "Redbike",
    "RedbikeError",
    "RoundRobin",
    "Run",
    "ScheduleError",
    "ScheduleFileError",
    "ServerError",
    "SignalError",
    "StopWork",
    "TimeFileError",
    "UnsetJob",
    "Worker",
    "WorkerError",
    "next_runs",
]

_LOGGING = "importing redbike sets up no logging; call logging.basicConfig() in your program"
_GONE = {
    "log": 'use logging.getLogger("redbike"), or Redbike(log=...)',
    "hdlr": _LOGGING,
    "LOGLEVEL": _LOGGING,
    "FORMAT": _LOGGING,
    "version_file": "use redbike.__version__",
}
"""Names of version 0.13.1, and what to use instead."""


def __getattr__(name: str) -> Any:
    # Imported when first used: a command such as `redbike set` needs none of these.
    if name in ("Preview", "next_runs"):
        from redbike.schedule import preview

        return getattr(preview, name)
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("redbike")
        except PackageNotFoundError:
            pass  # a copy of the source without metadata has no version
    if name in _GONE:
        # `from redbike import log` would hide an AttributeError behind "cannot import name".
        raise ImportError(f"redbike.{name} of version 0.13.1 is gone: {_GONE[name]}; see docs/upgrading.md", name=name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
