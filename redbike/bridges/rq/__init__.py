"""RQ: Redbike as its cron scheduler.

Importing this package does not import RQ. The names below import their modules when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redbike.bridges.rq.job import RedbikeCronJob
    from redbike.bridges.rq.scheduler import RedbikeCronScheduler
    from redbike.bridges.rq.worker import RQWorker

__all__ = ["RQWorker", "RedbikeCronJob", "RedbikeCronScheduler"]

_MODULES = {"RQWorker": "worker", "RedbikeCronJob": "job", "RedbikeCronScheduler": "scheduler"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
