"""The amount of code that runs for one `redbike set` and for one turn of a worker.

`python -m benchmarks.calls [CHECKOUT]` uses `sys.setprofile` to count the calls of functions of the package, their
files and their depth. redis-py is not counted. It also measures the user and system time of `redbike set` as a process,
from start to exit, in alternation with `python -c "import redis"`.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
_ROUNDS = 21


class Counter:
    """Counts the calls of functions whose file is in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.calls = self.depth = self.deepest = 0
        self.files: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        file = frame.f_code.co_filename
        if not file.startswith(self._folder) or frame.f_code.co_name in (
            "<module>",
            "<genexpr>",
            "<listcomp>",
            "<dictcomp>",
        ):
            return
        if event == "call":
            self.calls += 1
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            self.files.add(file)
        elif event == "return":
            self.depth -= 1

    def count(self, what: Callable[[], object]) -> str:
        """Run a function, and return its row of the table."""
        sys.setprofile(self)
        try:
            what()
        finally:
            sys.setprofile(None)
        return f"{self.calls:5} calls, {len(self.files):2} files, {self.deepest:2} deep"


def count(checkout: Path, socket: str, folder: Path) -> None:
    """Print the counts. This runs in a separate process, which imports the package of the checkout."""
    import redbike
    from redbike import cli

    package = Path(redbike.__file__).parent
    assert package == checkout / "redbike", f"{package} is not of {checkout}"
    conf = folder / "redbike.conf"
    conf.write_text(f"[redbike]\ntimefile: {folder}/time\n[redbike-redis]\nunix-socket-path: {socket}\n")
    command = ["--config", str(conf), "set", "j:A", "NOW"]
    for schedule in ("EVERY:60", "NOW"):  # imports everything that is only imported at first use
        command[-1] = schedule
        cli.main(command)
    print("redbike set NOW     ", Counter(package).count(lambda: cli.main(command)))
    command[-1] = "EVERY:60"
    print("redbike set EVERY:60", Counter(package).count(lambda: cli.main(command)))

    class Ends(redbike.RoundRobin):
        turns = 0

        def work(self, jobid: str) -> None:  # noqa: ARG002
            Ends.turns += 1
            sys.setprofile(counters[Ends.turns] if Ends.turns < len(counters) else None)
            if Ends.turns == len(counters):
                bike.control("HALT")

    with redbike.Redbike(Ends("A"), redis_config={"unix_socket_path": socket}, timefile=folder / "time") as bike:
        print("bike.set, the first ", Counter(package).count(lambda: bike.set("j:A", "NOW")))
        print("bike.set, the second", Counter(package).count(lambda: bike.set("j:A", "NOW")))
    counters = [Counter(package) for _ in range(4)]
    with redbike.Redbike(Ends("A"), redis_config={"unix_socket_path": socket}, timefile=folder / "time") as bike:
        bike.set("j:A", "CONTINUE")
        bike.work()
        turn = counters[2]
        print("one turn            ", f"{turn.calls:5} calls, {len(turn.files):2} files, {turn.deepest:2} deep")


def cpu_s(command: list[str], environment: dict[str, str]) -> float:
    """Return the user and system time of a process from start to exit, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--count"]:
        count(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
        return
    from benchmarks.server import PrivateServer

    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else _ROOT).resolve()
    environment = {**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{_ROOT}"}
    with PrivateServer() as server, tempfile.TemporaryDirectory() as folder:
        arguments = ["--count", str(checkout), server.socket, folder]
        subprocess.run([sys.executable, "-P", __file__, *arguments], env=environment, check=True)
        conf = Path(folder, "redbike.conf")
        ours = [sys.executable, "-P", "-m", "redbike", "--config", str(conf), "set", "j:A", "NOW"]
        floor = [sys.executable, "-c", "import redis"]
        pairs = [(cpu_s(ours, environment), cpu_s(floor, environment)) for _ in range(_ROUNDS)]
        ours_s, floor_s = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(one / other for one, other in pairs)
        print(f"redbike set, a process: {1000 * ours_s:.0f} ms; import redis: {1000 * floor_s:.0f} ms; {ratio:.2f} ×")


if __name__ == "__main__":
    main()
