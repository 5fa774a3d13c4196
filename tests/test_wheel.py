"""What is installed: with a careless list of files, a wheel has no Lua in it, and no command works."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import ROOT

import redbike

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILDS_FROM = 77  # the version of setuptools that pyproject.toml asks for


@pytest.mark.skipif(int(version("setuptools").split(".")[0]) < BUILDS_FROM, reason="setuptools is too old")
def test_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    """The wheel holds every module, every .lua file and py.typed, and nothing else but its metadata."""
    for name in SOURCES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "redbike", tmp_path / "redbike", ignore=shutil.ignore_patterns("__pycache__"))
    built = subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('.')"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "redbike.store.lua" not in "".join(line for line in built.stderr.splitlines() if "absent" in line)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {path.relative_to(ROOT) for path in (ROOT / "redbike").rglob("*") if path.is_file()}
    assert held == {str(path) for path in files if "__pycache__" not in path.parts}
    assert {"redbike/store/lua/turn.lua", "redbike/py.typed"} <= held


@pytest.mark.skipif("REDBIKE_TEST_INSTALLED" not in os.environ, reason="the tree is tested, not the wheel")
def test_the_wheel_is_what_is_tested() -> None:
    """Under tox, the tests import the installed wheel and not the tree."""
    assert Path(redbike.__file__).is_relative_to(sys.prefix)
    assert not Path(redbike.__file__).is_relative_to(ROOT / "redbike")
