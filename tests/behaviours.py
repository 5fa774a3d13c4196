"""Prints what the tests prove: the docstring of each, module by module. `bin/test --behaviours` calls it.

Reads the source and imports nothing, so it needs no server and takes no time.
"""

import ast
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Behaviour(NamedTuple):
    """A test and the sentence that it proves."""

    test: str
    sentence: str | None


def modules() -> list[Path]:
    """Return the files that hold tests."""
    return sorted(FOLDER.glob("test_*.py"))


def behaviours(module: Path) -> Iterator[Behaviour]:
    """Yield the tests of a file in their order."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield Behaviour(node.name, ast.get_docstring(node))


def one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `… | head` ends it without a traceback
    for module in modules():
        title = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
        print(f"{module.stem}: {one_line(title)}")
        for test, sentence in behaviours(module):
            print(f"  - {one_line(sentence or f'({test} does not say)')}")
        print()


if __name__ == "__main__":
    main()
