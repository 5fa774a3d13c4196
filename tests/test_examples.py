"""The scripts of the checkout and the files under examples/ do what they say, and leave nothing behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import behaviours
import pytest
from helpers import ROOT
from nodes import eventually, free_port

import redbike
from redbike import RoundRobin, config, resolve
from redbike.jobfile import opened
from redbike.schedule.forms import Action, read

EXAMPLES = ROOT / "examples"
PACKAGE = Path(redbike.__file__).parent
SCRIPTS = [*sorted(ROOT.glob("bin/*")), ROOT / ".ci" / "run"]


class Demo:
    """bin/demo in a temporary folder, without the step that creates its environment."""

    def __init__(self, *arguments: str) -> None:
        self.outside = Path(tempfile.mkdtemp(prefix="rb-"))
        self.program = "bridges_demo.py" if {"--celery", "--rq"} & {*arguments} else "demo.py"  # as bin/demo chooses
        environ = {**os.environ, "TMPDIR": str(self.outside), "PYTHONPATH": str(PACKAGE.parent)}
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / self.program), *arguments],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    @property
    def server_pid(self) -> int | None:
        for file in self.outside.glob("redbike-demo-*/.redbike.server/server.pid"):
            with contextlib.suppress(ValueError):
                return int(file.read_text())
        return None

    def has_run(self, jobid: str) -> bool:
        return any(f"{jobid}\n" in diary.read_text() for diary in self.outside.glob("*/diary.txt"))

    def ends(self) -> str:
        """Return its output. Fail if it left a process or a file behind."""
        pid = self.server_pid
        output, _ = self.process.communicate(timeout=30)
        assert pid is None or not alive(pid)
        assert not processes_in(self.outside)
        assert list(self.outside.iterdir()) == []
        return output

    def remove(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for pid in processes_in(self.outside):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.outside)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes_in(folder: Path) -> list[int]:
    """Return the processes whose current folder is inside (if the kernel tells)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str((process / "cwd").readlink()).startswith(f"{folder}/"):
                found.append(int(process.name))
    return found


@pytest.fixture
def demo() -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start(*arguments: str) -> Demo:
        demos.append(Demo(*arguments))
        return demos[-1]

    yield start
    for one in demos:
        one.remove()


def test_demo_outlives_its_server(demo: Callable[..., Demo]) -> None:
    """The demo shows jobs of every kind, survives a kill of its server in the middle, and leaves nothing behind."""
    shown = demo("--seconds", "5")
    eventually(lambda: shown.has_run("greet:once:fast"))
    pid = shown.server_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: shown.server_pid not in (None, pid))
    output = shown.ends()
    assert shown.process.returncode == 0
    table, _, counts = output.partition("The fleet has halted")
    for line in (
        "greet:once:fast +1 +stopped",
        "thrice:and-stop:fast +3 +stopped",
        "oversleep:bear:slow +1 +timed out",
        "leave:no-trace:fast +1 +unset",
        "greet:never:fast +0 +stopped",
        "greet:typo:fast +0 +bad schedule",
        "greet:new-year:fast +0 +waits",
        r"poll:mailbox:fast +\d",
        r"nap:cat:slow +\d",
    ):
        assert re.search(f"^{line}", table, re.MULTILINE), output
    assert re.search(r"^ +[2-5] x greet:each-second:fast$", counts, re.MULTILINE), output
    assert "'greet:typo:fast' is BAD" in counts
    assert "Traceback" not in output


def test_demo_ends_on_a_signal(demo: Callable[..., Demo]) -> None:
    """Ctrl-C or SIGTERM ends a demo with all its processes, while another demo goes on."""
    first, second = demo(), demo()
    for one, number in ((first, signal.SIGINT), (second, signal.SIGTERM)):
        eventually(lambda one=one: one.has_run("greet:once:fast"))  # type: ignore[misc]
        assert second.process.poll() is None
        one.process.send_signal(number)
        assert "Interrupted" in one.ends()
        assert one.process.returncode == 130


def test_demo_on_the_web_page(demo: Callable[..., Demo]) -> None:
    """With --web, the page shows the fleet of the demo, until the demo is interrupted; then nothing is left."""
    pytest.importorskip("starlette", reason="the extra web is not installed")
    port = free_port()
    shown = demo("--web", f"--port={port}")

    def shows() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/jobs", timeout=5) as page:
            return b"nap:cat:slow" in page.read()
        return False

    eventually(shows, 30)
    shown.process.send_signal(signal.SIGINT)
    assert f"http://127.0.0.1:{port}/" in shown.ends()


@pytest.mark.parametrize(("kind", "call"), [("celery", "proj.{}"), ("rq", "jobs.{}")])
def test_demo_of_a_bridge(demo: Callable[..., Demo], kind: str, call: str) -> None:
    """With --celery and --rq, a real worker runs what Redbike sends, also an entry that is added meanwhile."""
    output = demo(f"--{kind}", "--seconds", "10").ends()
    ran = set(re.findall(r"^ *[1-9]\d* x (.*)$", output, re.MULTILINE))
    report, hello = (call.format(name) for name in ("report('sales')", "report('hello')"))
    hello = hello if kind == "rq" else call.format("greet('hello')")
    assert {report, hello} <= ran
    assert f"the worker runs {report}" in output
    assert re.search(rf"^hello +{call.format('')}", output, re.MULTILINE), "redbike info"
    assert not re.search(r"(ERROR|CRITICAL|Traceback)", output)


