"""The dispatchers and workers of a prefix, as they have described themselves in Redis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redbike.store.query import read_json
from redbike.store.text import decode

SILENT_S = 15.0
"""A process whose last heartbeat is older is silent: three heartbeats are missing."""


@dataclass(frozen=True)
class Process:
    """A dispatcher or worker, as it has described itself."""

    client_id: str
    kind: str
    host: str
    pid: int
    since: float
    heard: float
    version: str
    worker: str
    queues: tuple[str, ...]
    runs: int
    failures: int
    is_silent: bool
    """Whether its last three heartbeats are missing."""

    @property
    def name(self) -> str:
        """Host and pid."""
        return f"{self.host}:{self.pid}"


def read_processes(alive: Sequence[tuple[bytes, float]], described: Any, now: float) -> list[Process]:
    """Return the processes, sorted, from their heartbeats and from what they noted about themselves."""
    if isinstance(described, list):
        described = dict(zip(described[::2], described[1::2], strict=True))
    found = []
    for client_id, score in alive:
        heard = finite(score) or 0.0
        about = read_json(described.get(client_id) or b"{}")
        queues = about.get("queues")
        found.append(
            Process(
                client_id=decode(client_id),
                kind=str(about.get("kind", "process")),
                host=str(about.get("host", "?")),
                pid=_whole(about.get("pid")),
                since=finite(about.get("since")) or heard,
                heard=heard,
                version=str(about.get("version", "")),
                worker=str(about.get("worker", "")),
                queues=tuple(map(str, queues)) if isinstance(queues, list) and about.get("kind") == "worker" else (),
                runs=_whole(about.get("runs")),
                failures=_whole(about.get("failures")),
                is_silent=heard < now - SILENT_S,
            )
        )
    return sorted(found, key=lambda process: (process.kind, process.host, process.pid, process.client_id))


def finite(value: Any) -> float | None:
    """Return a finite number; None for all else."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _whole(value: Any) -> int:
    return int(finite(value) or 0)
