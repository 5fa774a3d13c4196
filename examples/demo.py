"""The program of bin/demo: a dispatcher, two workers and a dozen jobs, shown live, in a temporary folder.

Runs the installed command, as in a shell, on the schedules.csv, workers.py and demo.conf beside it. Ends all that it
has started, however it is ended itself. With --web, the web page shows it. Usage: demo.py [--seconds N] [--web]
"""

import argparse
import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from redbike import Redbike, RedbikeError, RoundRobin

HERE = Path(__file__).parent
INPUT = ("workers.py", "schedules.csv", "demo.conf")
FLEET = (("dispatch", "--schedules", "schedules.csv"), ("work",), ("work",))

SEEN_S = 5.0  # between two tables where there is no terminal
DRAWN_S = 0.25  # and on one
LONGEST_SLEEP_S = 0.1  # until a signal is heeded
PATIENCE_S = 10.0  # for a process that has to finish its job

EVENTS = {
    "TML": "waits",
    "ENQ": "queued",
    "WRK": "runs",
    "STP": "stopped",
    "DIE": "died",
    "BAD": "bad schedule",
}


def main() -> int:
    arguments = argparse.ArgumentParser(prog="bin/demo", description="Shows Redbike at work.")
    arguments.add_argument("--seconds", type=float, help="how long to show it (default: 15; with --web: until Ctrl-C)")
    arguments.add_argument("--web", action="store_true", help="show it on the web page")
    arguments.add_argument("--port", type=int, default=8730, help="the port of the web page (default: 8730)")
    given = arguments.parse_args()
    seconds = given.seconds or (math.inf if given.web else 15.0)
    # A handler that raised could do so between the start of a process and the note that it is to be ended.
    interrupted = Flag()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, interrupted.set)
    try:
        with temporary_folder() as folder:
            show(folder, seconds, interrupted, given.port if given.web else None)
        print("\nEverything has ended, and the folder is gone.", flush=True)
        if not given.web:
            print("`bin/demo --web` shows the same fleet on the web page.", flush=True)
    except BrokenPipeError:  # Whoever reads us has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 130 if interrupted.is_set else 0


class Flag:
    is_set = False

    def set(self, _number: int, _frame: FrameType | None) -> None:
        self.is_set = True


def show(folder: Path, seconds: float, interrupted: Flag, port: int | None) -> None:
    """Show the fleet for so many seconds, or on the web page at this port."""
    how_long = "until Ctrl-C" if seconds == math.inf else f"for {seconds:g} seconds"
    print(f"A dispatcher and two workers on a private server, {how_long}, in {folder}.")
    print("What to do is in examples/schedules.csv, how it is done in examples/workers.py.\n", flush=True)
    server = {"embedded": folder / ".redbike.server"}
    with Redbike(RoundRobin("fast:slow"), redis_config=server, timefile=folder / ".redbike.timefile") as bike:
        with fleet(folder):
            bike.set("greet:in-3-seconds:fast", f"AT:{time.time() + 3:.0f}")
            if port is None:
                watch(bike, folder, seconds, interrupted)
            else:
                serve(folder, port, seconds, interrupted)
            with patiently():
                bike.control("HALT")
        print(f"\n{'Interrupted: the' if interrupted.is_set else 'The'} fleet has halted. How often each job has run:")
        for jobid, runs in sorted(runs_by_job(folder).items()):
            print(f"{runs:5} x {jobid}")
        print("\nWarnings and errors in its log:")
        for line in troubles(folder):
            print(f"  {line}")


def watch(bike: Redbike, folder: Path, seconds: float, interrupted: Flag) -> None:
    """Draw the table again and again: in place on a terminal, else one below the other and less often."""
    live = sys.stdout.isatty()
    drawn_lines = 0
    end = time.monotonic() + seconds
    while wait(min(end, time.monotonic() + (DRAWN_S if live else SEEN_S)), interrupted):
        with patiently():
            lines = table(bike, runs_by_job(folder))
            if live:
                columns = shutil.get_terminal_size().columns
                lines = [line[: columns - 1] for line in lines]
            if drawn_lines:
                print(f"\033[{drawn_lines}F\033[J" if live else "\n", end="")
            print("\n".join(lines), flush=True)
            drawn_lines = len(lines)
        if time.monotonic() >= end:
            break


