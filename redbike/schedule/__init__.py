"""WHEN: what comes next for a job. Knows neither Redis nor a clock; only a preview reads the clock, to start now."""

from typing import TYPE_CHECKING, Any

from redbike.schedule.plan import Action, Plan

if TYPE_CHECKING:
    from redbike.schedule.preview import Preview, next_runs

__all__ = ["Action", "Plan", "Preview", "next_runs"]


def __getattr__(name: str) -> Any:
    # Imported when first used: a command such as `redbike set` needs none of these.
    if name in ("Preview", "next_runs"):
        from redbike.schedule import preview

        return getattr(preview, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
