"""The pages docs/celery.md and docs/rq.md are true: their commands run here, with real workers of Celery and RQ.

The pages name the server `localhost:6379`. Here it is a private server on a free port. The rules for blocks are those
of test_readme.py.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT
from nodes import Node
from test_readme import BLOCK, STEP, Block, Reader

PAGES = ("docs/celery.md", "docs/rq.md")
SERVER = "localhost:6379"


class Typist(Reader):
    """A reader who has the commands of Celery and RQ, too."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        self._port = port
        for name, module in (("celery", "celery"), ("rq", "rq.cli"), ("python", "")):
            self._program(folder / ".bin" / name, f'exec "{sys.executable}" {f"-m {module}" if module else ""} "$@"')
        stand_in = Path(__file__).with_name("redis_cli.py")
        self._program(folder / ".bin" / "redis-cli", f'exec "{sys.executable}" -IS "{stand_in}" -p {port} "$@"')

    def adapted(self, text: str) -> str:
        """Return a text of a page with the port of the private server."""
        return text.replace(SERVER, f"localhost:{self._port}")


@pytest.fixture
def typist() -> Iterator[Typist]:
    folder = Path(tempfile.mkdtemp(prefix="rb-"))
    node = Node().ready()
    try:
        typist = Typist(folder, node.port)
        try:
            yield typist
        finally:
            typist.leaves()
    finally:
        node.remove()
        shutil.rmtree(folder)


def sections(page: str) -> list[tuple[str, list[Block]]]:
    """Return the sections of a page with their blocks."""
    found: list[tuple[str, list[Block]]] = [("", [])]
    for match in BLOCK.finditer((ROOT / page).read_text("utf-8")):
        if match["section"]:
            found.append((match["section"], []))
        else:
            found[-1][1].append(Block(match["kind"], match["text"], match["note"] or ""))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, typist: Typist) -> None:
    """The commands of the page print the output that the page shows, one section after the other."""
    for _, blocks in sections(page):
        for block in blocks:
            text = typist.adapted(block.text)
            if block.left_out:
                continue
            if block.file:
                (typist.folder / block.file).write_text(text, "utf-8")
            elif block.kind == "console":
                assert "".join(match[0] for match in STEP.finditer(text)) == text
                for step in STEP.finditer(text):
                    typist.types(step["command"], step["output"])
            elif block.kind == "python":
                typist.runs(text, "")
