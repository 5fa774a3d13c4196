"""A worker whose payloads are command lines: a distributed cron. `redbike.commands:Shell('A:B')` in a conf names it.

Each command runs in its own session, so that its whole group can be ended. This module ends no other process.
"""

import contextlib
import errno
import logging
import math
import os
import signal
import subprocess
import time

from redbike.errors import WorkerError
from redbike.logs import plain, printable
from redbike.output import Output
from redbike.worker import BadJob, Later, LeaseLost, RoundRobin, Run

_LOG = plain(logging.getLogger("redbike.commands"))
_LONGEST_WAIT_S = 0.1  # of one look at the output: signals, the timeout and the end of the shell are noticed after it
_AFTER_END_S = 0.5  # how long further output is read after the shell has ended, if another process holds the pipe
_KILL_AFTER_S = 10.0  # from TERM to KILL
_KILLED_WITHIN_S = 5.0  # how long to wait for a process that is killed
_MARGIN_S = 5.0  # how long the lease lasts beyond that
_ASK_BEFORE_S = 10.0  # the longest time from extending the lease, which may take a while, to the timeout


class CommandFailed(Exception):
    """A command has failed. The message is one line; `output` holds the end of the output."""

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output
        if output:
            self.add_note(f"The end of its output:\n{output}")


class Shell(RoundRobin):
    """A worker that runs the payload of a job by `/bin/sh -c`. The exit code decides: 0 done, 75 later, else failed."""

    def __init__(self, initstring: str, later: float = 60) -> None:
        """Serve the queues in the order of `initstring`. `later`: after exit code 75, run again in so many seconds."""
        super().__init__(initstring)
        if isinstance(later, bool) or not isinstance(later, int | float) or not 0 <= later <= 1e9:
            raise WorkerError(f"Shell: later={later!r} is not a number of seconds from 0 to 1000000000")
        self._later_s = later

    def perform(self, run: Run) -> None:
        """Run the command of the job, and log its output.

        Raise Later for exit code 75, BadJob without a command, and CommandFailed for a command that has failed, was
        killed, or exceeded the timeout of the run.
        """
        if not run.payload.strip():
            raise BadJob("job has no command: set it with --payload")
        begun_s = time.monotonic()
        # Not started yet: a KeyboardInterrupt just after the start must find a process to kill. During the start, the
        # command line lets none come (cli/terminal.py).
        process: subprocess.Popen[bytes] = subprocess.Popen.__new__(subprocess.Popen)
        try:
            _start(process, run)
            assert process.stdout is not None
            with Output(process.stdout, lambda line: _LOG.info("job %r: %s", run.jobid, line)) as output:
                fault = _read_to_the_end(process, output, run, begun_s)
                if fault is not None:
                    _LOG.warning("job %r: %s: its command is ended", run.jobid, fault)
                    _end(process, output)
        except BaseException:
            # A second Ctrl-C, or another signal whose handler raises: nobody would end the command later.
            _kill(process)
            if (pipe := getattr(process, "stdout", None)) is not None:
                pipe.close()
            raise
        self._judge(process.returncode, fault, output)

    def _judge(self, code: int | None, fault: str | None, output: Output) -> None:
        if fault is not None:
            reason = f"{fault} ({'still running after KILL' if code is None else _named(code)})"
        elif not code:
            return
        elif code == os.EX_TEMPFAIL:
            raise Later(self._later_s)
        else:
            reason = _named(code)
        last = printable(output.last_line)
        raise CommandFailed(f"{reason}: {last}" if last else reason, output.tail)


def _start(process: "subprocess.Popen[bytes]", run: Run) -> None:
    environment = {
        **os.environ,
        "REDBIKE_JOB": run.jobid,
        "REDBIKE_DUE": str(math.floor(run.due_at)),
        "REDBIKE_ATTEMPT": str(run.attempt),
    }
    try:
        subprocess.Popen.__init__(
            process,
            ["/bin/sh", "-c", run.payload],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            bufsize=0,
            start_new_session=True,
        )
    except ValueError:
        raise BadJob("its id or its command holds a NUL character: set it again without") from None
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        size = len(run.payload.encode())
        raise BadJob(f"its command has {size} bytes, too many for this system: put it into a file") from None


def _read_to_the_end(process: "subprocess.Popen[bytes]", output: Output, run: Run, begun_s: float) -> str | None:
    """Read the output until the shell has ended. Return a fault instead if the run may not continue.

    Extend the lease shortly before the timeout. Otherwise the run would be lost while its command is being ended, and
    another run of the job could start beside it.
    """
    ends_s = begun_s + run.timeout_s
    asks_s = ends_s - min(_ASK_BEFORE_S, run.timeout_s / 10)
    has_asked = False
    while process.poll() is None:
        now_s = time.monotonic()
        if now_s >= asks_s and not has_asked:
            has_asked = True
            try:
                run.extend(ends_s - now_s + _KILL_AFTER_S + _KILLED_WITHIN_S + _MARGIN_S)
            except LeaseLost:
                return "its lease is lost, so that another run may start"
            except Exception as error:  # Redis is away, or the worker stops: the command still has its time
                _LOG.info("job %r: its lease cannot be extended: %s", run.jobid, error)
        if now_s >= ends_s:
            return f"timeout after {run.timeout_s:g} s; default-timeout of the conf sets it"
        _read_or_wait(process, output, min(_LONGEST_WAIT_S, ends_s - now_s))
    _read_the_rest(output)
    return None


def _read_or_wait(process: "subprocess.Popen[bytes]", output: Output, wait_s: float) -> None:
    if output.is_open:
        output.read(wait_s)
    else:  # the command has closed its output, or has just ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)


def _read_the_rest(output: Output) -> None:
    """Read what the shell has written. A process in the background may hold the pipe, so do not wait for its end.

    First read what is in the pipe, however long it takes to log it. Then wait a moment for more.
    """
    left_bytes = output.unread_bytes()
    while left_bytes > 0 and (size := output.read(0)):
        left_bytes -= size
    until_s = time.monotonic() + _AFTER_END_S
    while output.is_open and time.monotonic() < until_s and output.read(_LONGEST_WAIT_S):
        pass


def _end(process: "subprocess.Popen[bytes]", output: Output) -> None:
    """End the group of the command: TERM, and KILL after ten seconds. Read its output until then."""
    until_s = time.monotonic() + _KILL_AFTER_S
    _signal_group(process, signal.SIGTERM)
    while (process.poll() is None or _has_group(process)) and (left_s := until_s - time.monotonic()) > 0:
        if process.returncode is None or output.is_open:
            _read_or_wait(process, output, min(_LONGEST_WAIT_S, left_s))
        else:
            time.sleep(min(_LONGEST_WAIT_S, left_s))
    _kill(process)
    _read_the_rest(output)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the group of the command, if the command was started."""
    if getattr(process, "pid", None) is None:
        return
    if not _signal_group(process, signal.SIGKILL):
        process.kill()  # it has no group yet, or has ended: then this does nothing
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_WITHIN_S)


def _has_group(process: "subprocess.Popen[bytes]") -> bool:
    return _signal_group(process, 0)


def _signal_group(process: "subprocess.Popen[bytes]", number: int) -> bool:
    """Send a signal to the group of the command. Return False if the group is gone, or another user's."""
    try:
        os.killpg(process.pid, number)  # its own session, so its pid is the number of its group
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _named(code: int) -> str:
    """Return what an exit code says. A shell adds 128 to the signal that killed the command."""
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit {code}"
    return f"killed by {name}" if code < 0 else f"exit {code} ({name})"
