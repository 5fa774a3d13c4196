"""Values that other programs write beside ours: looks read on, and an error of the server is never an answer."""

import json

import pytest
from helpers import FUTURE, server_now
from processes import Site

from redbike import Redbike
from redbike.errors import ServerError
from redbike.looking.overview import look
from redbike.looking.recent import Recent
from redbike.looking.rows import Rows, State
from redbike.store.keys import Keys

HUGE = "1" + 400 * "0"


def test_numbers_that_are_none(site: Site, bike: Redbike) -> None:
    """Infinite scores and numbers of 400 digits stop no command, and the output is JSON."""
    keys = Keys(bike.prefix)
    bike.redis.zadd(keys.alive, {"strange": "inf", "other": server_now(bike)})
    bike.redis.hset(keys.processes, "other", f'{{"kind": "worker", "pid": {HUGE}, "since": {HUGE}}}')
    entry = f"{'0' * 28}\n{bike.queue_for('j:A')}\nj:A"
    bike.redis.zadd(keys.running, {entry: "inf", entry.replace("0" * 28, "1" * 28): FUTURE})
    bike.redis.hset(keys.statuses, "j:A", f"WRK:{HUGE}")
    bike.redis.hset(keys.due, "j:A", f"1 1 {HUGE}")
    bike.redis.lpush(bike.queue_for("j:A"), "j:A")
    assert json.loads(site.run("info", "--json").stdout)["running_count"] == 2
    for command in (["info"], ["why"], ["why", "j:A"], ["check"], ["metrics"]):
        answer = site.run(*command)
        assert "Traceback" not in answer.stderr, command
        assert answer.stdout, command


def test_an_error_is_no_answer(bike: Redbike, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that the server refuses fails the look. A planned job is not shown as lost."""
    bike.set("j:A", "EVERY:1h")
    [row] = Rows(bike).all()
    assert row.state is State.PLANNED
    bike.redis.set("foreign", "text")
    monkeypatch.setattr(bike._parts.keys, "timeline", "foreign")
    [row] = Rows(bike).all()  # a key of a wrong type is not an error of the look
    assert row.state is not State.PLANNED
    monkeypatch.undo()
    user = f"user-{bike.prefix}"
    bike.redis.execute_command("ACL", "SETUSER", user, "on", "nopass", "~*", "&*", "+@all", "-zmscore")
    try:
        bike.redis.auth("x", user)
        with pytest.raises(ServerError, match="permission"):
            list(Rows(bike).all())
        with pytest.raises(ServerError):
            Rows(bike).of(["j:A"])
    finally:
        bike.redis.connection_pool.disconnect()
        bike.redis.execute_command("ACL", "DELUSER", user)
        bike.redis.delete("foreign")


def test_many_queues(bike: Redbike) -> None:
    """If there are more than a thousand queues, those of the worker are among those that are shown."""
    names = {queue.name for queue in look(bike, [f"a{number:05}" for number in range(1200)]).queues}
    assert len(names) == 1000
    assert "work-A" in names


def test_many_new_runs(bike: Redbike) -> None:
    """A look that comes late reads all new runs of the history, not one page of them."""
    recent = Recent(bike)
    recent.refresh()
    pipeline = bike.redis.pipeline(transaction=False)
    now = server_now(bike)
    for number in range(5000):
        pipeline.xadd(Keys(bike.prefix).history, {"job": f"j{number}", "run": f"done {now} {now} {now} 1 w:1 "})
    pipeline.execute()
    assert recent.refresh()
    assert len(recent.of_last(3600, now + 1)) == 5000
