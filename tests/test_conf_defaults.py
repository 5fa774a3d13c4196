"""A worker may bring its own settings, which the commands use where the conf says nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Server

from redbike.bridges.celery import CeleryWorker
from redbike.bridges.rq import RQWorker
from redbike.errors import ConfigError
from redbike.worker import Worker

WORKER = """
from redbike import RoundRobin

class Careful(RoundRobin):
    conf_defaults = {"prefix": "PREFIX", "on_error": "retry", "retries": 2, "no_setting": 1}

    def work(self, jobid):
        raise ValueError
"""


def said(folder: Path, server: Server, worker: str, *lines: str) -> str:
    """Return what `redbike work --burst` says on stderr, with these lines in the conf."""
    conf = "\n".join(
        ["[redbike]", f"worker: {worker}", *lines, "[redbike-redis]", f"unix_socket_path: {server.socket}"]
    )
    (folder / ".redbike.conf").write_text(conf)
    ended = subprocess.run(
        [sys.executable, "-m", "redbike", "--log-level=info", "work", "--burst"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=20,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_the_conf_wins_over_the_worker(server: Server, prefix: str, tmp_path: Path) -> None:
    """The commands take a setting from the conf, else from the worker, else the usual default."""
    (tmp_path / "mine.py").write_text(WORKER.replace("PREFIX", prefix))
    brought = said(tmp_path, server, "mine:Careful('A')")
    assert f"prefix {prefix}," in brought
    assert "on-timeout drop, on-error retry" in brought
    assert "on-error drop" in said(tmp_path, server, "mine:Careful('A')", "on-error: drop")


@pytest.mark.parametrize(
    ("worker", "prefix"),
    [
        ("redbike.bridges.celery:CeleryWorker('proj', lease=45)", "redbike:celery"),
        ("redbike.bridges.rq:RQWorker(unix_socket_path='SOCKET', lease=45)", "redbike:rq"),
    ],
)
def test_the_workers_of_bridges_lose_no_run(server: Server, tmp_path: Path, worker: str, prefix: str) -> None:
    """Without further lines in the conf, a lost run is tried again, an error stops no entry, and no file is written."""
    (tmp_path / "proj.py").write_text(
        f"import celery\napp = celery.Celery('p', broker='redis+socket://{server.socket}')\n"
    )
    line = said(tmp_path, server, worker.replace("SOCKET", str(server.socket)))
    assert f"prefix {prefix}," in line
    assert "default-timeout 45 s, on-timeout retry, on-error reschedule" in line
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {".redbike.conf", "proj.py"}


@pytest.mark.parametrize(("package", "made"), [("celery", CeleryWorker("proj")), ("rq", RQWorker())])
def test_a_system_that_is_not_installed_is_named(package: str, made: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Celery or RQ, a worker of the bridge says how to install it, before its loop begins."""
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(ConfigError, match=rf"is not installed: pip install 'redbike\[{package}\]'"):
        made.timeout("P-queue")
