"""Build the loops of a `Redbike`: the worker's loop and the dispatcher's loop, each with its own connection."""

from functools import partial
from typing import TYPE_CHECKING

from redbike.engine.calling import Calls
from redbike.engine.dispatcher import Dispatcher
from redbike.engine.heartbeat import Heartbeat
from redbike.engine.monitor import IdleWorkers, QueueMonitor
from redbike.engine.policy import Policy
from redbike.engine.present import PresentRun
from redbike.engine.processor import Consumer
from redbike.engine.recovery import OBSERVED_S, Recovery
from redbike.engine.runtime import Runtime
from redbike.engine.waiting import LONGEST_SLEEP_S, LONGEST_WAIT_S, Bells, WakeChannel, longest_wait_s
from redbike.settings import OnFailure
from redbike.store.looks import Looks
from redbike.store.requests import new_client_id
from redbike.store.store import Store

if TYPE_CHECKING:
    from redbike.bike import Redbike
    from redbike.parts import Parts


def make_runtime(parts: "Parts", bike: "Redbike") -> Runtime:
    """Make the services that a loop needs from its process."""
    stop_event = bike.stop_event
    may_sleep = stop_event is None or getattr(stop_event, "ends_waits", False)
    timeout_s = parts.client.socket_timeout_s
    return Runtime(
        stopping=partial(_is_stopping, parts),
        wait=parts.wait,
        policy=parts.retry,
        limited_log=parts.limited_log,
        log=parts.log,
        longest_wait_s=longest_wait_s(timeout_s),
        longest_sleep_s=longest_wait_s(timeout_s, LONGEST_SLEEP_S if may_sleep else LONGEST_WAIT_S),
    )


def make_consumer(parts: "Parts", bike: "Redbike") -> Consumer:
    """Make the consumer of the worker's queues."""
    calls = Calls(bike.worker)
    redis, store = parts.client.redis, _store_of_a_loop(parts, calls.wants_runs)
    present = PresentRun(
        calls, store, parts.keys, parts.retry, parts.run_ends.failed_line, parts.runtime.stopping, parts.log
    )
    return Consumer(
        store=store,
        looks=Looks(redis, parts.keys, store.clock),
        keys=parts.keys,
        worker=bike.worker,
        default_timeout_s=partial(getattr, bike, "default_timeout"),
        run_ends=parts.run_ends,
        bells=Bells(redis, parts.limited_log),
        idle=IdleWorkers(redis, parts.keys),
        runtime=parts.runtime,
        present=present,
        heartbeat=Heartbeat(
            redis, parts.keys, parts.log, "", partial(_about, bike, "worker"), partial(_counts, present)
        ),
    )


def make_dispatcher(parts: "Parts", bike: "Redbike", policy: Policy) -> Dispatcher:
    """Make a dispatcher."""
    redis, keys, store = parts.client.redis, parts.keys, _store_of_a_loop(parts)
    looks, wake_channel = Looks(redis, keys, store.clock), WakeChannel(redis, keys.wake, parts.limited_log)
    parts.client.keep(wake_channel)
    recovers = policy.keeps_an_index
    heartbeat = Heartbeat(redis, keys, parts.log, new_client_id(), partial(_about, bike, "dispatcher"), dict)
    return Dispatcher(
        store=store,
        looks=looks,
        queue_key_for=parts.guard.queue_key_for,
        wake_channel=wake_channel,
        timefile=parts.timefile,
        recovery=Recovery(
            store,
            looks,
            parts.run_ends,
            parts.limited_log,
            parts.log,
            policy.dead_after_s,
            ends_runs=policy.on_timeout is not OnFailure.DROP,
            is_heard=partial(heartbeat.was_heard_within, OBSERVED_S),
        )
        if recovers
        else None,
        monitor=QueueMonitor(store, redis, keys, bike.queue_names()),
        runtime=parts.runtime,
        resume=bike.resume,
        heartbeat=heartbeat,
    )


def _store_of_a_loop(parts: "Parts", wants_runs: bool = False) -> Store:
    store = parts.make_store(wants_runs)
    store.read_scripts()
    return store


def _is_stopping(parts: "Parts") -> bool:
    return parts.is_closed or parts.is_asked_to_stop()


def _about(bike: "Redbike", kind: str) -> dict[str, object]:
    """Return what other processes may want to know of this process."""
    queues = list(dict.fromkeys(map(str, bike.worker.queue_names())))
    return {"kind": kind, "version": _version(), "worker": type(bike.worker).__name__, "queues": queues[:100]}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("redbike")
    except PackageNotFoundError:  # a copy of the source without metadata
        return ""


def _counts(present: PresentRun) -> dict[str, int]:
    return {"runs": present.runs, "failures": present.failures}
