"""`redbike.commands:Shell` runs the payload of a job as a command line, here with real commands."""

import logging
import os
import signal
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from nodes import eventually

from redbike import commands
from redbike.commands import CommandFailed, Shell
from redbike.errors import ServerError, WorkerError
from redbike.worker import BadJob, Later, Run

LONG_S = 60.0


def run_of(command: str, timeout_s: float = LONG_S, extend: Callable[[float], bool] = lambda _: True) -> Run:
    return Run("job:A", command, 1_790_000_000.5, 1_790_000_003.0, 2, "work-A", "STOP", timeout_s, "tag", extend)


def perform(command: str, timeout_s: float = LONG_S) -> None:
    Shell("A").perform(run_of(command, timeout_s))


def failure(command: str, timeout_s: float = LONG_S) -> CommandFailed:
    with pytest.raises(CommandFailed) as failed:
        perform(command, timeout_s)
    return failed.value


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log holds of the output, without the job id that each line begins with."""
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert all(line.startswith("job 'job:A': ") for line in found)
    return [line.removeprefix("job 'job:A': ") for line in found]


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "redbike")


@pytest.fixture
def quick_to_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pause between TERM and KILL short."""
    monkeypatch.setattr(commands, "_KILL_AFTER_S", 0.3)


def is_gone(pid: int) -> bool:
    """Return True if no process has this pid, or only a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_exit_code_0(caplog: pytest.LogCaptureFixture) -> None:
    """A command that exits with 0 is done; its stdout and stderr are lines of the log, with the id of the job."""
    perform("echo one; echo two >&2; printf three; exit 0")
    assert lines(caplog) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo a; echo b; echo; exit 3", "exit 3: b"),
        ("exit 1", "exit 1"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("echo ouch; kill -SEGV $$", "killed by SIGSEGV: ouch"),
        ("exit 137", "exit 137 (SIGKILL)"),
        ("exit 255", "exit 255"),
        ("printf '\\033[1mred'; exit 2", r"exit 2: \x1b[1mred"),
    ],
)
def test_failed(command: str, message: str) -> None:
    """Another exit code fails the run, with the last line of the output; a signal is named."""
    assert str(failure(command)) == message


def test_a_syntax_error() -> None:
    """A command that the shell cannot read, or does not find, fails with the shell's own words."""
    assert "yntax error" in str(failure("if"))
    assert str(failure("no-such-command")).startswith("exit 127: ")


def test_exit_code_75() -> None:
    """Exit code 75 (EX_TEMPFAIL) is no failure: the run happens again after a minute, or after `later` seconds."""
    with pytest.raises(Later) as later:
        perform("exit 75")
    assert later.value.seconds == 60
    with pytest.raises(Later) as later:
        Shell("A", later=5).perform(run_of("exit 75"))
    assert later.value.seconds == 5


@pytest.mark.parametrize("later", [-1, "60", True, float("nan")])
def test_later_is_a_number(later: object) -> None:
    """`later` must be a number of seconds."""
    with pytest.raises(WorkerError, match=r"^Shell: later=.* is not a number of seconds from 0 to 1000000000$"):
        Shell("A", later=later)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "job has no command: set it with --payload"),
        (" \n", "job has no command: set it with --payload"),
        ("echo a\0b", "its id or its command holds a NUL character: set it again without"),
        ("true " + "x" * 400_000, "its command has 400005 bytes, too many for this system: put it into a file"),
    ],
)
def test_no_command(command: str, reason: str) -> None:
    """A job without a command, or with a command that no system can start, is a bad job."""
    with pytest.raises(BadJob) as bad:
        perform(command)
    assert str(bad.value) == reason


