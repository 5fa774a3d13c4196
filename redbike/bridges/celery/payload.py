"""The payload of a job that calls a Celery task: a JSON object. This module imports no Celery.

`{"task": "proj.add", "args": [1, 2], "kwargs": {}, "options": {"queue": "sums"}}`. Only `task` is needed. Two more
members are for schedules and arguments that JSON cannot express: `schedule`, how to make the schedule again, and
`static`, true if the entry of `beat_schedule` with the job's name has the arguments.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from redbike.bridges.payloads import object_of
from redbike.worker import BadJob

_KINDS = {"args": list, "kwargs": dict, "options": dict, "schedule": dict, "static": bool}
_JSON_NAMES = {list: "an array", dict: "an object", bool: "true or false"}
_OWN_OPTIONS = ("task_id", "producer", "connection", "retry", "retry_policy")
_LONGEST_SHOWN = 200


class Call(NamedTuple):
    """A payload after reading it. The values are as JSON has them."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    schedule: dict[str, Any] | None
    is_static: bool


def read(payload: str) -> Call:
    """Return the call of a payload. Raise BadJob for another text, with the fault and the way out."""
    found = object_of(payload, '{"task": "NAME"}', ', and perhaps "args", "kwargs" and "options"')
    task = found.get("task")
    if not isinstance(task, str) or not task:
        told = "the payload names no task" if not task else f"task: {task!r:.60} is not a text"
        raise BadJob(f'{told}: write "task": "NAME"')
    for name, kind in _KINDS.items():
        if found.get(name) is not None and not isinstance(found[name], kind):
            raise BadJob(f"{name}: {found[name]!r:.60} is not {_JSON_NAMES[kind]} of JSON")
    unknown = sorted(set(found) - {"task", *_KINDS})
    if unknown:
        raise BadJob(f'the payload has an unknown member {unknown[0]!r}: write options of the task into "options"')
    options = found.get("options") or {}
    fault = fault_of(options)
    if fault is not None:
        raise BadJob(fault)
    return Call(
        task,
        found.get("args") or [],
        found.get("kwargs") or {},
        options,
        found.get("schedule") or None,
        bool(found.get("static")),
    )


def fault_of(options: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the names of options of a task, or None."""
    own = next((name for name in _OWN_OPTIONS if name in options), None)
    return None if own is None else f"options: {own} is set by Redbike itself: remove it"


def columns(payload: str) -> dict[str, str]:
    """Return the task, and the queue if the options name it. Texts are empty for a payload that cannot be read."""
    try:
        call = read(payload)
    except BadJob:
        return {"TASK": "", "QUEUE": ""}
    queue = call.options.get("queue")
    return {"TASK": call.task[:_LONGEST_SHOWN], "QUEUE": queue[:_LONGEST_SHOWN] if isinstance(queue, str) else ""}


def members(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a payload without empty members."""
    return {name: value for name, value in call.items() if value or name == "task"}
