"""Read the store of another scheduler in Redis, with commands that change nothing, piece by piece."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol, TypeVar

import redis

from redbike.errors import RedbikeError
from redbike.schedule.forms import EARLIEST, LATEST
from redbike.store.jobid import jobid_fault
from redbike.store.text import decode

T = TypeVar("T")

PAGE = 500  # entries a round trip
_SCANNED = 1000  # keys or members a round trip
_SHOWN_CHARS = 60


class Call(Protocol):
    """A function that calls Redis with retries."""

    def __call__(self, attempt: Callable[[bool], T]) -> T: ...


class NoStore(RedbikeError):
    """There is no store of the other scheduler under this prefix. The message is one line, with the way out."""


class Unreadable(Exception):
    """An entry cannot be moved. The message says why, in one line."""


TOO_DEEP = "nests lists or objects too deeply"
"""The message for a value that Python can read, but cannot go through."""


class OldStore:
    """The server of another scheduler. Every method reads."""

    def __init__(self, client: redis.Redis, call: Call, where: str) -> None:
        """`where`: the address for messages."""
        self._client: Any = client
        self._call = call
        self.where = where

    def scores(self, key: str) -> dict[bytes, float]:
        """Return the members of a sorted set with their scores. Raise NoStore if the key has another type."""
        return dict(self._listed(key, lambda: self._client.zscan_iter(key, count=_SCANNED)))

    def members(self, key: str) -> set[bytes]:
        """Return the members of a set. Raise NoStore if the key has another type."""
        return set(self._listed(key, lambda: self._client.sscan_iter(key, count=_SCANNED)))

    def _listed(self, key: str, scan: Callable[[], Iterator[T]]) -> list[T]:
        # Read all names before the first entry, because a running scheduler moves its entries.
        def attempt(_repeated: bool) -> list[T] | None:
            try:
                return list(scan())
            except redis.ResponseError as error:
                if "WRONGTYPE" in str(error):
                    return None
                raise

        found = self._call(attempt)
        if found is None:
            raise NoStore(
                f"Redis at {self.where}: the key {key!r} belongs to another program; name the prefix with --prefix"
            )
        return found

    def names(self, prefix: str) -> list[bytes]:
        """Return the keys that begin with this prefix."""
        pattern = "".join(f"\\{char}" if char in r"*?[]^-\\" else char for char in prefix) + "*"
        return list(self._call(lambda _: set(self._client.scan_iter(match=pattern, count=_SCANNED))))

    def hashes(self, keys: Sequence[bytes], fields: Sequence[str]) -> Iterator[tuple[bytes, list[bytes | None] | str]]:
        """Yield each key with the values of these fields, or with the type of a key that is not a hash."""
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            for key, reply in zip(page, self._call(partial(self._values, page, fields)), strict=True):
                if isinstance(reply, redis.RedisError):
                    yield key, decode(self._call(lambda _, key=key: self._client.type(key)))  # type: ignore[misc]
                else:
                    yield key, reply

    def _values(self, keys: Sequence[bytes], fields: Sequence[str], _repeated: bool) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, fields)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        for key, reply in zip(keys, replies, strict=True):
            # A key of another type concerns its entry. Any other error, such as a missing right, concerns the import.
            if isinstance(reply, redis.RedisError) and "WRONGTYPE" not in str(reply):
                reply.args = (f"key {shown_name(key)!r}: {reply}",)
                raise reply
        return replies


def shown_name(raw: bytes) -> str:
    """Return a name for messages."""
    return raw.decode("utf-8", "backslashreplace")


def checked_jobid(raw: bytes) -> str:
    """Return a job id. Raise Unreadable for an id that Redbike refuses."""
    jobid = decode(raw)
    if fault := jobid_fault(jobid):
        raise Unreadable(fault)
    return jobid


def read_json(name: str, raw: bytes) -> Any:
    """Return the value of a JSON text. Raise Unreadable, which names the text."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise Unreadable(f"{name} {TOO_DEEP}") from None
    except ValueError as error:
        raise Unreadable(f"{name} is not JSON: {error}") from None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def checked(name: str, value: object, kind: type[T], what: str) -> T:
    """Return a value of this type. Raise Unreadable for a value of another type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Unreadable(f"{name} is {shown_value(value)}, not {what}")
    return value


def shown_value(value: object) -> str:
    """Return a value for messages, shortened. An argument may be long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def whole_time(score: float) -> int:
    """Return a time in whole Unix seconds. Raise Unreadable for a number that is not a time."""
    if not math.isfinite(score) or not EARLIEST <= score <= LATEST:
        raise Unreadable(f"its next run is at {score}, which is no time in Unix seconds")
    return math.floor(score)
