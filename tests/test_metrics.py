"""`redbike metrics`: the figures of a real fleet, in the format that Prometheus reads."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Fleet, Recorder, Server
from helpers import ROOT, Answer, Command
from nodes import eventually, free_port
from processes import Site

from redbike import Redbike
from redbike.looking import exporter
from redbike.store.counts import Counts

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from redbike.looking import metrics
from redbike.looking.scrape import Latest

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Return the samples of a text in the older format, by name and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            key = one.name, frozenset(one.labels.items())
            assert key not in found
            found[key] = one.value
    return found


class Look:
    """The samples of an exporter or of a bike."""

    def __init__(self, text: str) -> None:
        self.text, self.samples = text, samples(text)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"redbike_{name}", frozenset(labels.items())))


def look(bike: Redbike) -> Look:
    return Look(Latest(bike).print_out())


class Served:
    """`redbike metrics --port` as a process."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.port = free_port()
        self.process = site.start("metrics", f"--port={self.port}", *arguments)
        eventually(self.answers, 20)

    def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return self.get("/")[0] == 200
        except OSError:
            return False

    def get(self, path: str, accept: str = "", within_s: float = 20) -> tuple[int, str, str]:
        """Return status, content type and content."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=within_s) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["Content-Type"], error.read().decode()

    def look(self) -> Look:
        status, _, text = self.get("/metrics")
        assert status == 200
        return Look(text)


@pytest.fixture
def served(site: Site) -> Iterator[Served]:
    served = Served(site)
    yield served
    assert "Traceback" not in site.stderr_of(served.process)


def test_values_of_a_real_fleet(site: Site, served: Served) -> None:
    """After runs by real processes, the counters, the histogram and the gauges hold what has happened."""
    site.start_idle("dispatch")
    site.start_idle("work")
    for jobid in ("one:A", "two:A", "dies-x:A"):
        site.run("set", jobid, "NOW")
    site.run("set", "soon:A", f"AT:{time.time() + 0.3}")
    site.run("set", "later:A", "EVERY:3600")
    eventually(lambda: served.look()("runs_ended_total", queue="work-A", outcome="done") == 3)
    eventually(lambda: served.look()("runs_running") == 0)
    found = served.look()
    assert found("runs_started_total", queue="work-A") == 4
    assert found("runs_ended_total", queue="work-A", outcome="failed") == 1
    assert found("run_lateness_seconds_count", queue="work-A") == 4
    late_s = found("run_lateness_seconds_sum", queue="work-A")
    assert late_s is not None
    assert 0 <= late_s < 60
    eventually(lambda: served.look()("processes", kind="worker") == 1)
    eventually(lambda: served.look()("processes", kind="dispatcher") == 1)
    found = served.look()
    assert found("queue_workers", queue="work-A") == 1
    assert found("queue_jobs", queue="work-A") == 0
    assert found("timeline_jobs") == 1
    assert (found("up"), found("halted"), found("paused")) == (1, 0, 0)
    assert "later:A" not in found.text


def test_jobs_by_status_are_counted(bike: Redbike, worker: Recorder) -> None:
    """Jobs are counted by their status, and there are further metrics for lost, failing and paused jobs."""

    def fail() -> None:
        raise ValueError("on purpose")

    worker.acts["fails:A"] = fail
    bike.control("HALT")
    bike.set("fails:A", "CONTINUE")
    bike.work()
    bike.set("plan:A", "EVERY:3600")
    bike.set("rest:A", "EVERY:3600")
    bike.pause("rest:A")
    bike.set("queued:A", "NOW")
    found = look(bike)
    assert found("jobs", status="failed") == 1
    assert found("jobs", status="planned") == 1
    assert found("jobs", status="paused") == 1
    assert found("jobs", status="queued") == 1
    assert found("jobs", status="running") == 0
    assert (found("jobs_lost"), found("jobs_failing"), found("jobs_paused")) == (1, 1, 1)


def test_a_retry_is_counted(fleet: Fleet) -> None:
    """A run that is tried again counts as retried."""
    worker = Recorder()
    worker.acts["fails:A"] = lambda: 1 / 0
    bike = fleet(worker, on_error="retry")
    bike.control("HALT")
    bike.set("fails:A", "NOW")
    bike.work()
    assert look(bike)("runs_retried_total", queue="work-A") == 1


def test_overdue_halted_and_paused(bike: Redbike) -> None:
    """A job that no dispatcher has queued is overdue; HALT and pauses are 1."""
    bike.set("due:A", "EVERY:1", after=bike.now() - 3)
    eventually(lambda: look(bike)("timeline_overdue_jobs") == 1)
    found = look(bike)
    overdue_s = found("timeline_overdue_seconds")
    assert overdue_s is not None
    assert 1 <= overdue_s < 60
    bike.control("HALT")
    bike.hold()
    bike.hold("work-A")
    found = look(bike)
    assert (found("halted"), found("paused"), found("queue_paused", queue="work-A")) == (1, 1, 1)


def test_a_queue_that_nobody_serves_is_shown(bike: Redbike) -> None:
    """A queue with jobs and without workers is shown, though neither conf nor worker names it, with its oldest job."""
    bike.set("one:Z", "NOW")
    eventually(lambda: (look(bike)("queue_oldest_seconds", queue="work-Z") or 0) > 0)
    found = look(bike)
    assert found("queue_jobs", queue="work-Z") == 1
    assert found("queue_workers", queue="work-Z") == 0


HOSTILE = (
    'a"b',
    "back\\slash",
    "blank and {braces}",
    "\x1b[31m",
    "ümläut",
    "x" * 4000,
    "\udcff",
    "tab\tq",
    "</script>",
)


@pytest.mark.not_on_a_cluster("the names are not tagged")
def test_hostile_names_of_queues_are_escaped(bike: Redbike) -> None:
    """Queue names with quotes, backslashes, control characters and bytes that are not UTF-8 can be read back."""
    bike.redis.hset(
        bike._parts.keys.metrics,
        mapping={f"started 3 {name}".encode("utf-8", "surrogateescape"): "2" for name in HOSTILE},
    )
    latest = Latest(bike)
    kind, text = latest.answer(OPENMETRICS)
    assert kind.startswith(OPENMETRICS)
    assert len(list(openmetrics.text_string_to_metric_families(text.decode()))) > 10
    found = Look(latest.answer()[1].decode())
    labels = {dict(labels)["queue"] for name, labels in found.samples if name == "redbike_runs_started_total"}
    assert {'a"b', "back\\slash", "ümläut", "\\x1b[31m", "\\udcff", "tab\\tq", "x" * 200 + "…"} <= labels
    assert len(labels) == len(HOSTILE)
    assert "\x1b" not in found.text


def test_buckets_are_cumulative() -> None:
    """The buckets of the histogram are in seconds, cumulative, and end with the number of all runs."""
    counts = Counts.of({b"started 0 q": b"1", b"started 10 q": b"2", b"started inf q": b"4", b"late_ms q": b"2500"})
    _, text = metrics.written(metrics.families(metrics.Figures(counts), metrics.Labels()))
    found = Look(text.decode())
    limits = [dict(labels)["le"] for name, labels in found.samples if name.endswith("_bucket")]
    assert sorted(map(float, limits)) == [2**power / 1000 for power in range(24)] + [float("inf")]
    values = {limit: found("run_lateness_seconds_bucket", queue="q", le=limit) for limit in limits}
    assert (values["0.001"], values["0.512"], values["1.024"], values["8388.608"], values["+Inf"]) == (1, 1, 3, 3, 7)
    assert found("run_lateness_seconds_count", queue="q") == 7
    assert found("run_lateness_seconds_sum", queue="q") == 2.5


def test_the_number_of_labels_is_bounded() -> None:
    """Beyond a thousand queues, figures are summed up as one queue, and a queue never loses its label."""
    counts = Counts(started={f"q{number:04}": 1 for number in range(1500)})
    labels = metrics.Labels()

    def started(counts: Counts) -> Samples:
        _, text = metrics.written(metrics.families(metrics.Figures(counts), labels))
        return {key: value for key, value in samples(text.decode()).items() if key[0] == "redbike_runs_started_total"}

    found = started(counts)
    assert len(found) == metrics.MOST_QUEUES + 1
    assert found["redbike_runs_started_total", frozenset({("queue", metrics.OTHER)})] == 500
    again = started(Counts(started={"a-new-queue": 7, **counts.started}))
    assert again.keys() == found.keys()
    assert again["redbike_runs_started_total", frozenset({("queue", metrics.OTHER)})] == 507


def test_outcomes_that_others_invent_are_no_labels() -> None:
    """Only the outcomes that Redbike knows are labels."""
    counts = Counts(ended={("q", "invented"): 3, ("q", "done"): 2})
    _, text = metrics.written(metrics.families(metrics.Figures(counts), metrics.Labels()))
    assert "invented" not in text.decode()
    assert Look(text.decode())("runs_ended_total", queue="q", outcome="done") == 2


def test_kinds_of_processes_that_others_invent_are_no_labels(bike: Redbike) -> None:
    """A process that describes itself as something else counts as other."""
    keys = bike._parts.keys
    bike.redis.hset(keys.processes, "someone", '{"kind": "evil"}')
    bike.redis.zadd(keys.alive, {"someone": bike.now()})
    found = look(bike)
    assert found("processes", kind="other") == 1
    assert "evil" not in found.text


def test_only_two_paths(served: Served) -> None:
    """The exporter answers GET and HEAD of / and /metrics, and nothing else."""
    assert served.get("/")[:2] == (200, "text/html; charset=utf-8")
    assert served.get("/metrics?x=1")[:2] == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert served.get("/metrics/..")[0] == 404
    assert served.get("/jobs")[0] == 404
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(b"POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 501 ")
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        client.sendall(b"HEAD /metrics HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "accept", [OPENMETRICS, f"text/html, {OPENMETRICS};q=0.9", "application/openmetrics-text;version=x"]
)
def test_openmetrics_if_asked_for(served: Served, accept: str) -> None:
    """A request for OpenMetrics gets OpenMetrics, which ends with # EOF, whatever else its header says."""
    _, kind, text = served.get("/metrics", accept)
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    units = {family.name: family.unit for family in openmetrics.text_string_to_metric_families(text)}
    assert {name for name, unit in units.items() if unit == "seconds"} == {name for name in units if "seconds" in name}
    assert {"redbike_runs_started", "redbike_run_lateness_seconds", "redbike"} <= set(units)


