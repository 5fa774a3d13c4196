"""`redbike check`: one line for a monitoring system, and the exit code that goes with it."""

import re
from pathlib import Path

from conftest import Server
from helpers import server_now
from nodes import eventually
from processes import Site
from test_why_all import start_fleet
from whys import HOST, configure, kill, set_back

from redbike import Redbike
from redbike.looking.check import Limits, check
from redbike.store.keys import Keys

FIGURE = r"[a-z]+=\d+s?;[\d.]*;[\d.:]*;0"
LINE = re.compile(rf"REDBIKE (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(\|{FIGURE}( {FIGURE})*)?\n")


def checked(site: Site, *options: str) -> tuple[int, str]:
    """Return exit code and line of the command. It prints exactly one line, and nothing to stderr."""
    answer = site.run("check", *options)
    assert answer.stderr == ""
    assert LINE.fullmatch(answer.stdout), answer.stdout
    return answer.returncode, answer.stdout


def test_all_is_well(site: Site, bike: Redbike) -> None:
    """With a fleet and no trouble, the line says OK with the figures, and the exit code is 0."""
    bike.set("j:A", "EVERY:1d")
    start_fleet(site, bike)
    code, line = checked(site, "--max-wait=300", "--max-failing=5", "--max-lost=0")
    assert code == 0
    assert line == (
        "REDBIKE OK - 1 dispatcher, 1 worker, 1 planned, 0 queued, 0 running|late=0s;;60;0 wait=0s;300;;0 queued=0;;;0"
        " running=0;;;0 planned=1;;;0 dispatchers=1;;1:;0 workers=1;;;0 failing=0;5;;0 lost=0;0;;0\n"
    )


def test_no_dispatcher_is_critical(site: Site, bike: Redbike) -> None:
    """Without a dispatcher, or with one that is silent, the check is critical."""
    code, line = checked(site)
    assert (code, line.split("|")[0]) == (
        2,
        "REDBIKE CRITICAL - no dispatcher is alive: no job is queued when it is due",
    )
    dispatcher = site.start_idle("dispatch")
    eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive))
    assert checked(site)[0] == 0
    kill(site, dispatcher)
    set_back(site.redis, bike.prefix)
    code, line = checked(site)
    assert (code, "no dispatcher has been alive for 4" in line) == (2, True)


def test_no_worker_of_a_queue_with_jobs_is_critical(site: Site, bike: Redbike) -> None:
    """A queue with jobs that no worker serves is critical; an empty queue is not."""
    site.start_idle("dispatch")
    eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive))
    assert checked(site)[0] == 0
    bike.set("j:A", "NOW")
    code, line = checked(site)
    assert (code, "queue work-A: 1 job waits in it, and no worker is alive" in line) == (2, True)


def test_a_queue_that_only_a_job_names(site: Site, bike: Redbike) -> None:
    """A queue that neither the configured worker nor another worker serves is found by the jobs that name it."""
    start_fleet(site, bike)
    bike.set("j:Q", "NOW")
    code, line = checked(site)
    assert (code, "queue work-Q: 1 job waits in it, and no worker serves work-Q" in line) == (2, True)


def test_halt_is_critical_and_a_held_prefix_a_warning(site: Site, bike: Redbike) -> None:
    """A held prefix is a warning, and the jobs that are due then do not count as late; HALT is critical."""
    start_fleet(site, bike)
    site.run("control", "PAUSE")
    bike.set("j:A", f"AT:{server_now(bike) - 600:.0f}")
    code, line = checked(site)
    assert (code, "REDBIKE WARNING - the whole prefix is held by" in line) == (1, True)
    bike.redis.set(bike.control_key, "HALT")
    code, line = checked(site)
    assert (code, "REDBIKE CRITICAL - HALT is set" in line) == (2, True)


def test_late_jobs_are_critical(site: Site, bike: Redbike) -> None:
    """A job that has been due for longer than --max-late is critical, with 60 seconds as the default."""
    dispatcher = site.start_idle("dispatch")
    eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive))
    dispatcher.send_signal(19)
    bike.set("j:A", f"AT:{server_now(bike) - 62:.0f}")
    code, line = checked(site)
    assert (code, "1 job due, but not queued: 'j:A' for 1 min|late=6" in line) == (2, True)
    assert checked(site, "--max-late=600")[0] == 0