def test_demo_of_a_bridge_ends_on_a_signal(demo: Callable[..., Demo]) -> None:
    """Ctrl-C ends the demo of a bridge with all its processes."""
    shown = demo("--celery", "--seconds", "60")
    eventually(lambda: shown.has_run("proj.report('sales')"), 20)
    shown.process.send_signal(signal.SIGINT)
    assert "Everything has ended" in shown.ends()


def test_demo_survives_a_closed_pipe(demo: Callable[..., Demo]) -> None:
    """`bin/demo | head -1` ends the demo with all its processes, without a traceback."""
    shown = demo("--seconds", "1")
    assert shown.process.stdout is not None
    shown.process.stdout.readline()
    shown.process.stdout.close()
    shown.process.wait(30)
    shown.process.stdout = None
    assert shown.ends() is None
    assert shown.process.returncode == 0


def test_schedules_of_the_demo_are_of_every_kind() -> None:
    """examples/schedules.csv has every form of a schedule that is as old as Redbike, and one bad row."""
    with opened(EXAMPLES / "schedules.csv") as file:
        rows = list(file.rows())
    assert len(rows) >= 12
    steps = [read(row.schedule).first(1_790_000_000).action for row in rows]
    assert set(steps) == {Action.QUEUE, Action.AT, Action.STOP, Action.BAD}
    assert steps.count(Action.BAD) == 1
    assert {row.schedule.partition(":")[0] for row in rows} >= {"NOW", "AT", "CONTINUE", "STOP", "RRULE", "DTSTART"}


def test_worker_of_the_demo_serves_all_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conf of the demo loads, and its worker serves the queue of each job of its CSV."""
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.setattr(sys, "path", sys.path[:])
    conf = config.load("demo.conf")
    assert conf.worker is not None
    worker = resolve.resolve(conf.worker)
    sys.modules.pop("workers")
    assert isinstance(worker, RoundRobin)
    with opened("schedules.csv") as file:
        assert {worker.queue_for(row.jobid) for row in file.rows()} == set(worker.queue_names())


def test_worker_of_the_example_conf_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker that redbike.conf.example names is the one of the demo, seen from the checkout."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", sys.path[:])
    expression = config.load("redbike.conf.example").worker
    assert expression is not None
    worker = resolve.resolve(expression)
    assert type(worker).__qualname__ == "Demo"
    assert type(worker).__module__ == "examples.workers"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", ["redbike-dispatcher.service", "redbike-worker@.service"])
def test_systemd_units_are_valid(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` only reports that the program of the units is not there."""
    text = (EXAMPLES / "systemd" / unit).read_text("utf-8")
    copy = tmp_path / unit.replace("@", "@1")
    copy.write_text(text.replace("/srv/application/venv/bin/redbike", "/bin/true"))
    verdict = subprocess.run(
        ["systemd-analyze", "verify", str(copy)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=30,
    )
    assert [line for line in verdict.stdout.split("\n") if "redbike" in line] == []
    assert {"Type=notify", "WatchdogSec=60"} <= set(text.split("\n"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", ["redbike-dispatcher.service", "redbike-worker@.service"])
def test_systemd_units_may_do_little(unit: str) -> None:
    """`systemd-analyze security` rates each unit below 4.0, and a wrong conf is not tried again and again."""
    path = EXAMPLES / "systemd" / unit
    rating = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=40", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=30,
    )
    assert rating.returncode == 0, rating.stdout[-2000:]
    assert "RestartPreventExitStatus=78\n" in path.read_text("utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_open_with_what_they_do(script: Path) -> None:
    """Each script is text that a shell or Python can read, and begins with what it does."""
    text = script.read_text("utf-8")
    if script.suffix == ".py":
        compile(text, script, "exec")
        assert text.startswith('"""')
    else:
        subprocess.run(["sh", "-n", str(script)], check=True)
        assert re.match(r"(#!/bin/sh\n)?# \w", text)
        assert os.access(script, os.X_OK) == text.startswith("#!")


def path_with(tmp_path: Path, python: str) -> dict[str, str]:
    """Return an environment in which every Python is this script."""
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{python}\n")
        (tmp_path / name).chmod(0o700)
    for name in ("dirname", "tr"):
        program = shutil.which(name)
        assert program is not None
        (tmp_path / name).symlink_to(program)
    return {"PATH": str(tmp_path)}


@pytest.mark.parametrize(
    ("python", "advice"),
    [
        ("exit 1", "No Python from 3.11 on is on the PATH: install one (Debian: apt-get install python3 python3-venv)"),
        (
            "echo bare 3.11",
            "Python 3.11 cannot make an environment: install its venv (Debian: apt-get install python3.11-venv)",
        ),
    ],
)
@pytest.mark.parametrize("script", ["redbike", "demo", "test"])
def test_scripts_say_what_to_install(script: str, python: str, advice: str, tmp_path: Path) -> None:
    """Without a suitable Python, each script says in one line what to install, and exits with 1."""
    ended = subprocess.run(
        [str(ROOT / "bin" / script)], env=path_with(tmp_path, python), capture_output=True, encoding="utf-8"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", f"{advice}\n")


@pytest.mark.parametrize("module", behaviours.modules(), ids=lambda path: path.stem)
def test_every_test_says_what_it_proves(module: Path) -> None:
    """Each test has a docstring, so that `bin/test --behaviours` can print it."""
    assert [behaviour.test for behaviour in behaviours.behaviours(module) if not behaviour.sentence] == []