def test_redis_away_and_back(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """While Redis is away, a scrape answers at once with redbike_up 0, and with all metrics when it is back."""
    with Site(tmp_path, own_server, prefix) as site:
        served = Served(site)
        eventually(lambda: served.look()("up") == 1)
        own_server.kill()
        found = served.look()
        assert found("up") == 0
        assert {name for name, _ in found.samples} == {
            "redbike_up",
            "redbike_info",
            "redbike_scrape_duration_seconds",
        }
        own_server.start()
        eventually(lambda: served.look()("up") == 1)
        eventually(lambda: served.look()("jobs", status="planned") == 0, 20)
        assert "Traceback" not in site.stderr_of(served.process)


def test_redis_that_hangs(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """While Redis hangs, scrapes answer before Prometheus gives up, and the exporter ends on a signal all the same."""
    assert own_server.process is not None
    with Site(tmp_path, own_server, prefix) as site:
        served = Served(site)
        eventually(lambda: served.look()("up") == 1)
        own_server.process.send_signal(signal.SIGSTOP)
        try:
            looks: list[Look] = []
            threads = [threading.Thread(target=lambda: looks.append(served.look())) for _ in range(3)]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert [found("up") for found in looks] == [0, 0, 0]
            assert time.monotonic() - began < 8
            served.process.send_signal(signal.SIGTERM)
            assert served.process.wait(2) == 0
        finally:
            own_server.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_exporter(site: Site, number: int) -> None:
    """A signal ends the exporter within two seconds with exit code 0, also while a client keeps a connection open."""
    served = Served(site)
    with socket.create_connection(("127.0.0.1", served.port)) as idle:
        idle.sendall(b"GET /metrics HTTP/1.1\r\n")
        served.process.send_signal(number)
        assert served.process.wait(2) == 0


def test_idle_clients_do_not_fill_the_process(served: Served) -> None:
    """Clients that send nothing get sixteen threads at most, and those beyond them are turned away."""
    clients = [socket.create_connection(("127.0.0.1", served.port), 5) for _ in range(40)]
    try:

        def is_closed(client: socket.socket) -> bool:
            client.setblocking(False)
            try:
                return client.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionError:
                return True

        eventually(lambda: sum(map(is_closed, clients)) >= 24)
        threads = len(list(Path(f"/proc/{served.process.pid}/task").iterdir())) if Path("/proc").exists() else 0
        assert threads <= 2 * 16 + 6
    finally:
        for client in clients:
            client.close()
    eventually(served.answers)


def test_a_taken_port_is_one_line(site: Site) -> None:
    """A port that another program uses is an error of one line with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = site.run("metrics", f"--port={port}")
    assert ended.returncode == 1
    assert re.fullmatch(
        rf"redbike: 127\.0\.0\.1:{port}: cannot listen there \(.*\); name another --port .*\n", ended.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port=x"], "--port: 'x' is not a whole number"),
        (["--port=0"], "--port: '0' is out of range; write a whole number from 1 to 65535"),
        (["--host=::1"], "--host: the metrics are served only with --port: name one, such as --port=9109"),
        (["--port=9109", "--host=no.such.host.invalid"], "no.such.host.invalid:9109: cannot listen there"),
    ],
)
def test_mistakes_are_one_line(command: Command, arguments: list[str], line: str) -> None:
    """A mistake in the options is an error of one line."""
    ended: Answer = command("metrics", *arguments)
    assert ended.code == 1
    assert ended.err.startswith(f"redbike: {line}")
    assert ended.err.count("\n") == 1


def test_without_redis_the_command_fails(site: Site) -> None:
    """`redbike metrics` without --port prints nothing and ends with 1 while Redis is away."""
    conf = site.folder / ".redbike.conf"
    conf.write_text(f"[redbike]\n[redbike-redis]\nport: {free_port()}\n")
    ended = site.run("metrics")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("redbike: Redis at ")
    assert ended.stderr.count("\n") == 1


def test_without_the_extra_the_command_names_it(site: Site) -> None:
    """Without prometheus_client, the command names the extra in one line, with exit code 78."""
    (site.folder / "prometheus_client.py").write_text("raise ModuleNotFoundError(name='prometheus_client')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "redbike", "metrics"],
        cwd=site.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site.folder), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (os.EX_CONFIG, "")
    assert "pip install 'redbike[metrics]'" in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_promtool_accepts_the_metrics(bike: Redbike) -> None:
    """promtool finds no fault with names, units and help texts."""
    bike.set("one:A", "NOW")
    bike.control("HALT")
    bike.work()
    checked = subprocess.run(["promtool", "check", "metrics"], input=look(bike).text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_slow_client_is_cut_off(bike: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends its request byte by byte does not hold its place for longer than the bound."""
    monkeypatch.setattr(exporter, "_REQUEST_S", 0.5)
    server = exporter.Exporter("127.0.0.1", 0, lambda _: ("text/plain", b""), bike.log)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with server, socket.create_connection(("127.0.0.1", server.port), 5) as client:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 5:
                client.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 3
        server.shutdown()
    thread.join(5)