def serve(folder: Path, port: int, seconds: float, interrupted: Flag) -> None:
    """Run the web page beside the fleet. Its address and its errors go to the terminal."""
    command = [sys.executable, "-m", "redbike", "--config", "demo.conf", "web", f"--port={port}"]
    page = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        ends = time.monotonic() + seconds
        while page.poll() is None and wait(min(ends, time.monotonic() + SEEN_S), interrupted):
            if time.monotonic() >= ends:
                break
    finally:
        end(page)


def wait(until: float, interrupted: Flag) -> bool:
    """Sleep until then, on the monotonic clock; False where we are interrupted."""
    while not interrupted.is_set and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_SLEEP_S))
    return not interrupted.is_set


def table(bike: Redbike, runs: Counter[str]) -> list[str]:
    """One line for each job that is registered or has run."""
    width = 28
    now = time.time()
    statuses = {jobid: (event, timestamp) for jobid, event, timestamp in bike.get_statuses()}
    schedules = dict(bike.get_schedules())
    lines = [f"{'JOB':{width}} {'RUNS':>4}  {'STATUS':12} {'SINCE':>6}  {'NEXT RUN':11} SCHEDULE"]
    for jobid in sorted(schedules.keys() | statuses.keys() | runs.keys()):
        told = bike.tell(jobid)
        event, since = statuses.get(jobid, ("", 0))
        status = EVENTS.get(event, "unset")
        if event == "WRK" and not told["working"]:
            status = "timed out"
        age = f"{max(0, now - since):.0f} s" if event else ""
        due_at = told["next_run"]
        next_run = "" if due_at is None else in_words(due_at - now)
        schedule = " ".join(schedules.get(jobid, "").split())
        lines.append(
            f"{jobid:{width}} {runs[jobid]:4}  {status:12} {age:>6}  {next_run:11} {shortened(schedule)}".rstrip()
        )
    return lines


def in_words(seconds: float) -> str:
    if seconds < 120:
        return f"in {max(0.0, seconds):.1f} s"
    return f"in {seconds / 86400:.0f} days" if seconds > 172_800 else f"in {seconds / 60:.0f} min"


def shortened(text: str, most: int = 36) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def runs_by_job(folder: Path) -> Counter[str]:
    """What the workers noted in their diary."""
    diary = folder / "diary.txt"
    return Counter(diary.read_text().split("\n")[:-1]) if diary.exists() else Counter()


def troubles(folder: Path) -> Iterator[str]:
    for line in (folder / "fleet.log").read_text(errors="replace").split("\n"):
        if " WARNING " in line or " ERROR " in line or line.startswith("redbike: "):
            yield line


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[None]:
    """The processes of a fleet, started as in a shell, with one log. Afterwards, all are gone."""
    with contextlib.ExitStack() as started, (folder / "fleet.log").open("ab") as log:
        for arguments in FLEET:
            started.callback(end, start(folder, log, arguments))
        yield


def start(folder: Path, log: IO[bytes], arguments: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "redbike", "--config", "demo.conf", *arguments]
    # In a new session: Ctrl-C is for the demo, which then ends the fleet in order.
    return subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Let it finish the job in hand, which a signal does not hinder, and see to it that it is gone."""
    process.terminate()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def patiently() -> Iterator[None]:
    """A server that is away for a moment is a reason to say so, and to go on."""
    try:
        yield
    except RedbikeError as error:
        print(f"(the server does not answer: {error})", flush=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="redbike-demo-"))
    try:
        for name in INPUT:
            shutil.copy(HERE / name, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
