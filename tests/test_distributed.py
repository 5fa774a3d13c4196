"""Redis that is more than one plain server: Sentinel, Cluster, TLS, users with few rights, and URLs to all of them.

Real servers on loopback ports: see servers.py. Parts that no server at hand can play are skipped, with the reason.
"""

import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import Fleet, Recorder, Server, eventually
from processes import environment
from servers import CannotStart, Certificates, Cluster, Node, Watched, secured
from state import state
from threads import Loops

from redbike import Redbike
from redbike.errors import ConfigError, ServerError

HOURLY = "DTSTART:20200101T000000\nRRULE:FREQ=HOURLY"


class Elsewhere:
    """What a fleet needs to know of servers that are not the plain one of the suite: nothing."""

    socket = "/nonexistent"


def fleet_on(config: dict[str, Any], prefix: str, folder: Path) -> "FleetOn":
    return FleetOn(config, prefix, folder)


class FleetOn(Fleet):
    """Makes Redbike objects with other connection settings than a fleet's."""

    def __init__(self, config: dict[str, Any], prefix: str, folder: Path) -> None:
        super().__init__(Elsewhere(), prefix, folder)  # type: ignore[arg-type]
        self._config = config

    def __call__(self, worker: Any = None, **kwargs: Any) -> Redbike:
        return super().__call__(worker, **({"redis_config": self._config} | kwargs))


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [message for message in caplog.messages if part in message]


def events(bike: Redbike) -> dict[str, str]:
    return {jobid: event for jobid, event, _ in bike.get_statuses(before=9e9)}


# Sentinel


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as watched:
        yield watched


def test_a_failover_is_outlived(
    watched: Watched, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """C7: when Sentinels make a replica the primary, dispatcher and worker go on there, with one line each way."""
    caplog.set_level(logging.INFO)
    fleet = FleetOn(watched.config, prefix, tmp_path)
    worker = Recorder()
    worker.acts["often:A"] = lambda: 0.05
    with Loops(fleet) as loops:
        loops.work(worker)
        loops.dispatch(on_timeout="retry")
        bike = fleet()
        bike.set("often:A", "CONTINUE")
        bike.set("soon:A", f"AT:{time.time() + 2.5}")
        eventually(lambda: worker.done.count("often:A") > 2)
        assert bike.redis.wait(1, 5000) == 1

        watched.primary.kill()
        eventually(watched.has_failed_over, 20)
        eventually(lambda: len(messages(caplog, "is back after")) >= 2, 20)
        bike.set("new:A", "NOW")
        bike.set("later:A", f"AT:{time.time() + 0.2}")
        eventually(lambda: {"new:A", "later:A", "soon:A"} <= set(worker.done), 20)
        assert bike.redis.info("replication")["role"] == "master"
    assert len(messages(caplog, "trying until it is back")) == 2, "one line for each loop"
    assert len(messages(caplog, "is back after")) == 2, "and one with the downtime"
    assert all("redbike-test (by the Sentinels 127.0.0.1:" in line for line in messages(caplog, "is back after"))
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    fleet.close()
