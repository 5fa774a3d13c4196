"""Redbike: a simple, flexible scheduler for pools of distributed workers on Redis."""

from redbike.bike import Redbike
from redbike.errors import RedbikeError
from redbike.preview import Preview, next_runs
from redbike.worker import RoundRobin, StopWork, UnsetJob

__all__ = ["Preview", "Redbike", "RedbikeError", "RoundRobin", "StopWork", "UnsetJob", "next_runs"]
