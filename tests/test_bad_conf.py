"""Mistakes in the conf and in the worker: exit code 1, one line that helps, and nothing changed in Redis."""

import os
from pathlib import Path

import pytest
from bad_inputs import COMMANDS, WORKER, Shop
from state import whole_server

# The conf


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_missing_conf(shop: Shop, command: list[str]) -> None:
    """G4: without its conf, each command names the file that it looked for, and says how to get a conf."""
    line = shop.misconfigured(*command, "--config=nowhere.conf")
    assert "nowhere.conf" in line
    assert "no such file" in line
    assert "--config" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "[redbike]"),
        (b"prefix: a\n", "line 1"),
        (b"[redbike]\nprefix\n", "line 2"),
        (b"[redbike]\nprefix: a\nprefix: b\n", "line 3"),
        (b"[redbike]\n[redbike]\n", "line 2"),
        (b"[other]\nprefix: a\n", "[redbike]"),
        (b'{"redbike": {"prefix": "a"}}', "line 1"),
        (b"[redbike]\nprefix: \xff\n", "UTF-8"),
        (bytes(range(256)), "redbike.conf"),
        (b"[redbike]\ndefault-timeout: ten\n", "default-timeout: 'ten' is not a number of seconds"),
        (b"[redbike]\ndefault-timeout: 0\n", "default-timeout: '0' is out of range"),
        (b"[redbike]\nprefix:\n", "prefix: is empty"),
        (b"[redbike]\n[redbike-redis]\nport: six\n", "[redbike-redis] port: 'six' is not a whole number"),
        (b"[redbike]\n[redbike-redis]\nport: 70000\n", "port: '70000' is out of range"),
        (b"[redbike]\n[redbike-redis]\nssl: maybe\n", "ssl: 'maybe' is neither yes nor no"),
        (b"[redbike]\n[redbike-redis]\nhots: here\n", "hots: is unknown; did you mean host?"),
        (b"[redbike]\n[redbike-redis]\nretry: 3\n", "retry: needs an object"),
    ],
)
def test_malformed_conf(shop: Shop, content: bytes, said: str) -> None:
    """G4: an unreadable conf, a value of a wrong type or an unknown setting of the connection gives one line with file,
    place and value.
    """
    Path(".redbike.conf").write_bytes(content)
    line = shop.misconfigured("set", "new:A", "NOW")
    assert said in line
    assert ".redbike.conf" in line


def test_conf_that_is_a_folder(shop: Shop) -> None:
    """G4: a conf that cannot be read gives one line that says why."""
    assert "cannot be read (Is a directory)" in shop.misconfigured("schedules", f"--config={shop.folder}")


def test_unknown_setting_is_a_warning(shop: Shop) -> None:
    """An unknown setting in [redbike] gives a warning on stderr, and the command works."""
    shop.conf("time-file: x")
    done = shop.process("set", "new:A", "NOW")
    assert done.returncode == 0
    [line] = done.stderr.splitlines()
    assert "WARNING" in line
    assert "time-file: is unknown; did you mean timefile?" in line
    assert shop.bike.tell("new:A")["schedule"] == "STOP"


# The worker


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "no worker"),
        ("workers", "write package.module:Name('argument', ...)"),
        ("workers:Demo", "has no parentheses; write workers:Demo()"),
        ("workers:Demo(", "write package.module:Name('argument', ...)"),
        ("workers.Demo('A')", "write package.module:Name('argument', ...)"),
        ("workers:Demo('A'); import os", "write package.module:Name('argument', ...)"),
        ("workers:Demo(open('x'))", "is not a literal"),
        ("workers:Demo(A)", "'A' is not a literal"),
        ("nowhere:Demo('A')", "there is no module 'nowhere'"),
        ("workers.nowhere:Demo('A')", "there is no module"),
        ("workers:Demon('A')", "no 'Demon'; did you mean Demo?"),
        ("workers:Demo()", "missing a required argument: 'initstring'"),
        ("workers:Demo('A', 'B')", "too many positional arguments"),
        ("workers:Demo(initials='A')", "write Demo(initstring"),
        ("workers:__name__('A')", "is not a class or function"),
        ("collections:Counter()", "which lacks some of queue_for, queue_names, timeout, and work or perform"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "conf"])
def test_bad_worker(shop: Shop, expression: str, said: str, way: str) -> None:
    """G4: a worker expression that cannot be read, found or called gives one line that names it and the right form."""
    if way == "conf":
        path = Path(".redbike.conf")
        path.write_text(path.read_text().replace(WORKER, expression))
        line = shop.misconfigured("work")
    elif not expression:
        pytest.skip("an empty argument is the conf's worker")
    else:
        line = shop.misconfigured("work", expression)
        assert said in shop.misconfigured("dispatch", expression)
    assert said in line
    assert expression in line or "\\'" in line


@pytest.mark.parametrize(
    ("module", "source", "error"),
    [
        ("needy", "import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
        ("torn", "def (\n", "SyntaxError"),
        (
            "broken",
            "class Demo:\n    def __init__(self, initstring):\n        raise TypeError('mine')\n",
            "TypeError: mine",
        ),
    ],
)
def test_fault_inside_the_users_module(shop: Shop, module: str, source: str, error: str) -> None:
    """G4: an exception inside the user's module is raised with its traceback, and the command does nothing."""
    Path(f"{module}.py").write_text(source)
    before = whole_server(shop.bike.redis)
    done = shop.process("work", f"{module}:Demo('A')")
    assert done.returncode == (1 if module == "broken" else os.EX_CONFIG)
    assert "Traceback" in done.stderr
    assert f"{module}.py" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(error)
    assert whole_server(shop.bike.redis) == before


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ("    def queue_names(self): return []\n", "lists no queue"),
        ("    def queue_names(self): return ['schedules']\n", "'schedules' is taken"),
        ("    def queue_names(self): return [7]\n", "7 is not a queue name"),
        ("    def timeout(self, queue_name): return -1\n", "returned -1"),
        ("    def timeout(self, queue_name): return 'long'\n", "returned 'long'"),
    ],
)
def test_worker_that_breaks_the_contract(shop: Shop, methods: str, said: str) -> None:
    """G4: a worker whose queues or timeouts make no sense gives one line with its class and the wrong value."""
    Path("broken.py").write_text(f"from redbike import RoundRobin\n\n\nclass Odd(RoundRobin):\n{methods}")
    line = shop.misconfigured("work", "broken:Odd('A')", clears_control=True)
    assert "worker Odd: " in line
    assert said in line
