"""H: the library: its names, signatures and attributes, and what an application may rely on when it uses them."""

import copy
import inspect
import logging
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import Fleet, Recorder, Server
from nodes import eventually
from processes import environment
from threads import Loops

import redbike
from redbike import Redbike, RoundRobin, StopWork, UnsetJob
from redbike.errors import ConfigError, RedbikeError, ServerError

EMPTY = inspect.Parameter.empty


# names and signatures


def parameters(callable_: Callable[..., object]) -> list[tuple[str, object]]:
    """Return name and default of each positional parameter."""
    found = inspect.signature(callable_).parameters.values()
    return [(one.name, one.default) for one in found if one.kind is one.POSITIONAL_OR_KEYWORD and one.name != "self"]


def test_the_public_names() -> None:
    """H: `from redbike import Redbike, RoundRobin, StopWork, UnsetJob`, and `__all__` lists what there is."""
    assert {"Redbike", "RoundRobin", "StopWork", "UnsetJob"} <= set(redbike.__all__)
    assert all(hasattr(redbike, name) for name in redbike.__all__)
    assert issubclass(StopWork, Exception)
    assert issubclass(UnsetJob, Exception)
    assert not issubclass(StopWork, RedbikeError), "these are words of a worker, not errors of a user"


@pytest.mark.parametrize("name", ["log", "hdlr", "LOGLEVEL", "FORMAT", "version_file"])
def test_names_of_0_13_1_that_are_gone(name: str) -> None:
    """H: `from redbike import log`, as programs of 0.13.1 have it, is an ImportError that says what to use instead."""
    with pytest.raises(ImportError, match=f"^redbike.{name} of version 0.13.1 is gone: .+; see docs/upgrading.md$"):
        exec(f"from redbike import {name}")
    with pytest.raises(ImportError, match="is gone"):
        getattr(redbike, name)
    assert name not in dir(redbike)
    with pytest.raises(AttributeError):
        redbike.nothing  # noqa: B018


def test_the_constructor() -> None:
    """H: the constructor takes these arguments in this order with these defaults; new arguments are by keyword only."""
    assert parameters(Redbike.__init__) == [
        ("worker", EMPTY),
        ("prefix", None),
        ("redis_config", None),
        ("timefile", None),
        ("log", None),
        ("stop_event", None),
        ("default_timeout", 10),
    ]
    assert parameters(RoundRobin.__init__) == [("initstring", EMPTY)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("set", [("jobid", EMPTY), ("schedule", EMPTY), ("after", None)]),
        ("unset", [("jobid", EMPTY)]),
        ("tell", [("jobid", EMPTY)]),
        ("get_statuses", [("before", None)]),
        ("get_schedules", []),
        ("dispatch", [("after", None), ("csvfilename", None)]),
        ("work", []),
        ("control", [("signal", EMPTY)]),
        ("clear_control", []),
        ("is_halted", []),
        ("is_working", [("jobid", EMPTY)]),
        ("enqueue", [("jobid", EMPTY), ("payload", None)]),
        ("get_schedule", [("jobid", EMPTY)]),
        ("point_in_time", []),
        ("queue_for", [("jobid", EMPTY)]),
        ("queue_names", []),
        ("flush", []),
    ],
)
def test_the_methods(name: str, expected: list[tuple[str, object]]) -> None:
    """H: each method of the contract has these names and defaults of its arguments."""
    assert parameters(getattr(Redbike, name)) == expected


def test_load_csv_takes_the_name_of_a_file() -> None:
    """H: `load_csv(csvfilename)` needs no other argument."""
    first, *others = parameters(Redbike.load_csv)
    assert first == ("csvfilename", EMPTY)
    assert all(default is not EMPTY for _, default in others)


def test_the_methods_of_a_roundrobin() -> None:
    """D10: a worker has `queue_for(jobid)`, `queue_names()`, `work(jobid)` and `timeout(queue_name)`."""
    assert parameters(RoundRobin.queue_for) == [("jobid", EMPTY)]
    assert parameters(RoundRobin.queue_names) == []
    assert parameters(RoundRobin.work) == [("jobid", EMPTY)]
    assert parameters(RoundRobin.timeout) == [("queue_name", EMPTY)]


