"""The source distribution: who has no more than that can read, build and test everything."""

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import ROOT

BUILDS_FROM = 77  # the version of setuptools that pyproject.toml asks for
NOT_COPIED = (".git", ".venv*", ".tox", "__pycache__", "*.egg-info", "build", "dist", ".hypothesis", ".*_cache")
SOME_TESTS = ("test_cron.py", "test_timefile.py", "test_looking.py")

pytestmark = pytest.mark.skipif(int(version("setuptools").split(".")[0]) < BUILDS_FROM, reason="setuptools is too old")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the unpacked source distribution of this tree."""
    tree, place = tmp_path_factory.mktemp("tree") / "redbike", tmp_path_factory.mktemp("unpacked")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    build = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    built = subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True, text=True)
    assert "redbike.store.lua" not in built.stderr  # a warning of setuptools
    [archive] = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        # Python 3.11 has filters from 3.11.4 on.
        tar.extractall(place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]
    [folder] = place.iterdir()
    return folder


def test_it_holds_what_the_checkout_holds(unpacked: Path) -> None:
    """It holds every file of the checkout that Git tracks, executable scripts, and no generated file."""
    held = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert not [name for name in held if "__pycache__" in name or name.startswith((".git/", ".venv"))]
    assert {"bin/test", "docs/failures.md", "tests/conftest.py", "redbike.conf.example", "CHANGELOG.md"} <= held
    assert os.access(unpacked / "bin" / "test", os.X_OK)
    if (ROOT / ".git").exists():
        kept = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        assert {name for name in kept.splitlines() if (ROOT / name).exists()} - {".gitignore"} <= held


def test_it_can_be_tested(unpacked: Path) -> None:
    """Tests run in the unpacked folder, with the package that is in it and a server."""
    tests = [f"tests/{name}" for name in SOME_TESTS]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"PYTHONPATH": str(unpacked)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore::ResourceWarning", *tests],
        cwd=unpacked,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_the_description_has_no_broken_links(unpacked: Path) -> None:
    """The description in the metadata, which is shown without other files, links only to the web or into itself."""
    text = (unpacked / "PKG-INFO").read_text("utf-8")
    assert "Description-Content-Type: text/markdown" in text
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert links
    assert [link for link in links if not link.startswith(("#", "https://"))] == []
    assert "docs/failures.md" in text
