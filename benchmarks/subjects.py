"""The two subjects: this checkout in the running interpreter, and 0.13.1 in a separate environment.

Runs one measurement of a subject in a child process and returns its numbers.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.child import HIREDIS_VARIABLE

CHECKOUT = Path(__file__).resolve().parent.parent
YARDSTICK = "0.13.1"
_CHILD = Path(__file__).with_name("child.py")
_CHILD_ENDS_WITHIN_S = 900.0


class SubjectError(Exception):
    """A subject cannot be installed, or its measurement failed. The message has its name and its output."""


class Subject(NamedTuple):
    """One of the two subjects, and how to run it."""

    name: str
    python: str
    environment: dict[str, str]

    def measure(self, function: str, socket: str, arguments: Mapping[str, Any]) -> dict[str, float]:
        """Run `package.module:function` in a child process. Raise SubjectError if it fails or does not end."""
        command = [self.python, "-P", str(_CHILD), function, json.dumps({"socket": socket, **arguments})]
        try:
            run = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=_CHILD_ENDS_WITHIN_S
            )
        except subprocess.TimeoutExpired as late:
            raise SubjectError(f"{self.name}, {function}: not done after {late.timeout:.0f} s") from None
        if run.returncode:
            raise SubjectError(f"{self.name}, {function}: exit code {run.returncode}\n{run.stderr}")
        numbers: dict[str, float] = json.loads(run.stdout)
        return numbers


def checkout_subject(hiredis: bool) -> Subject:
    """Return this checkout, even if another redbike is installed. With `hiredis`, its client may use hiredis."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    if hiredis:
        environment[HIREDIS_VARIABLE] = "yes"
    return Subject("checkout", sys.executable, environment)


def other_checkout(folder: Path) -> Subject:
    """Return another checkout with its own benchmarks, to measure the cost of a change."""
    if not (folder / "benchmarks" / "child.py").exists():
        raise SubjectError(f"{folder} is not a checkout of Redbike")
    return Subject("before", sys.executable, {**os.environ, "PYTHONPATH": str(folder.resolve())})


def yardstick_subject() -> Subject:
    """Return 0.13.1 with the redis-py of its time. It is installed once, into a folder that git ignores."""
    folder = CHECKOUT / f".venv-{YARDSTICK}-{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    python = folder / "bin" / "python"
    if not complete.exists():
        _install_yardstick(folder, python)
        complete.touch()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return Subject(YARDSTICK, str(python), environment)


def _install_yardstick(folder: Path, python: Path) -> None:
    venv.EnvBuilder(clear=True, with_pip=True).create(folder)
    (folder / ".gitignore").write_text("*\n")
    # The same python-dateutil on both sides, because this does not compare recurrences.
    dateutil = f"python-dateutil=={metadata.version('python-dateutil')}"
    steps = (
        ["setuptools<81", "wheel"],  # it needs pkg_resources to build and to run
        ["--no-build-isolation", f"redbike=={YARDSTICK}", "redis==2.10.6", dateutil],
    )
    for wanted in steps:
        pip = [str(python), "-m", "pip", "install", "--quiet", *wanted]
        run = subprocess.run(pip, capture_output=True, text=True)
        if run.returncode:
            raise SubjectError(f"{YARDSTICK}: {' '.join(pip)} failed\n{run.stderr}")
