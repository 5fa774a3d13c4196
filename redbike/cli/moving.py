"""The commands `redbike import redbeat` and `redbike import rediscron`: move the jobs of another scheduler's store."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from redbike import streams
from redbike.bike import Redbike
from redbike.cli.opening import Arguments, Failure, opened, say
from redbike.cli.zone import zone_of
from redbike.engine.interruptible import InterruptibleWait
from redbike.engine.retry import RetryPolicy
from redbike.errors import ConfigError, ServerError, WorkerError
from redbike.importers.moving import Complaint, Entry, Move
from redbike.importers.redbeat import PREFIX as REDBEAT_PREFIX
from redbike.importers.redbeat import read_redbeat
from redbike.importers.rediscron import PREFIX as REDISCRON_PREFIX
from redbike.importers.rediscron import read_rediscron
from redbike.importers.stores import OldStore
from redbike.logs import printable
from redbike.server.client import Client

_IN_THE_CONF = "(username and password are set in [redbike-redis])"
_SHOWN_CHARS = 60


class _Kind(NamedTuple):
    """A scheduler whose store can be read."""

    read: Callable[..., Iterator[Entry | Complaint]]
    prefix: str  # of its keys
    zone: str | None  # of its cron expressions; None: that of this machine
    queue: str  # the one queue of the worker that sends its calls
    conf: tuple[str, str]  # the lines that name this worker


_KINDS = {
    "redbeat": _Kind(
        read_redbeat,
        REDBEAT_PREFIX,
        "UTC",
        "celery",
        ("prefix: redbike:celery", "worker: redbike.bridges.celery:CeleryWorker('proj')"),
    ),
    "rediscron": _Kind(
        read_rediscron,
        REDISCRON_PREFIX,
        None,
        "rq",
        ("prefix: redbike:rq", "worker: redbike.bridges.rq:RQWorker('redis://localhost:6379/0')"),
    ),
}


def do_move(arguments: Arguments) -> None:
    """Set the jobs of another scheduler's store, or print them with --dry-run. Raise Failure if one was left out."""
    name = next(name for name in _KINDS if arguments[name])
    kind, is_dry = _KINDS[name], arguments["--dry-run"]
    zone = zone_of(arguments["--zone"] or kind.zone)
    prefix = kind.prefix if arguments["--prefix"] is None else arguments["--prefix"]
    with opened(arguments) as bike, _old_store(bike, arguments["--url"]) as store:
        _check_worker(bike, name, kind, is_dry)
        move = Move(bike, lambda complaint: say(f"{complaint.name}: {complaint.text}"), _print_row if is_dry else None)
        counts = move.run(kind.read(store, prefix=prefix, zone=zone, now=bike.now()))
        if not is_dry:
            line = (
                f"{name}: {_jobs(counts.imported)} imported, {counts.unchanged} unchanged, {counts.left_out} left out"
                f" (prefix {bike.prefix})"
            )
            print(printable(line), file=streams.output())
        if counts.left_out:
            raise Failure(f"{name}: {counts.left_out} left out, as said above")


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _print_row(entry: Entry) -> None:
    """Print a job as a line of JSON, as `redbike load` reads it."""
    row = {"job": entry.jobid, "schedule": entry.schedule, "payload": entry.payload, "first": entry.first}
    print(json.dumps({key: value for key, value in row.items() if value is not None}), file=streams.output())


def _check_worker(bike: Redbike, name: str, kind: _Kind, is_dry: bool) -> None:
    """Raise Failure if the worker of the conf does not serve the queue of these jobs. A dry run prints the fault."""
    try:
        if kind.queue in bike.worker.queue_names() and bike.worker.queue_for("a") == kind.queue:
            return
    except Exception as error:
        raise WorkerError(f"worker {type(bike.worker).__name__}: {type(error).__name__}: {error}") from error
    fault = (
        f"the worker of the conf does not serve the queue {kind.queue!r}, into which the jobs of {name} go; write to"
        f" [redbike] of the conf: {kind.conf[0]} and {kind.conf[1]}"
    )
    if not is_dry:
        raise Failure(f"{fault}; nothing was set")
    say(fault)


@contextmanager
def _old_store(bike: Redbike, url: str | None) -> Iterator[OldStore]:
    """Open the server of the old store: that of the URL, else that of the conf."""
    if url is None:
        parts = bike._parts
        yield OldStore(bike.redis, parts.call, parts.client.where)
        return
    try:
        client = Client({"url": url})
    except ConfigError as error:
        raise Failure(f"--url: {str(error).removeprefix('url: ')}") from None
    try:
        policy = RetryPolicy(client.where, bike.log, InterruptibleWait(), client.forget_idle)
        yield OldStore(client.redis, policy.retry, client.where)
    except ServerError as error:
        # The way out in the message is for the server of the conf.
        raise ServerError(str(error).replace(_IN_THE_CONF, "(write them into --url)")) from error
    finally:
        client.close()
