"""Count messages while the broker is away, while beats are killed, and while some entries are bad."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

from benchmarks.bridges.findings import Finding, Sizes
from benchmarks.bridges.sent import Arrivals, Verdict, judge
from benchmarks.bridges.sides import Side, fill, is_there, wait_for
from redbike import Redbike
from redbike.bridges.identity import run_id

_DUE = 500
_BACK_WITHIN_S = 5.0
_KILLED_RATE = 40
_STEADY_RATE = 50
_LATE_S = 0.5
_BURST_S = (0.004, 0.022)  # when two beats send the entries of a second


def down(side: Side, sizes: Sizes) -> list[Finding]:
    """Kill the broker, and start it again, while entries become due."""

    def fault() -> None:
        side.broker.kill()
        time.sleep(sizes.down_s)
        side.broker.start()

    return _outage(side, f"broker down for {sizes.down_s:g} s", sizes.down_s, fault, 0, is_noticed=True)


def frozen(side: Side, sizes: Sizes) -> list[Finding]:
    """Freeze the broker while entries become due. The message in hand may be sent twice, with the same id."""

    def fault() -> None:
        side.broker.freeze()
        time.sleep(sizes.frozen_s)
        side.broker.thaw()

    title, doubles = f"broker frozen for {sizes.frozen_s:g} s", 0 if side.name == "rq" else 1
    is_noticed = sizes.frozen_s > sizes.socket_timeout_s
    return _outage(side, title, sizes.frozen_s, fault, doubles, is_noticed=is_noticed)


def _outage(
    side: Side, title: str, away_s: float, fault: Callable[[], None], doubles: int, *, is_noticed: bool
) -> list[Finding]:
    with side.bike() as bike:
        bike.set("first", "NOW", payload=side.payload())
        side.start_beat()
        wait_for(side.messages, 30, "the first message", side)
        side.broker.client.delete(side.list_key)
        begins = round(bike.now(), 3) + 0.5
        due = [(f"entry-{n}", round(begins + n * away_s / _DUE * 0.9, 3)) for n in range(_DUE)]
        fill(bike, side, "EVERY:1d", (at for _, at in due))
        fault()
        back = wait_for(lambda: is_there(side.broker.client), 10, "the broker")
        last_s = wait_for(lambda: side.messages() >= _DUE, away_s + 90, "all messages", side) - back
        time.sleep(1)  # for messages that should not come
        verdict = judge(side.prefix, side.ids(), due)
    lines = [side.log().count(text) for text in ("is out of reach", "is back after")]
    is_sound = not verdict.missing and not verdict.foreign and verdict.doubled <= doubles
    told, is_told = ("1, 1", lines == [1, 1]) if is_noticed else ("as many", lines[0] == lines[1] <= 1)
    bar = f"{_DUE} sent, {f'at most {doubles}' if doubles else 'none'} twice"
    return [
        Finding(title, verdict.text, bar, is_sound, is_sound),
        Finding(
            f"{title}: the last after its return", f"{last_s:.2f} s", f"{_BACK_WITHIN_S:g} s", last_s <= _BACK_WITHIN_S
        ),
        Finding(f"{title}: log lines, away and back", f"{lines[0]}, {lines[1]}", told, is_told, is_told),
    ]


def killed(side: Side, sizes: Sizes) -> list[Finding]:
    """Kill one of two beats several times, and start a new beat in its place.

    The entries of a second are due at its beginning. The beats are killed while they send these.
    """
    some = random.Random(1)
    with side.bike() as bike:
        jobs = _entries(bike, side, _KILLED_RATE, sizes)
        beats = [side.start_beat() for _ in range(2)]
        wait_for(lambda: side.messages() > _KILLED_RATE, 30, "messages", side)
        for _ in range(sizes.kills):
            now = bike.now()
            time.sleep(int(now) + 2 - now + some.uniform(*_BURST_S))
            number = some.randrange(2)
            beats[number].kill()
            beats[number].wait()
            beats[number] = side.start_beat()
        # A run in hand comes back when its beat counts as dead, or when its lease is over.
        until = bike.now() + min(sizes.lease_s, 30) + 3 * sizes.period_s + 5
        lately = 0
        time.sleep(2 * sizes.period_s + 2)  # so that only runs after the last kill count as lately
        while lately < len(jobs) and bike.now() < until:
            time.sleep(0.5)
            verdict, lately = _judged(side, jobs, bike.now() - 2, sizes)
    stopped = len(jobs) - lately
    doubles = 0 if side.name == "rq" else sizes.kills
    is_sound = not stopped and verdict.doubled <= doubles and not verdict.foreign
    bar = f"none stops, {'none' if not doubles else f'at most {doubles}'} doubled"
    skipped = f"{verdict.sent} sent, {len(verdict.missing)} times skipped, {verdict.doubled} doubled, {stopped} stopped"
    return [Finding(f"{sizes.kills} x kill -9 on two beats, {_KILLED_RATE} a second", skipped, bar, is_sound, is_sound)]


def bad(side: Side, sizes: Sizes) -> list[Finding]:
    """Run bad entries beside a good entry."""
    payloads = side.bad_payloads()
    with side.bike() as bike, Arrivals(side) as arrivals:
        side.start_beat()
        bike.set("first", "NOW", payload=side.payload())
        wait_for(lambda: arrivals.seen, 30, "the first message", side)
        start = float(int(bike.now()) + 2)
        bike.set("good", "EVERY:1s", payload=side.payload(), first=start)
        for number, (name, text) in enumerate(payloads.items()):
            bike.set(name, "EVERY:1s", payload=text, first=start + number * 0.1 - 0.05)
        wait_for(lambda: bike.now() > start + sizes.bad_s, sizes.bad_s + 10, "the end", side)
        due = {run_id(side.prefix, "good", start + n): start + n for n in range(int(sizes.bad_s) + 5)}
        late_s = {due[one]: at - due[one] for one, at in arrivals.seen if one in due}
        details = {name: bike.details(name) for name in payloads}
        missing = [at for at in due.values() if at < start + sizes.bad_s - 1 and at not in late_s]
    reasons = {name: str((found["last_run"] or {}).get("error") or "") for name, found in details.items()}  # type: ignore[attr-defined]
    good = [name for name, found in details.items() if str(found["status"]).startswith("BAD") and reasons[name]]
    wrong = sorted(set(payloads) - set(good))
    is_late = max(late_s.values()) > _LATE_S
    title = f"{len(payloads)} bad entries beside a good entry"
    told = f"{len(good)} BAD" + (f", but not {wrong[0]}" if wrong else "")
    return [
        Finding(f"{title}: BAD with a reason", told, f"{len(payloads)}", not wrong, not wrong),
        Finding("the good entry beside them: runs missing", f"{len(missing)}", "0", not missing, not missing),
        Finding(
            "the good entry beside them: latest",
            f"{1000 * max(late_s.values()):.0f} ms",
            f"{1000 * _LATE_S:g} ms",
            not is_late,
        ),
    ]


def steady(side: Side, sizes: Sizes) -> list[Finding]:
    """Let three beats share entries for a while."""
    with side.bike() as bike:
        jobs = _entries(bike, side, _STEADY_RATE, sizes)
        for _ in range(3):
            side.start_beat()
        wait_for(side.messages, 30, "messages", side)
        time.sleep(sizes.steady_s)
        until = bike.now() - 2
    verdict, _ = _judged(side, jobs, until, sizes)
    is_sound = not verdict.missing and not verdict.doubled and not verdict.foreign
    title = f"three beats, {_STEADY_RATE} a second, {sizes.steady_s:g} s"
    return [Finding(title, verdict.text, "0 missing, 0 doubled", is_sound, is_sound)]


def _entries(bike: Redbike, side: Side, rate: int, sizes: Sizes) -> dict[str, float]:
    """Set entries that send so many messages a second. Return the first run of each."""
    now = round(bike.now(), 3) + 1
    count = rate * sizes.period_s
    jobs = {f"entry-{n}": float(int(now) + n * sizes.period_s // count) for n in range(count)}
    rule = f"RRULE:FREQ=SECONDLY;INTERVAL={sizes.period_s}"
    bike.set_many(
        (job, f"DTSTART:{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%S}\n{rule}", side.payload(), at)
        for job, at in jobs.items()
    )
    return jobs


def _judged(side: Side, jobs: dict[str, float], until: float, sizes: Sizes) -> tuple[Verdict, int]:
    """Return the verdict on the runs up to a time, and how many jobs were sent in the last two periods before it."""
    ids = side.ids()
    due, allowed, lately = [], [], set()
    found = set(ids)
    for job, first in jobs.items():
        at = first
        while at < until + 60:
            (due if at <= until else allowed).append((job, at))
            if until - 2 * sizes.period_s < at and run_id(side.prefix, job, at) in found:
                lately.add(job)
            at += sizes.period_s
    return judge(side.prefix, ids, due, allowed), len(lately)
