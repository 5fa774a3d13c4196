"""Read files of jobs in JSON Lines: an object per line, with `job`, `schedule` and perhaps `payload` and `first`."""

import difflib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, Protocol

from redbike.csvfile import Malformed, Row

_NAMES = ("job", "schedule", "payload", "first")
_FORM = '{"job": "JOBID", "schedule": "SCHEDULE"}'


class CountedLines(Protocol):
    """Lines, and the number of the latest line."""

    number: int

    def __iter__(self) -> Iterator[str]: ...


def rows(lines: CountedLines) -> Iterator[Row]:
    """Yield the rows, without blank lines and comments. Raise Malformed."""
    for line in lines:
        if not line.startswith("#") and line.strip():
            yield _row(lines.number, line)


def _row(number: int, line: str) -> Row:
    try:
        found = _DECODER.decode(line)
    except RecursionError:
        raise Malformed(number, "the line nests lists or objects too deeply; write a flatter payload") from None
    except ValueError as error:
        raise Malformed(number, f"the line is not JSON: {error}; write {_FORM}") from error
    if not isinstance(found, dict):
        raise Malformed(number, f"the line is a {_kind(found)}, not an object; write {_FORM}")
    for name in found:
        if name not in _NAMES:
            raise Malformed(number, f"{name[:60]!r} is not known{_meant(name)}")
    jobid, schedule = _text(number, found, "job"), _text(number, found, "schedule")
    return Row(number, jobid, schedule, _payload(found), _first(number, found))


def _text(number: int, found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        fault = f"is a {_kind(value)}, not text" if name in found else "is missing"
        raise Malformed(number, f"{name!r} {fault}; write {_FORM}")
    return value


def _payload(found: dict[str, Any]) -> str | None:
    """Return the payload as text. `null` is no payload, as the payload of such a job is None in a worker."""
    if "payload" not in found:
        return None
    payload = found["payload"]
    if payload is None or isinstance(payload, str):
        return payload or ""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


def _first(number: int, found: dict[str, Any]) -> float | None:
    first = found.get("first")
    if first is None:
        return None
    if isinstance(first, bool) or not isinstance(first, int | float):
        raise Malformed(number, f"'first' is a {_kind(first)}, not a time in Unix seconds, such as 1790000000")
    return first


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _NAMES, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; a row has {', '.join(_NAMES)}"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:60]!r} is there twice")
        found[name] = value
    return found


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