def test_the_attributes(server: Server, tmp_path: Path, prefix: str) -> None:
    """H: the arguments of the constructor, and the keys, are attributes."""
    worker, log, stop = Recorder(), logging.getLogger("mine"), threading.Event()
    config = {"unix_socket_path": server.socket}
    bike = Redbike(worker, prefix, config, str(tmp_path / "t"), log, stop, 7.5)
    assert bike.worker is worker
    assert bike.prefix == prefix
    assert bike.timefile == str(tmp_path / "t")
    assert bike.log is log
    assert bike.stop_event is stop
    assert bike.default_timeout == 7.5
    assert bike.statuses_key == f"{prefix}-statuses"
    assert bike.schedules_key == f"{prefix}-schedules"
    assert bike.timeline_key == f"{prefix}-timeline"
    assert bike.control_key == f"{prefix}-control"
    assert next(bike.consumer)[0] is None
    assert bike.redis.ping()
    bike.close()


@pytest.mark.parametrize("nothing", [None, ""])
def test_the_defaults(nothing: str | None) -> None:
    """H: the defaults are: prefix `redbike`, time file `.redbike.timefile`, ten seconds, no stop event."""
    bike = Redbike(RoundRobin("A"), prefix=nothing)
    assert (bike.prefix, bike.timefile, bike.stop_event) == ("redbike", ".redbike.timefile", None)
    assert bike.default_timeout == 10
    assert bike.schedules_key == "redbike-schedules"
    assert isinstance(bike.log, logging.Logger)
    assert bike.queue_for("j:A") == "redbike-work-A"


def test_queue_names_are_full_keys(fleet: Fleet) -> None:
    """H: `queue_for` and `queue_names` return full keys, in a list with repetitions."""
    bike = fleet(Recorder("A:A:B"))
    assert bike.queue_for("j:B") == f"{bike.prefix}-work-B"
    assert bike.queue_names() == [f"{bike.prefix}-work-{code}" for code in "AAB"]


def test_methods_return_what_they_did_before(bike: Redbike) -> None:
    """H: the methods of the old interface return what they did: booleans for questions, a count for `flush`."""
    bike.set("j:A", "NOW")
    assert bike.is_working("j:A") is False
    assert bike.is_halted() is False
    assert bike.flush() >= 4
    assert bike.redis.keys(f"{bike.prefix}-*") == []


@pytest.mark.parametrize("timeout", [0, -1, "10", True, float("nan"), float("inf"), None])
def test_a_default_timeout_that_makes_no_sense(timeout: object) -> None:
    """H: a default timeout that is no number of seconds above 0 is refused at once."""
    with pytest.raises(ConfigError, match=r"default_timeout: .*seconds"):
        Redbike(RoundRobin("A"), default_timeout=timeout)  # type: ignore[arg-type]


# types


def test_the_package_is_typed() -> None:
    """H: the package is marked as typed, and every public method has types."""
    assert resources.files("redbike").joinpath("py.typed").is_file()
    for cls in (Redbike, RoundRobin):
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_"):
                hints = get_type_hints(method, localns={"Record": object, "Told": object})
                assert set(inspect.signature(method).parameters) - {"self"} <= set(hints), f"{cls.__name__}.{name}"
                assert "return" in hints, f"{cls.__name__}.{name}"


def test_a_dict_of_strings_and_numbers_is_a_redis_config(fleet: Fleet, server: Server) -> None:
    """H: `redis_config` is a dict of arguments of redis.Redis, and is not changed."""
    config = {"unix_socket_path": server.socket, "db": 0, "socket_timeout": 5, "decode_responses": True}
    before = dict(config)
    bike = fleet(redis_config=config)
    assert bike.redis.ping()
    assert config == before


def test_an_argument_that_redis_does_not_know(fleet: Fleet) -> None:
    """H: an unknown argument is a ConfigError that names it."""
    with pytest.raises(ConfigError, match="frobnicate"):
        fleet(redis_config={"frobnicate": 1})


# inside an application


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_the_client_answers_in_bytes(fleet: Fleet, server: Server, asked: bool, protocol: int) -> None:
    """H: `redis` answers in bytes, whatever `decode_responses` says, and everything works."""
    config = {"unix_socket_path": server.socket, "decode_responses": asked, "protocol": protocol}
    worker = Recorder()
    bike = fleet(worker, redis_config=config)
    bike.control("HALT")
    bike.set("ü:A", "CONTINUE")
    bike.set("at:A", "AT:1")
    bike.dispatch()
    bike.work()
    bike.work()
    assert worker.done == ["ü:A", "at:A"]
    assert bike.redis.hget(bike.schedules_key, "ü:A") == b"CONTINUE"
    assert dict(bike.get_schedules()) == {"ü:A": "CONTINUE", "at:A": "STOP"}
    assert {event for _, event, _ in bike.get_statuses()} == {"ENQ", "STP"}
    assert bike.tell("ü:A")["schedule"] == "CONTINUE"


