"""The payload of a job that enqueues a function in RQ: a JSON object. This module imports no RQ.

`{"func": "module.name", "queue": "default", "args": [1], "kwargs": {}, "timeout": 180}`. Only `func` is needed.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from redbike.bridges.payloads import object_of
from redbike.worker import BadJob

QUEUE = "default"
"""The queue of RQ without `queue` in the payload."""

_FORM = '{"func": "module.name", "queue": "default", "args": [], "kwargs": {}}'
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_LENGTH_OF_TIME = re.compile(r"[0-9]{1,9}[hms]?", re.ASCII)
_LONGEST_S = 10**9
_LONGEST_SHOWN = 200


class Call(NamedTuple):
    """A payload after reading it. None: RQ's default. The fields have the names of the members."""

    func: str
    """The dotted name of the function. RQ's worker imports it; Redbike does not."""
    queue: str = QUEUE
    args: list[Any] = []  # noqa: RUF012 - a tuple's default, which nothing changes
    kwargs: dict[str, Any] = {}  # noqa: RUF012
    timeout: int | str | None = None
    """The seconds that the function may run, or a text such as "10m"; -1: without a limit."""
    result_ttl: int | str | None = None
    """The seconds that RQ keeps the result; 0: not at all; -1: for good."""
    ttl: int | str | None = None
    """The seconds that the call may wait in the queue."""
    failure_ttl: int | str | None = None
    """The seconds that RQ keeps a failure; -1: for good."""
    meta: dict[str, Any] | None = None
    description: str | None = None
    at_front: bool = False


def read(payload: str) -> Call:
    """Return the call of a payload. Raise BadJob for another text, with the fault and the way out."""
    found = object_of(payload, _FORM)
    unknown = sorted(set(found) - set(Call._fields))
    if unknown:
        raise BadJob(f"the payload has an unknown member {unknown[0]!r}: the members are {', '.join(Call._fields)}")
    given = {name: value for name, value in found.items() if value is not None}
    if "func" not in given:
        raise BadJob('the payload names no function: write "func": "module.name"')
    for name, value in given.items():
        fault = _FAULTS[name](value)
        if fault is not None:
            raise BadJob(f"{name}: {fault}")
    return Call(**given)


def columns(payload: str) -> dict[str, str]:
    """Return the function and the queue of RQ. Texts are empty for a payload that cannot be read."""
    try:
        call = read(payload)
    except BadJob:
        return {"FUNC": "", "QUEUE": ""}
    return {"FUNC": call.func[:_LONGEST_SHOWN], "QUEUE": call.queue[:_LONGEST_SHOWN]}


def written(members: Mapping[str, Any]) -> str:
    """Return the payload with these members, without empty members. The same members always have the same text.

    Raise ValueError for a member that cannot be a payload, with the fault and the way out.
    """
    given = {name: members[name] for name in Call._fields if not _says_nothing(members.get(name))}
    text = []
    for name, value in given.items():
        try:
            text.append(f'"{name}": {json.dumps(value, allow_nan=False, sort_keys=True)}')
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{name}: cannot be written as JSON ({error}): give texts, numbers, lists and dicts with texts as keys"
            ) from None
    payload = f"{{{', '.join(text)}}}"
    try:
        read(payload)
    except BadJob as fault:
        raise ValueError(str(fault)) from None
    return payload


def name_of(func: Callable[..., object] | str) -> str:
    """Return the dotted name of a function. Raise ValueError for a function that a worker of RQ cannot import."""
    if isinstance(func, str):
        return func
    module, name = getattr(func, "__module__", None), getattr(func, "__qualname__", None)
    if module == "__main__":
        raise ValueError(
            f"func: {name!r} is in the program itself (__main__), where workers of RQ cannot find it: move it into a"
            " module, or give its name, such as 'shop.tasks.send_mail'"
        )
    if not module or not name or "<" in name or getattr(func, "__self__", None) is not None:
        raise ValueError(
            f"func: {func!r:.80} has no name in a module, so workers of RQ cannot import it: give a function of a"
            " module, or its name, such as 'shop.tasks.send_mail'"
        )
    return f"{module}.{name}"


def _says_nothing(value: object) -> bool:
    return value is None or value is False or (isinstance(value, list | tuple | dict) and not value)


def _fault_of_func(value: object) -> str | None:
    if isinstance(value, str) and _DOTTED.fullmatch(value):
        return None
    return f"{_shown(value)} is not the dotted name of a function, such as 'shop.tasks.send_mail'"


def _fault_of_text(value: object) -> str | None:
    if isinstance(value, str) and value and value.isprintable():
        return None
    return f"{_shown(value)} is not a text without control characters"


def _fault_of_description(value: object) -> str | None:
    if not isinstance(value, str):
        return f"{_shown(value)} is not a text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return None


def _fault_of_list(value: object) -> str | None:
    return None if isinstance(value, list) else f"{_shown(value)} is not an array of JSON"


def _fault_of_object(value: object) -> str | None:
    return None if isinstance(value, dict) else f"{_shown(value)} is not an object of JSON"


def _fault_of_flag(value: object) -> str | None:
    return None if isinstance(value, bool) else f"{_shown(value)} is not true or false"


def _fault_of_time(value: object, least: int, also: int | None, hint: str) -> str | None:
    if isinstance(value, str) and _LENGTH_OF_TIME.fullmatch(value):
        value = max(int(value.rstrip("hms")), 0)
    if isinstance(value, bool) or not isinstance(value, int) or not (least <= value <= _LONGEST_S or value == also):
        return f'{_shown(value)} is not a whole number of seconds{hint}, or a text such as "10m"'
    return None


_FAULTS = {
    "func": _fault_of_func,
    "queue": _fault_of_text,
    "args": _fault_of_list,
    "kwargs": _fault_of_object,
    "timeout": lambda value: _fault_of_time(value, 1, -1, " above 0, or -1 for no limit"),
    "result_ttl": lambda value: _fault_of_time(value, 0, -1, ", 0, or -1 for good"),
    "ttl": lambda value: _fault_of_time(value, 1, None, " above 0"),
    "failure_ttl": lambda value: _fault_of_time(value, 0, -1, ", 0, or -1 for good"),
    "meta": _fault_of_object,
    "description": _fault_of_description,
    "at_front": _fault_of_flag,
}


def _shown(value: object) -> str:
    return f"{value!r:.60}"
