"""Celery: Redbike as its beat.

Importing this package imports neither Celery nor an application. The names below import their modules when they are
first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redbike.bridges.celery.entry import RedbikeEntry
    from redbike.bridges.celery.scheduler import RedbikeScheduler
    from redbike.bridges.celery.schedules import RedbikeSchedule, rrule
    from redbike.bridges.celery.worker import CeleryWorker

__all__ = ["CeleryWorker", "RedbikeEntry", "RedbikeSchedule", "RedbikeScheduler", "rrule"]

_MODULES = {
    "CeleryWorker": "worker",
    "RedbikeEntry": "entry",
    "RedbikeSchedule": "schedules",
    "RedbikeScheduler": "scheduler",
    "rrule": "schedules",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
