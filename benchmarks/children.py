"""Loops in separate processes: they start together, are halted together, and return their results."""

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
    """Run each `package.module:function` in a child process until the end of the block.

    At the end of the block the prefix is halted. The list then holds the result of each function.
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
