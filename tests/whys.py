"""What the tests of `why` and `check` share: texts of a job, and processes that are killed and counted as silent."""

import os
import signal
import subprocess

import redis
from processes import Site

from redbike import Redbike
from redbike.looking.overview import look
from redbike.looking.past import occurrence
from redbike.looking.rows import Rows
from redbike.looking.settled import settled
from redbike.looking.troubles import Trouble, troubles
from redbike.looking.why import reasons
from redbike.store.keys import Keys

HOST = os.uname().nodename
SILENT_FOR_S = 40


def why(bike: Redbike, jobid: str) -> str:
    """Return the sentences on a job, a line each; those that say that something is wrong begin with `!`."""
    return "\n".join(f"{'!' if reason.is_wrong else ' '}{reason.text}" for reason in reasons(bike, jobid))


def what_became(bike: Redbike, jobid: str, time: float) -> str:
    """Return the sentences on a job at a time, in the same way."""
    return "\n".join(f"{'!' if reason.is_wrong else ' '}{reason.text}" for reason in occurrence(bike, jobid, time))


def wrong(bike: Redbike) -> list[Trouble]:
    """Return all that is wrong."""
    return troubles(look(bike), settled(bike, Rows(bike).all()))


def kinds(bike: Redbike) -> list[str]:
    """Return the kinds of all that is wrong, the most urgent first."""
    return [trouble.kind for trouble in wrong(bike)]


def kill(site: Site, process: "subprocess.Popen[str]") -> str:
    """Kill a process, and return its name, as the sentences name it."""
    assert site.redis.ping()
    process.send_signal(signal.SIGKILL)
    process.wait()
    return f"{HOST}:{process.pid}"


def set_back(client: redis.Redis, prefix: str, seconds: float = SILENT_FOR_S) -> None:
    """Set all heartbeats back, as if so much time had passed since then."""
    alive = Keys(prefix).alive
    for member, _ in client.zscan_iter(alive):
        client.zincrby(alive, -seconds, member)


def configure(site: Site, **settings: object) -> None:
    """Add settings to the conf of a site."""
    path = site.folder / ".redbike.conf"
    lines = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in settings.items())
    path.write_text(path.read_text().replace("[redbike]\n", f"[redbike]\n{lines}", 1))
