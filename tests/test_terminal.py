"""A worker at a real terminal: Ctrl-C finishes the job in hand, with its child processes; a second gives it up."""

import os
import pty
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Server
from nodes import eventually
from processes import Site, environment

from redbike import Redbike, RoundRobin

WORKERS = """
import os, subprocess, sys, time
from redbike import RoundRobin

class Parent(RoundRobin):
    def work(self, jobid):
        open("began", "w").close()
        if jobid.startswith("fork"):
            pid = os.fork()
            if pid == 0:
                time.sleep(1.5)
                os._exit(7)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        elif jobid.startswith("long"):
            code = subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"]).returncode
        else:
            code = subprocess.run([sys.executable, "-c", "import sys, time; time.sleep(1.5); sys.exit(7)"]).returncode
        with open("ended", "w") as file:
            file.write(f"{jobid} {code}")
"""


class Terminal:
    """`redbike work` at a pseudo-terminal."""

    def __init__(self, folder: Path, worker: str = "parents:Parent('A')", *options: str) -> None:
        self.pid, self.keyboard = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            command = [sys.executable, "-m", "redbike", "work", *options, worker]
            os.execve(sys.executable, command, environment())
        self.shown = b""

    def press_ctrl_c(self) -> None:
        os.write(self.keyboard, b"\x03")

    def code(self) -> int:
        """Read what is shown until the command ends. Return its exit code."""
        while True:
            try:
                piece = os.read(self.keyboard, 4096)
            except OSError:  # the other side is closed
                piece = b""
            if not piece:
                break
            self.shown += piece
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.keyboard)


@pytest.fixture
def at_terminal(server: Server, prefix: str, tmp_path: Path) -> Iterator[tuple[Site, Terminal]]:
    with Site(tmp_path, server, prefix) as site:
        (tmp_path / "parents.py").write_text(WORKERS)
        terminal = Terminal(tmp_path)
        yield site, terminal
        terminal.close()


def begin(site: Site, jobid: str) -> None:
    assert site.run("set", jobid, "CONTINUE").returncode == 0
    eventually((site.folder / "began").exists, 20)
    time.sleep(0.3)  # the child has started


@pytest.mark.parametrize("jobid", ["run:A", "fork:A"])
def test_ctrl_c_leaves_the_child_of_a_job_alone(at_terminal: tuple[Site, Terminal], jobid: str) -> None:
    """E3: after Ctrl-C the job in hand is finished, its child process ends by itself, and the command ends with 0."""
    site, terminal = at_terminal
    begin(site, jobid)
    terminal.press_ctrl_c()
    assert terminal.code() == 0, terminal.shown
    assert (site.folder / "ended").read_text() == f"{jobid} 7"
    assert f"finishing job '{jobid}'; press Ctrl-C again to give it up".encode() in terminal.shown


def test_a_second_ctrl_c_gives_the_job_up(at_terminal: tuple[Site, Terminal]) -> None:
    """E3: a second Ctrl-C ends the job with KeyboardInterrupt; the command ends with 130, and `lost` lists the job."""
    site, terminal = at_terminal
    begin(site, "long:A")
    terminal.press_ctrl_c()
    time.sleep(0.5)
    terminal.press_ctrl_c()
    assert terminal.code() == 130, terminal.shown
    assert b"giving up job 'long:A'" in terminal.shown
    assert not (site.folder / "ended").exists()
    assert site.run("lost").stdout.startswith("long:A,DIE,")


def test_a_second_ctrl_c_kills_a_command(server: Server, prefix: str, tmp_path: Path) -> None:
    """E3: with the worker Shell, the first Ctrl-C reaches no command, and the second kills it with its children."""
    with Site(tmp_path, server, prefix) as site, Redbike(RoundRobin(""), prefix, server.config) as bike:
        bike.set("long:A", "CONTINUE", payload="sleep 60 & echo $! >pids; echo $$ >>pids; : >began; wait; sleep 60")
        terminal = Terminal(tmp_path, "redbike.commands:Shell('A')")
        try:
            eventually((site.folder / "began").exists, 20)
            pids = [int(line) for line in (site.folder / "pids").read_text().split()]
            terminal.press_ctrl_c()
            time.sleep(0.5)
            assert all(map(is_running, pids))
            terminal.press_ctrl_c()
            assert terminal.code() == 130, terminal.shown
            assert not any(map(is_running, pids))
        finally:
            with suppress(ProcessLookupError):
                os.kill(terminal.pid, signal.SIGKILL)
            os.close(terminal.keyboard)
            bike.flush()


def is_running(pid: int) -> bool:
    """Return True if a process has this pid, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
