"""No message, log line, traceback or repr holds any part of a password: a canary goes through every error path.

No piece of it that is longer than two characters may be found in what anybody could see.
"""

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from conftest import Recorder
from nodes import Node, Watched, eventually
from servers import Cluster

from redbike import Redbike, cli
from redbike.config import load
from redbike.errors import ConfigError, RedbikeError

CANARY = "Qx7Zj9Wk4Vq2Hg5"
SECOND = "Xz8Jy6Rn3Lp1Kw0"
# In each three characters there is a letter that no hexadecimal number holds.
PIECES = [word[at : at + 3].lower() for word in (CANARY, SECOND) for at in range(len(word) - 2)]
ODD = "/?#:%[]& =\\;,'\"\u2100\u00e9|<"


def silent(text: str) -> None:
    """Fail if a piece of a canary is in the text."""
    found = sorted({piece for piece in PIECES if piece in text.lower()})
    assert not found, f"{found} in: {text}"


def everything(caplog: pytest.LogCaptureFixture, settings: object, *steps: Callable[[Redbike], object]) -> str:
    """Return everything that an object with these settings shows: reprs, errors with causes, and log lines."""
    caplog.set_level(logging.DEBUG)
    seen = []
    try:
        with Redbike(Recorder(), "{p}", settings) as bike:  # type: ignore[arg-type]
            client: Any = bike.redis
            seen += [repr(bike), repr(client), repr(bike._parts.client), bike._parts.client.where]
            if hasattr(client, "connection_pool"):
                seen += [repr(client.connection_pool), str(client.connection_pool.connection_kwargs)]
                seen += [repr(getattr(client.connection_pool, "sentinel_manager", None))]
            for step in steps:
                try:
                    step(bike)
                except RedbikeError as error:
                    seen += [str(error), repr(error), traceback.format_exc()]
    except ConfigError as error:
        # If it is refused, its traceback quotes our source and its arguments.
        seen += [str(error), repr(error), "".join(traceback.format_exception(error))]
    except RedbikeError as error:
        seen += [str(error), repr(error), "".join(traceback.format_exception(error))]
    return "\n".join([*seen, caplog.text])