def test_long_waits_failing_and_lost_jobs_are_warnings(site: Site, bike: Redbike) -> None:
    """More than --max-wait, --max-failing or --max-lost is a warning; without the options they are not looked at."""
    configure(site, on_error="drop")
    bike.set("dies-1:A", "NOW")
    start_fleet(site, bike)
    eventually(lambda: bike.details("dies-1:A")["last_run"])
    bike.redis.hset(bike.schedules_key, "lost:A", "EVERY:1h")
    bike.set("slow-1:A", "NOW")
    eventually(lambda: "slow-1:A" in site.runs("begin"))
    bike.set("j:A", "NOW")
    keys = Keys(bike.prefix)
    at = int(server_now(bike)) - 1200
    bike.redis.hset(keys.due, "j:A", f"{at} 1 {at}")
    assert checked(site)[0] == 0
    assert checked(site, "--max-failing=1", "--max-lost=1", "--max-wait=3000")[0] == 0
    code, line = checked(site, "--max-failing=0", "--max-lost=0", "--max-wait=300")
    assert code == 1
    assert line.startswith("REDBIKE WARNING - 'j:A' has waited in work-A for 20 min; 1 job failing; 1 job lost|")


def test_states_are_read_only_if_asked(bike: Redbike) -> None:
    """The check reads the ids of all jobs, but their statuses only if --max-failing or --max-lost is given."""

    def reads() -> int:
        stats = bike.redis.info("commandstats")
        return int(stats.get("cmdstat_hmget", {}).get("calls", 0))

    bike.set("j:A", "EVERY:1h")
    before = reads()
    check(bike, Limits(wait_s=1))
    assert reads() == before
    check(bike, Limits(lost=1))
    assert reads() > before


def test_this_host(site: Site, bike: Redbike) -> None:
    """With --self, one living process of this host is enough, and processes of other hosts do not count."""
    code, line = checked(site, "--self")
    assert (code, line) == (2, f"REDBIKE CRITICAL - no process of {HOST} is known|processes=0;;1:;0\n")
    worker = site.start_idle("work")
    eventually(lambda: bike.redis.zcard(Keys(bike.prefix).alive))
    code, line = checked(site, "--self")
    assert (code, line) == (0, f"REDBIKE OK - 1 process of {HOST}: 1 worker|processes=1;;1:;0\n")
    kill(site, worker)
    set_back(site.redis, bike.prefix)
    code, line = checked(site, "--self")
    assert (code, line) == (2, f"REDBIKE CRITICAL - no process of {HOST} is alive: 1 silent|processes=0;;1:;0\n")


def test_a_server_that_is_away(own_server: Server, prefix: str, tmp_path: Path) -> None:
    """A server that is away is critical; but with --self the code is 0, so that no probe kills the fleet."""
    with Site(tmp_path, own_server, prefix) as site:
        own_server.kill()
        code, line = checked(site)
        assert (code, line.startswith("REDBIKE CRITICAL - Redis at ")) == (2, True)
        code, line = checked(site, "--self")
        assert (code, line.startswith("REDBIKE OK - not known, because Redis is away: Redis at ")) == (0, True)


def test_wrong_arguments_are_unknown(site: Site) -> None:
    """Wrong arguments, and a conf that cannot be read, exit with 3, which no trouble does; always in one line."""
    for options in (["--max-late=soon"], ["--max-lost=-1"], ["--max-failing=1.5"], ["--nothing"], ["--config=gone"]):
        code, line = checked(site, *options)
        assert (code, line.startswith("REDBIKE UNKNOWN - ")) == (3, True), options


def test_a_worker_that_prints_or_fails(site: Site, bike: Redbike) -> None:
    """A worker module that prints, or that cannot be imported, adds no line and no traceback."""
    start_fleet(site, bike)
    path = site.folder / "workers.py"
    path.write_text(f"print('hello')\n{path.read_text()}")
    assert checked(site)[0] == 0
    path.write_text("raise RuntimeError('no such\\ndatabase')")
    assert checked(site)[0] == 0
    path.write_text("def Scribe(")
    assert checked(site)[0] == 0


def test_a_bar_in_a_name_does_not_begin_the_figures(site: Site, bike: Redbike) -> None:
    """Untrusted text cannot forge figures, or a second line."""
    start_fleet(site, bike)
    bike.redis.set(Keys(bike.prefix).held, '{"": {"by": "me|late=0\\nREDBIKE OK", "note": "x|y"}}')
    code, line = checked(site)
    assert (code, line.count("|")) == (1, 1)
