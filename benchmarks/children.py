"""Loops in processes of their own: started together, halted together, and asked what they have to tell."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redbike import Redbike

_CHILD = Path(__file__).with_name("child.py")
_END_WITHIN_S = 10.0


@contextmanager
def running(bike: Redbike, functions: Sequence[str], arguments: Mapping[str, Any]) -> Iterator[list[dict[str, float]]]:
    """Run each `package.module:function` in a child process; each of them runs until the prefix is halted.

    That happens at the end of the block; then the list holds what they returned.
    """
    answers: list[dict[str, float]] = []
    commands = [[sys.executable, "-P", str(_CHILD), function, json.dumps(arguments)] for function in functions]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        yield answers
        bike.control("HALT")
        for process in processes:
            answer, _ = process.communicate(timeout=_END_WITHIN_S)
            answers.append(json.loads(answer))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
