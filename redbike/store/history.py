"""The history: one record per run in a capped stream. The script `turn` writes it, this module reads it."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import redis

from redbike.store.keys import Keys
from redbike.store.text import decode

_PAGE = 1000  # records per round trip


class Call(Protocol):
    """A function that calls Redis with retries."""

    def __call__(self, attempt: Any) -> Any: ...


class Record(NamedTuple):
    """What became of one run. Times are in Unix seconds, by the server's clock."""

    jobid: str
    due: float
    began: float
    ended: float
    outcome: str  # done, failed, stopped, unset, later, bad, lost or late
    attempt: int
    worker: str  # host and pid
    error: str  # one line; empty without an error

    @classmethod
    def of(cls, fields: dict[bytes, bytes]) -> "Record | None":
        """Read a record. Return None for an entry that another program wrote."""
        try:
            outcome, began, ended, due, attempt, *rest = decode(fields[b"run"]).split(" ", 6)
            worker, error = [*rest, "", ""][:2]
            return cls(
                decode(fields[b"job"]), float(due), float(began), float(ended), outcome, int(attempt), worker, error
            )
        except (KeyError, ValueError):
            return None


class History:
    """The records of one prefix."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._client = client
        self._key = keys.history

    def latest_first(
        self,
        call: Call,
        jobid: str | None = None,
        since: float | None = None,
        outcome: str | None = None,
        upto: str | None = None,
    ) -> Iterator[Record]:
        """Yield the records, page by page. `upto`: the id of the newest of them."""
        last = upto or "+"
        while True:
            page = call(partial(self._page, last))
            for _, fields in page:
                record = Record.of(fields or {})
                if record is None:
                    continue
                if since is not None and record.ended < since:
                    return
                if (jobid is None or record.jobid == jobid) and (outcome is None or record.outcome == outcome):
                    yield record
            if len(page) < _PAGE:
                return
            last = f"({decode(page[-1][0])}"

    def newest_id(self) -> str:
        """Return the id of the newest record, for `after`."""
        page = self._page("+", False, 1)
        return decode(page[0][0]) if page else "0-0"

    def after(self, last: str, wait_s: float) -> tuple[str, list[Record]]:
        """Return the records after this id, and the id of the last of them. Wait so long for the first of them."""
        # A server rounds a short wait up to a tenth of a second.
        block = max(1, round(1000 * wait_s)) if wait_s else None
        reply: Any = self._client.xread({self._key: last}, count=_PAGE, block=block)
        records = []
        for entry, fields in (
            (reply[0][1] if isinstance(reply, list) else next(iter(reply.values()))[0]) if reply else []
        ):
            last = decode(entry)
            record = Record.of(fields or {})
            if record is not None:
                records.append(record)
        return last, records

    def _page(self, last: str, _repeated: bool = False, count: int = _PAGE) -> list[Any]:
        return list(self._client.xrevrange(self._key, max=last, count=count))  # type: ignore[arg-type]