def test_environment(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has the environment of the worker, and the id, the due time and the attempt of its run."""
    monkeypatch.setenv("OF_THE_WORKER", "yes")
    perform("echo $REDBIKE_JOB $REDBIKE_DUE $REDBIKE_ATTEMPT $OF_THE_WORKER; pwd")
    assert lines(caplog) == ["job:A 1790000000 2 yes", os.getcwd()]  # noqa: PTH109


def test_stdin(caplog: pytest.LogCaptureFixture) -> None:
    """The standard input of a command is empty, and not that of the worker."""
    own, (reading, writing) = os.dup(0), os.pipe()
    os.write(writing, b"of the worker\n")
    os.dup2(reading, 0)
    try:
        perform("head -n 1; readlink /proc/self/fd/0")
    finally:
        os.dup2(own, 0)
        for descriptor in (own, reading, writing):
            os.close(descriptor)
    assert lines(caplog) == ["/dev/null"]


def test_own_session(caplog: pytest.LogCaptureFixture) -> None:
    """A command has its own session, so no signal of a terminal reaches it."""
    perform("echo $$; cut -d ' ' -f 6 /proc/$$/stat")
    pid, session = map(int, lines(caplog))
    assert pid == session != os.getsid(0)


def test_binary_output(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are not UTF-8, and control characters, are escaped; UTF-8 stays as it is."""
    perform(r"printf 'gr\303\274n \377\376\000\033[31m\r\nend'")
    assert lines(caplog) == [r"grün \xff\xfe\x00\x1b[31m", "end"]


def test_a_long_line(caplog: pytest.LogCaptureFixture) -> None:
    """A line of any length is one line of the log, shortened, and the rest of it is counted."""
    perform("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end")
    assert lines(caplog) == [f"{'x' * 2000}… (998000 bytes more)", "end"]


def test_a_flood(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of output does not fill memory: beside the log, only the end of it is kept."""
    caplog.set_level(logging.WARNING, "redbike")
    tracemalloc.start()
    try:
        failed = failure("head -c 50000000 /dev/zero | tr '\\0' x; seq 1 100000; exit 1")
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 1_000_000
    assert str(failed) == "exit 1: 100000"
    assert len(failed.output) <= 2000
    assert failed.output.endswith("\n99999\n100000")
    assert failed.__notes__ == [f"The end of its output:\n{failed.output}"]


def test_the_last_line_is_short() -> None:
    """The message has one line of up to 200 characters, because the history keeps no more."""
    message = str(failure("head -c 3000 /dev/zero | tr '\\0' x; exit 1"))
    assert message == f"exit 1: {'x' * 160}…"


def test_a_background_process() -> None:
    """A process in the background that keeps the output open does not hold up the worker, and lives on."""
    began = time.monotonic()
    error = failure("sleep 30 & echo $!; exit 1")
    assert time.monotonic() - began < 5
    pid = int(str(error).removeprefix("exit 1: "))
    assert not is_gone(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_slow_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """All output of a command that has ended is read, even if logging it takes a while."""
    monkeypatch.setattr(commands, "_AFTER_END_S", 0.0)
    monkeypatch.setattr(commands, "_LOG", SlowLog("slow"))
    assert str(failure("seq 1 2000; exit 1")) == "exit 1: 2000"


class SlowLog(logging.Logger):
    def info(self, *_: object, **__: object) -> None:
        time.sleep(0.0002)


def test_a_noisy_background_process() -> None:
    """A process in the background that writes without an end does not hold up the worker: its pipe is closed."""
    began = time.monotonic()
    error = failure(f"(while echo {'x' * 100}; do :; done) & sleep 0.05; exit 1")
    assert time.monotonic() - began < 5
    assert str(error).startswith("exit 1: x")


def test_output_that_is_closed_early(caplog: pytest.LogCaptureFixture) -> None:
    """A command that closes its output runs on until it exits."""
    assert str(failure("echo a; exec >/dev/null 2>&1; sleep 0.2; exit 4")) == "exit 4: a"
    assert lines(caplog) == ["a"]


def test_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """At its timeout, a command receives TERM, may clean up, and its run fails with a message that says so."""
    began = time.monotonic()
    error = failure("trap 'echo cleaned; exit 0' TERM; echo began; while :; do sleep 0.02; done", 0.5)
    assert 0.5 <= time.monotonic() - began < 5
    assert str(error) == "timeout after 0.5 s; default-timeout of the conf sets it (exit 0): cleaned"
    assert [line for line in lines(caplog) if line != "Terminated"] == ["began", "cleaned"]


@pytest.mark.usefixtures("quick_to_kill")
def test_timeout_with_kill() -> None:
    """A command that ignores TERM receives KILL some seconds later, with its whole group."""
    error = failure("trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.02; done", 0.2)
    assert str(error).startswith("timeout after 0.2 s; default-timeout of the conf sets it (killed by SIGKILL): ")
    assert error.output
    eventually(lambda: is_gone(int(error.output.split()[0])))


@pytest.mark.usefixtures("quick_to_kill")
def test_timeout_of_a_child() -> None:
    """A child that outlives its shell after TERM is killed, too."""
    error = failure("(trap '' TERM; sleep 60; sleep 60) & echo $!; wait", 0.3)
    assert str(error).startswith("timeout after 0.3 s; default-timeout of the conf sets it (killed by SIGTERM): ")
    child = int(error.output.split()[0])
    eventually(lambda: is_gone(child))


def test_a_child_may_clean_up_too() -> None:
    """A child that outlives its shell after TERM has the same ten seconds to end."""
    error = failure("(trap 'sleep 0.2; echo cleaned; exit' TERM; while :; do sleep 0.02; done) & wait", 0.3)
    assert error.output.endswith("\ncleaned") or error.output == "cleaned"


def test_the_lease_is_extended_before_the_timeout() -> None:
    """Just before its timeout, a run extends its lease: so it fails, and is not lost while its command is ended."""
    asked: list[float] = []

    def extend(seconds: float) -> bool:
        asked.append(seconds)
        return True

    with pytest.raises(CommandFailed, match="timeout"):
        Shell("A").perform(run_of("exec sleep 60", 0.3, extend))
    [seconds] = asked
    assert seconds > commands._KILL_AFTER_S + commands._KILLED_WITHIN_S
    Shell("A").perform(run_of("true", 0.3, extend))
    assert len(asked) == 1


def test_a_lost_lease_ends_the_command() -> None:
    """A command whose lease is lost is ended, because another run of the job may start."""
    with pytest.raises(CommandFailed, match=r"^its lease is lost, so that another run may start \(killed by SIGTERM\)"):
        Shell("A").perform(run_of("exec sleep 60", 1, lambda _: False))


def test_the_lease_while_redis_is_away() -> None:
    """If the lease cannot be extended because Redis is away, the command still has its whole time."""

    def extend(seconds: float) -> bool:
        raise ServerError(f"away, no {seconds} s")

    began = time.monotonic()
    with pytest.raises(CommandFailed, match=r"timeout after 0\.5 s"):
        Shell("A").perform(run_of("exec sleep 60", 0.5, extend))
    assert time.monotonic() - began >= 0.5


def test_ctrl_c(caplog: pytest.LogCaptureFixture) -> None:
    """A KeyboardInterrupt in the run, as of a second Ctrl-C, kills the command with its children."""

    def interrupt() -> None:
        with suppress(AssertionError):
            eventually(lambda: caplog.records)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        perform("trap '' INT TERM; sleep 60 & echo $! $$; wait; sleep 60")
    thread.join()
    assert time.monotonic() - began < 10
    [line] = lines(caplog)
    for pid in map(int, line.split()):
        eventually(lambda pid=pid: is_gone(pid))  # type: ignore[misc]


def test_ctrl_c_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyboardInterrupt that comes as soon as the command has started kills it, too."""
    start, pids = subprocess.Popen.__init__, []

    def interrupted(process: "subprocess.Popen[bytes]", *args: Any, **kwargs: Any) -> None:
        start(process, *args, **kwargs)
        pids.append(process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "__init__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        perform("sleep 60; sleep 60")
    assert all(map(is_gone, pids))
    assert len(pids) == 1


def test_signals_are_handled_during_a_command() -> None:
    """A signal handler runs soon, also while a command writes nothing: a worker notices at once that it should stop."""
    came_at: list[float] = []
    former = signal.signal(signal.SIGUSR1, lambda *_: came_at.append(time.monotonic()))
    try:
        began = time.monotonic()
        perform(f"kill -USR1 {os.getpid()}; sleep 0.5")
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert came_at[0] - began < 0.45