def tell(bike: Redbike) -> object:
    return bike.tell("j:A")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make loops try again without the pause that they make in a real outage."""
    monkeypatch.setattr("redbike.engine.retry._delay_s", lambda _failures: 0.01)


def urls() -> Iterator[str]:
    """Return URLs with a password: well-formed URLs, and URLs without the necessary %XX."""
    for scheme in ("redis", "rediss"):
        yield f"{scheme}://:{CANARY}@127.0.0.1:1"
        yield f"{scheme}://{SECOND}:{quote(CANARY + '/' + CANARY, '')}@127.0.0.1:1/0"
        yield f"{scheme}://127.0.0.1:1/0?password={CANARY}&username={SECOND}"
    yield f"unix://u:{CANARY}@/nowhere/s"
    yield f"unix:///nowhere/s?password={CANARY}"
    yield f"redis://u:{CANARY}"
    yield f"redis://:{CANARY}/0"
    yield f"redis://127.0.0.1:1/{CANARY}"
    yield f"redis://127.0.0.1:1?{CANARY}"
    yield f"redis://127.0.0.1:1?db={1}&{CANARY}"
    yield f"redis://127.0.0.1:1?pasword={CANARY}"
    yield f"redis://127.0.0.1:1?password={CANARY}&password={CANARY}"
    yield f"http://u:{CANARY}@127.0.0.1"
    yield f"redis:/u:{CANARY}@127.0.0.1"
    yield f"u:{CANARY}@127.0.0.1"
    for odd in ODD:
        yield f"redis://:{CANARY}{odd}{SECOND}@127.0.0.1:1/0"
        yield f"redis://us:{CANARY}{odd}{SECOND}"
        yield f"redis://us:{odd}{SECOND}@127.0.0.1:1?db=1"
        yield f"unix://us:{CANARY}{odd}{SECOND}@/nowhere"
        yield f"redis://us:{CANARY}{odd}{SECOND}@@127.0.0.1:1"


@pytest.mark.parametrize("url", list(urls()), ids=lambda _: "")
def test_a_password_in_a_url(
    url: str, caplog: pytest.LogCaptureFixture, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL with a password, in any form and with any characters, is never shown with it, neither for an object nor for
    a conf.
    """
    monkeypatch.chdir(tmp_path)
    silent(everything(caplog, {"url": url}, tell))
    if "'" not in url:
        (tmp_path / ".redbike.conf").write_text(f"[redbike]\n[redbike-redis]\nurl: {url}\n")
        assert cli.main(["tell", "j:A"]) in (1, os.EX_CONFIG)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        silent(captured.err + captured.out + caplog.text)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": f"u:{CANARY}@127.0.0.1"},
        {"host": f"redis://:{CANARY}@127.0.0.1:1"},
        {"port": f"{CANARY}@127.0.0.1"},
        {"password": [CANARY]},
        {"password": {CANARY: 1}, "port": 1},
        {"password": CANARY, "no_argument": 1},
        {"password": CANARY, "port": 1, "max_connections": 1},
        {"password": CANARY.encode(), "port": 1},
        {"sentinels": f"u:{CANARY}@127.0.0.1:1", "service_name": "x"},
        {"sentinels": f"redis://:{CANARY}@127.0.0.1:1", "service_name": "x"},
        {"sentinels": "127.0.0.1:1", "sentinel_password": CANARY, "sentinel_username": SECOND},
        {"sentinels": "127.0.0.1:1", "service_name": "x", "sentinel_password": CANARY, "sentinel_username": SECOND},
        {"sentinels": "127.0.0.1:1", "service_name": "x", "password": CANARY, "username": SECOND},
        {"cluster": True, "host": "127.0.0.1", "port": 1, "password": CANARY, "username": SECOND},
        {"cluster": True, "url": f"redis://u:{CANARY}@127.0.0.1:1/3"},
        {"cluster": True, "url": f"redis://{SECOND}:{CANARY}@127.0.0.1:1"},
        {"ssl": True, "port": 1, "ssl_certfile": "nowhere.pem", "ssl_password": CANARY},
        {"ssl": True, "port": 1, "ssl_ca_data": "x", "ssl_password": CANARY, "password": SECOND},
        {"ssl": True, "port": 1, "ssl_password": CANARY, "password": SECOND},
        {"unix_socket_path": "/nowhere/s", "password": CANARY, "username": SECOND},
        {"embedded": "/proc/nowhere", "password": CANARY},
        {"password": CANARY, "credential_provider": redis.credentials.UsernamePasswordCredentialProvider("a", "b")},
        f"redis://:{CANARY}@127.0.0.1:1",
        redis.Redis(port=1, password=CANARY),
    ],
)
def test_a_password_in_arguments(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A password among the arguments, however wrong they are, is never shown."""
    silent(everything(caplog, settings, tell))


def test_a_password_in_the_users_pool(caplog: pytest.LogCaptureFixture) -> None:
    """We use the password of the user's pool, and never show it."""
    for make in (redis.ConnectionPool, redis.BlockingConnectionPool):
        silent(everything(caplog, {"connection_pool": make(port=1, password=CANARY, username=SECOND)}, tell))


@pytest.mark.parametrize(
    "text",
    [
        f"password\n  {CANARY}\n",
        f"password {CANARY}\n",
        f"password: {CANARY}\npassword: {CANARY}\n",
        f"password: {CANARY}\n {SECOND}\n",
        f"pasword: {CANARY}\n",
        f"url: {CANARY}\n",
        f"url:: redis://:{CANARY}@h\n",
        f"[redbike]\npassword: {CANARY}\n",
        f"[redbike-reds]\npassword: {CANARY}\n",
        f"password: {CANARY}\nport: x\n",
        f"password: {CANARY}\nembedded: a\nport: 1\n",
        f"password: {CANARY} # a comment\nport: 1\n",
    ],
)
def test_a_password_in_a_conf(text: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The error about a malformed conf does not quote its lines."""
    path = tmp_path / "conf"
    path.write_text(f"[redbike]\n[redbike-redis]\n{text}")
    try:
        seen = repr(load(path))
    except ConfigError:
        seen = traceback.format_exc()
    silent(seen + caplog.text)


@pytest.fixture(scope="module")
def locked() -> Iterator[Node]:
    """A server with a password that is not a canary."""
    node = Node("requirepass right", password="right")
    yield node.ready()
    node.remove()


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_password_that_is_wrong(locked: Node, protocol: int, caplog: pytest.LogCaptureFixture) -> None:
    """The errors of a server, a Sentinel and a node of a Cluster that refuse a password do not show it."""
    with Cluster(1) as cluster:
        cluster.nodes[0].ask("CONFIG SET", "requirepass", "right")
        for settings in (
            {"port": locked.port, "password": CANARY},
            {"port": locked.port, "password": CANARY, "username": SECOND},
            {"url": f"redis://{SECOND}:{CANARY}@127.0.0.1:{locked.port}"},
            {"connection_pool": redis.ConnectionPool(port=locked.port, password=CANARY)},
            {"sentinels": f"127.0.0.1:{locked.port}", "service_name": "x", "sentinel_password": CANARY},
            {"url": f"rediss://:{CANARY}@127.0.0.1:{locked.port}"},
            {**cluster.config, "password": CANARY, "username": SECOND},
        ):
            silent(everything(caplog, {"protocol": protocol, **settings}, tell, Redbike.work, Redbike.dispatch))


@pytest.mark.parametrize("kind", ["work", "dispatch"])
def test_passwords_during_outages(kind: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The log lines of a loop hold no password and no user while its server and its Sentinels are away."""
    caplog.set_level(logging.DEBUG)
    with Watched() as watched:
        watched.sentinel.ask("ACL SETUSER", SECOND, "on", f">{CANARY}", "+@all", "~*", "&*")
        for node in (watched.primary, watched.replica):
            node.ask("CONFIG SET", "masterauth", CANARY)
            node.ask("ACL SETUSER", SECOND, "on", f">{CANARY}", "+@all", "~*", "&*")
        users = {"username": SECOND, "password": CANARY}
        users |= {f"sentinel_{name}": value for name, value in users.items()}
        stop = threading.Event()
        bike = Redbike(Recorder(), "p", {**watched.config, **users}, tmp_path / "t", stop_event=stop)
        bike.set("j:A", "NOW")
        thread = threading.Thread(target=getattr(bike, kind))
        thread.start()
        eventually(lambda: SECOND in str(watched.primary.ask("CLIENT LIST")))
        # The loop runs, and its run, if it is a worker, has its end in Redis. Then it waits until they are back.
        eventually(lambda: str(bike.tell("j:A")["status"]).startswith("STP") or (tmp_path / "t").exists())
        watched.primary.kill()
        watched.sentinel.kill()
        eventually(lambda: "trying until it is back" in caplog.text)
        before = time.monotonic()
        eventually(lambda: time.monotonic() - before > 0.5)
        with pytest.raises(RedbikeError) as error:
            bike.tell("j:A")
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
        bike.close()
        shown = "".join(traceback.format_exception(error.value))
    assert "the Sentinel at 127.0.0.1:" in shown
    silent(caplog.text + shown)
