"""The command `redbike web` as a process: how it starts, what it says, and how it ends."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from nodes import eventually
from processes import Site, environment

pytest.importorskip("starlette")


def start(site: Site, *options: str) -> tuple["subprocess.Popen[str]", int]:
    """Start the page on a free port, and return its process and the port."""
    process = site.start("web", "--port=0", *options)
    eventually(lambda: "the page is at" in site.stderr_of(process), 20)
    found = re.search(r"the page is at http://[^/]+:(\d+)/; Ctrl-C ends it", site.stderr_of(process))
    assert found
    return process, int(found[1])


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and content."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_soon(number: signal.Signals, site: Site) -> None:
    """A signal ends the page within two seconds, with exit code 0 and without a word, although a browser waits."""
    process, port = start(site)
    assert get(port, "/")[0] == 200
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/events?page=/")
        with connection.getresponse() as stream:
            assert stream.readline() == b"retry: 3000\n"
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(5) == 0
            assert time.monotonic() - began < 2
    assert len(site.stderr_of(process).splitlines()) == 1


def test_a_port_that_is_taken(site: Site) -> None:
    """A port that is taken is one line, and exit code 1."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = site.run("web", f"--port={other.getsockname()[1]}")
    assert done.returncode == 1
    assert re.fullmatch(
        r"redbike: 127\.0\.0\.1:\d+ cannot be used \(.+\): choose another port with --port\n", done.stderr
    )


def test_an_address_without_protection(site: Site) -> None:
    """An address that others can reach, without a password, is one line that names the way out, and exit code 78."""
    done = site.run("web", "--host=0.0.0.0")
    assert (done.returncode, done.stderr) == (
        os.EX_CONFIG,
        "redbike: --host: '0.0.0.0' is not a loopback address, and anybody who reaches it could change jobs: set"
        " web-password, or web-user-header behind a reverse proxy, in the section [redbike] of the conf\n",
    )


def test_the_conf_protects_the_page(site: Site) -> None:
    """With web-password in the conf, any address is allowed, and the page asks for the password."""
    conf = site.folder / ".redbike.conf"
    conf.write_text(conf.read_text().replace("[redbike]\n", "[redbike]\nweb-password: ${PAGE}\n"))
    assert "PAGE" in site.run("web").stderr
    os.environ["PAGE"] = "opensesame"
    try:
        _, port = start(site, "--host=0.0.0.0")
    finally:
        del os.environ["PAGE"]
    assert get(port, "/jobs", Host="redbike.example")[0] == 303


def test_ports_are_numbers(site: Site) -> None:
    """A port that is no number is one line."""
    done = site.run("web", "--port=x")
    assert (done.returncode, done.stderr) == (1, "redbike: --port: 'x' is not a whole number\n")


def test_without_the_extra(site: Site, tmp_path: Path) -> None:
    """Without the extra, the command says in one line how to install it, with exit code 78."""
    for name in ("starlette", "uvicorn", "jinja2"):
        folder = tmp_path / f"without-{name}"
        folder.mkdir()
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')\n")
        path = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
        done = subprocess.run(
            [*(sys.executable, "-m", "redbike", "web")],
            cwd=site.folder,
            env={**environment(), "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == os.EX_CONFIG
        assert done.stderr == "redbike: redbike web needs the extra: pip install 'redbike[web]'\n"


def test_without_a_server(tmp_path: Path) -> None:
    """The page starts although Redis is away, and says so."""
    (tmp_path / ".redbike.conf").write_text("[redbike]\n[redbike-redis]\nunix_socket_path: /nowhere/s\n")
    with subprocess.Popen(
        [sys.executable, "-m", "redbike", "web", "--port=0"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        found = re.search(r":(\d+)/", process.stderr.readline())
        assert found
        status, content = get(int(found[1]), "/jobs")
        assert (status, b"Redis has not answered since" in content) == (200, True)
        process.terminate()
        assert process.wait(5) == 0