def test_constructing_connects_to_nothing() -> None:
    """H: an object can be created without a server; its first call then raises a RedbikeError."""
    bike = Redbike(RoundRobin("A"), redis_config={"unix_socket_path": "/nowhere/at.all"})
    assert bike.queue_for("j:A") == "redbike-work-A"
    with pytest.raises(ServerError, match=r"/nowhere/at\.all"):
        bike.tell("j:A")
    bike.close()


@pytest.mark.parametrize("verb", ["dispatch", "work", "clear_control", "is_halted", "flush", "get_schedules"])
def test_every_verb_says_where_no_server_is(tmp_path: Path, verb: str) -> None:
    """H: without a server, no method raises an exception of the redis package."""
    with (
        Redbike(
            RoundRobin("A"), redis_config={"unix_socket_path": str(tmp_path / "s")}, timefile=tmp_path / "t"
        ) as bike,
        pytest.raises(ServerError, match="out of reach"),
    ):
        list(getattr(bike, verb)() or ())


def test_an_object_can_be_used_after_close(bike: Redbike) -> None:
    """H: `close()` closes connections, also if called twice, and the object can be used again."""
    bike.set("j:A", "CONTINUE")
    assert next(bike.consumer)[0] == "j:A"
    bike.close()
    bike.close()
    bike.redis.delete(f"{bike.prefix}-work-A-j:A")
    bike.set("j:A", "CONTINUE")
    assert next(bike.consumer)[0] == "j:A"


def test_an_object_is_a_context(server: Server, prefix: str) -> None:
    """H: `with Redbike(...) as bike:` closes it at the end."""
    worker = Recorder()
    with Redbike(worker, prefix=prefix, redis_config={"unix_socket_path": server.socket}) as bike:
        assert bike.worker is worker
        name = f"context-of-{prefix}"
        bike.redis.client_setname(name)
        clients = server.client()
        assert name in {client["name"] for client in clients.client_list()}
    eventually(lambda: name not in {client["name"] for client in clients.client_list()})
    clients.close()


def test_threads_share_an_object_for_verbs(bike: Redbike) -> None:
    """H: many threads may set, tell, list and unset through one object, and each gets its reply."""

    def one(number: int) -> bool:
        jobid = f"{number}:A"
        for schedule, event in (("STOP", "STP"), ("CONTINUE", "ENQ"), (f"AT:{4_000_000_000 + number}", "TML")):
            bike.set(jobid, schedule)
            if not (bike.tell(jobid)["status"] or "").startswith(event):
                return False
        right = bike.tell(jobid)["next_run"] == 4_000_000_000 + number
        list(bike.get_schedules())
        if number % 2:
            bike.unset(jobid)
        return right and bike.is_working(jobid) is False

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(100)))
    assert dict(bike.get_schedules()) == {f"{number}:A": "STOP" for number in range(0, 100, 2)}


def test_loops_and_verbs_share_a_process(fleet: Fleet, loops: Loops) -> None:
    """H: a worker and a dispatcher in threads and methods in the main thread work together."""
    worker = Recorder()
    bike = loops.work(worker).bike
    loops.dispatch(worker)
    for number in range(50):
        bike.set(f"{number}:A", "NOW" if number % 2 else "AT:1")
    eventually(lambda: sorted(worker.done) == sorted(f"{number}:A" for number in range(50)))
    assert fleet().tell("1:A")["schedule"] == "STOP"


@pytest.mark.parametrize("kind", ["work", "dispatch"])
def test_a_stop_event_ends_a_loop_in_a_thread(loops: Loops, kind: str) -> None:
    """H: `stop_event` ends a loop in a thread, which returns as if it had been halted."""
    loop = getattr(loops, kind)()
    loop.tell()
    loop.join(2)
    assert loop.error is None


def test_anything_that_can_be_asked_is_a_stop_event(fleet: Fleet) -> None:
    """H: a stop event is anything with `is_set()`."""

    class AfterThree:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    worker = Recorder()
    bike = fleet(worker, stop_event=AfterThree())
    bike.set("j:A", "CONTINUE")
    bike.work()
    assert 1 <= len(worker.done) <= 4


