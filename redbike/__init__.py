"""Redbike: a simple, flexible scheduler for pools of distributed workers on Redis."""

from redbike.bike import Redbike
from redbike.errors import RedbikeError
from redbike.worker import RoundRobin, StopWork, UnsetJob

__all__ = ["Redbike", "RedbikeError", "RoundRobin", "StopWork", "UnsetJob"]
