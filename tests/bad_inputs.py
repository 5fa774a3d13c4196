"""A folder with a conf, and jobs on a prefix, on which bad input is tried."""

import os
import subprocess
from pathlib import Path
from typing import Any

from conftest import Server
from helpers import FUTURE
from processes import run_command
from state import state, whole_server

from redbike import Redbike, cli

WORKER = "workers:Demo('A')"


class Shop:
    """A folder with a conf, and a prefix on which jobs wait that no bad input may harm."""

    def __init__(self, folder: Path, bike: Redbike, server: Server, capsys: Any, caplog: Any) -> None:
        self.folder, self.bike, self.server = folder, bike, server
        self._capsys, self._caplog = capsys, caplog
        (folder / "workers.py").write_text(
            "from redbike import RoundRobin\n\n\nclass Demo(RoundRobin):\n    def work(self, jobid):\n        pass\n"
        )
        self.conf()
        bike.set("waiting:A", f"AT:{FUTURE}")
        bike.set("rule:A", "RRULE:FREQ=DAILY")
        bike.set("queued:A", "CONTINUE")
        bike.control("HALT")

    def conf(self, ours: str = "", theirs: str | None = None) -> None:
        theirs = f"unix_socket_path: {self.server.socket}" if theirs is None else theirs
        text = f"[redbike]\nprefix: {self.bike.prefix}\nworker: {WORKER}\n{ours}\n[redbike-redis]\n{theirs}\n"
        (self.folder / ".redbike.conf").write_text(text)

    def jobs(self) -> dict[str, Any]:
        return state(self.bike.redis, self.bike.prefix)

    def run(self, *argv: str) -> tuple[int, str, list[str]]:
        """A command in this process: exit code, stdout, and the lines on stderr without those of the log."""
        self._capsys.readouterr()
        code = cli.main(list(argv))
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err.splitlines()

    def refused(self, *argv: str, logged: bool = False, clears_control: bool = False, exit_code: int = 1) -> str:
        """The one line with which a command fails; checks that it is the only one and that nothing was changed."""
        before = whole_server(self.bike.redis)
        self._caplog.clear()
        code, out, lines = self.run(*argv)
        assert (code, out, len(lines)) == (exit_code, "", 1), (out, lines)
        assert logged or not self._caplog.records
        after = whole_server(self.bike.redis)
        if clears_control:
            del before[self.bike.control_key]
        assert after == before
        [line] = lines
        assert line.startswith("redbike: ")
        assert len(line) < 1_000
        return line

    def misconfigured(self, *argv: str, clears_control: bool = False) -> str:
        """The same, where a restart would not help."""
        return self.refused(*argv, clears_control=clears_control, exit_code=os.EX_CONFIG)

    def process(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in a separate process."""
        return run_command(self.folder, *argv)


COMMANDS = [
    ["set", "new:A", "NOW"],
    ["unset", "queued:A"],
    ["dispatch"],
    ["work"],
    ["statuses"],
    ["schedules"],
    ["tell", "queued:A"],
    ["control", "HALT"],
]
