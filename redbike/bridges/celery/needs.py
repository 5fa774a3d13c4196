"""Schedules of Celery that no schedule text can express, as JSON, and back. Imports Celery.

An interval with a fraction of a second, a solar event, and a schedule class of the application. The JSON of a class
names it, and holds the arguments with which it makes the same object again.
"""

import importlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule, solar
from celery.schedules import schedule as interval

from redbike.bridges.celery.zonenames import checked_zone

_SECONDS = "$seconds"
"""The key of a timedelta in JSON."""
_NOT_OF_THE_SCHEDULE = ("_app", "nowfun", "tz", "utc_enabled")


def interval_needs(seconds: float, relative: bool, zone: str) -> dict[str, Any]:
    """Return the JSON of an interval."""
    return {"every": seconds, **({"relative": True, "zone": zone} if relative else {})}


def solar_needs(schedule: Any) -> dict[str, Any]:
    """Return the JSON of a solar event."""
    return {"solar": [schedule.event, schedule.lat, schedule.lon]}


def class_needs(schedule: Any) -> dict[str, Any]:
    """Return the JSON of an object of a schedule class: its class, the arguments and the state of its pickle.

    Raise ValueError, with the way out, if the class cannot be imported by its name, or if an argument is not JSON.
    """
    kind = type(schedule)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__ or _found(name) is not kind:
        raise ValueError(
            f"the schedule class {name} cannot be imported by its name: put it at the top of a module that the beat can"
            " import"
        )
    made = schedule.__reduce_ex__(2)
    arguments, state = list(made[1]), made[2] if len(made) > 2 else None
    if made[0] is not kind:
        if made[0].__name__ != "__newobj__" or arguments[:1] != [kind]:
            raise ValueError(f"the schedule class {name}: its __reduce__ must name the class: (class, arguments)")
        del arguments[0]
        name += "()"
    if isinstance(state, Mapping):
        state = {key: value for key, value in state.items() if key not in _NOT_OF_THE_SCHEDULE}
    found: dict[str, Any] = {"class": name, "args": _json(name, arguments)}
    if state:
        found["state"] = _json(name, state)
    from_needs(found, None)  # to refuse here a class that cannot be made again
    return found


def from_needs(needs: Mapping[str, Any], app: Any) -> Any:
    """Return the schedule of a JSON. Raise ValueError, with the reason, for other JSON."""
    made: Any
    try:
        if "every" in needs:
            made = interval(timedelta(seconds=needs["every"]), bool(needs.get("relative")), app=app)
            if "zone" in needs:
                made.tz = ZoneInfo(checked_zone(needs["zone"]))
            return made
        if "solar" in needs:
            return solar(*needs["solar"], app=app)
        if "class" in needs:
            made = _made(needs)
            made.app = app
            return made
    except Exception as error:
        raise ValueError(f"schedule {needs!r}: {' '.join(str(error).split())}") from error
    raise ValueError(f"schedule {needs!r}: it names none of 'every', 'solar' and 'class'")


def _made(needs: Mapping[str, Any]) -> Any:
    name = needs["class"]
    kind = _found(name.removesuffix("()"))
    if not (isinstance(kind, type) and issubclass(kind, BaseSchedule)):
        raise ValueError(f"{name} is not a schedule class that can be imported here")
    arguments, state = _objects(needs.get("args", [])), _objects(needs.get("state"))
    if name.endswith("()"):
        made = kind.__new__(kind, *arguments)
        made.nowfun, made._app = None, None
    else:
        made = kind(*arguments)
    if hasattr(made, "__setstate__") and state:
        made.__setstate__(state)
    elif state:
        vars(made).update(state)
    return made


def _found(name: str) -> object:
    """Return the object of this name, `module:Class`; None if there is none."""
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return None
    return found


def _json(name: str, value: Any) -> Any:
    """Return a value as JSON keeps it. A tuple becomes a list, and a timedelta an object of its seconds."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, timedelta):
        return {_SECONDS: value.total_seconds()}
    if isinstance(value, list | tuple):
        return [_json(name, item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _json(name, item) for key, item in value.items()}
    raise ValueError(
        f"the schedule class {name.removesuffix('()')}: {value!r} is not JSON: let its __reduce__ return (class,"
        " arguments) with texts, numbers, lists and timedeltas"
    )


def _objects(value: Any) -> Any:
    if isinstance(value, list):
        return [_objects(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {_SECONDS}:
            return timedelta(seconds=value[_SECONDS])
        return {key: _objects(item) for key, item in value.items()}
    return value