def test_importing_sets_up_no_logging() -> None:
    """G5: importing the library adds no handler, sets no level, and prints nothing."""
    program = (
        "import logging, redbike, redbike.cli\n"
        "assert logging.getLogger().handlers == []\n"
        "names = [name for name in logging.root.manager.loggerDict if name.startswith('redbike')]\n"
        "loggers = [logging.getLogger(name) for name in names]\n"
        "real = [h for log in loggers for h in log.handlers if not isinstance(h, logging.NullHandler)]\n"
        "assert real == [] and all(log.level == logging.NOTSET and log.propagate for log in loggers)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, env=environment(), timeout=30
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")


def test_log_lines_go_to_the_logger_that_was_given(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """H: a Redbike logs to `log`."""
    bike = fleet(log=logging.getLogger("an.application"))
    bike.set("j:A", "nonsense")
    assert [record.name for record in caplog.records] == ["an.application"]


def test_odd_arguments_are_errors_not_harm(bike: Redbike) -> None:
    """H: a schedule or job id that is not text, or an invalid time, is an error, and nothing is written."""
    for jobid, schedule, after in (("j:A", 5, None), (5, "NOW", None), ("j:A", b"NOW", None), (None, "NOW", None)):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            bike.set(jobid, schedule, after)  # type: ignore[arg-type]
    for after in ("soon", float("nan"), float("inf"), True):
        with pytest.raises((TypeError, ValueError)):
            bike.set("j:A", "RRULE:FREQ=DAILY", after=after)  # type: ignore[arg-type]
    assert bike.redis.keys(f"{bike.prefix}-*") == []


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_object_is_not_copied(bike: Redbike, copied: Callable[[object], object]) -> None:
    """H: pickling or copying an object raises an error that says what to do instead, for users of multiprocessing."""
    with pytest.raises(TypeError, match=r"a Redbike holds connections.*make a new object from the same arguments"):
        copied(bike)


def test_a_large_file_takes_little_memory(fleet: Fleet, tmp_path: Path) -> None:
    """C3: a file of schedules with any number of rows is read in pieces, and so is a queue that is flushed."""
    bike, path, rows = fleet(), tmp_path / "rows.csv", 8_000
    path.write_text("".join(f"job-{number}:A,NOW\n" for number in range(rows)))
    bike.set("first:A", "NOW")  # all modules are loaded by now
    for step, most_bytes in ((lambda: bike.load_csv(path), 1_000_000), (bike.flush, 800_000)):
        tracemalloc.start()
        step()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < most_bytes
    assert not bike.redis.exists(bike.queue_for("j:A"), bike.schedules_key, bike.statuses_key)


def test_a_file_is_refused_whole_whatever_its_length(fleet: Fleet, tmp_path: Path) -> None:
    """C3: if the last of many rows is malformed, no row is set."""
    bike, path = fleet(), tmp_path / "rows.csv"
    for last in ("no schedule\n", ",NOW\n", "members:A-members,NOW,x\n"):
        path.write_text("".join(f"job-{number}:A,NOW\n" for number in range(5_000)) + last)
        with pytest.raises(RedbikeError, match=r"rows\.csv:5001: .*nothing of the file was set"):
            bike.load_csv(path)
        assert not bike.redis.exists(bike.queue_for("j:A"), bike.schedules_key, bike.statuses_key)


def test_a_file_that_is_read_only_once(fleet: Fleet, tmp_path: Path) -> None:
    """C3: a named pipe, as of a shell's `<(...)`, is accepted as a file of schedules."""
    bike, path = fleet(), tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_text("a:A,STOP\nb:A,STOP\n"))
    writer.start()
    bike.load_csv(path)
    writer.join(5)
    assert dict(bike.get_schedules()) == {"a:A": "STOP", "b:A": "STOP"}


def test_a_file_that_changes_meanwhile(fleet: Fleet, tmp_path: Path) -> None:
    """C3: a file that is changed while it is read is refused, and no row is set."""
    path = tmp_path / "rows.csv"
    path.write_text("a:A,STOP\nb:A,STOP\n")

    class Writes(Recorder):
        def queue_for(self, jobid: str) -> str:
            if jobid == "b:A":
                path.write_text("a:A,STOP\nb:A,STOP\nc:A,STOP\n")
            return super().queue_for(jobid)

    bike = fleet(Writes())
    with pytest.raises(
        RedbikeError, match=r"rows\.csv: the file changed while it was read; nothing of the file was set"
    ):
        bike.load_csv(path)
    assert dict(bike.get_schedules()) == {}
