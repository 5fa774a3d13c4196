"""The commands that show one job, and past runs."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from redbike import streams
from redbike.cli.opening import Arguments, Failure, count, opened, say_unknown, timestamp
from redbike.engine.outcome import Outcome
from redbike.logs import printable
from redbike.looking.calls import Calls
from redbike.looking.rows import BROKERS_QUEUE
from redbike.store.history import Record

_MOST = 100_000_000
_FOLLOW_S = 0.5  # the longest wait of one read; between two reads, Ctrl-C ends the command


def do_show(arguments: Arguments) -> None:
    """Print all that is known of one job, for people or as JSON."""
    output = streams.output()
    with opened(arguments, looks=True) as bike:
        jobid = arguments["<JOBID>"]
        found = Calls(bike).add_to(bike.details(jobid))
        if arguments["--json"]:
            print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False), file=output)
        else:
            for name, value in _lines(found):
                print(f"{name:<12} {printable(value)}", file=output)
        if found["status"] is None and found["schedule"] is None and not found["working"]:
            say_unknown(bike, jobid)


def do_history(arguments: Arguments) -> None:
    """Print past runs, the latest last."""
    output, outcome = streams.output(), arguments["--outcome"]
    if outcome is not None and outcome not in list(Outcome):
        raise Failure(f"--outcome: {outcome!r} is not one of {', '.join(Outcome)}")
    with opened(arguments, looks=True) as bike:
        most = count(arguments, _MOST, 20)
        since = timestamp(arguments, "--since", bike.now)
        last = bike.newest_record() if arguments["--follow"] else ""
        found: list[Record] = []
        for record in bike.get_history(arguments["<JOBID>"], since, outcome, last or None):
            found.append(record)
            if len(found) == most:
                break
        for record in reversed(found):
            _print(record, arguments, output)
        while last:
            last, records = bike.follow_history(last, _FOLLOW_S)
            for record in records:
                if arguments["<JOBID>"] in (None, record.jobid) and outcome in (None, record.outcome):
                    _print(record, arguments, output)


def _print(record: Record, arguments: Arguments, output: Any) -> None:
    if arguments["--json"]:
        line = json.dumps(record._asdict(), ensure_ascii=False)
    else:
        late_s = max(0.0, record.began - record.due)
        line = printable(
            f"{_moment(record.ended)}  {record.outcome:<7}  {record.ended - record.began:8.3f} s  late {late_s:.3f} s"
            f"  {record.jobid}"
            + (f"  attempt {record.attempt}" if record.attempt > 1 else "")
            + (f"  {record.error}" if record.error else "")
        )
    print(line, file=output, flush=True)


def _lines(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values, for people."""
    lines = [("schedule", (found["schedule"] or "-").replace("\n", "\\n"))]
    event, _, at = (found["status"] or "").partition(":")
    lines.append(("status", f"{_EVENTS.get(event, event)} since {_moment(float(at))}" if at.isdigit() else "-"))
    if found["next_run"] is not None:
        lines.append(("next run", _moment(found["next_run"])))
    lines.append(("running", "yes" if found["working"] else "no"))
    position = found["position"]
    where = "" if position is None else f", {position} before it"
    lines.append(("queue", f"{found['queue']}{where}{', held' if found['queue_held'] else ''}"))
    lines += [(head.lower(), text) for head, text in _calls(found.get("calls", {}))]
    if (payload := found["payload"]) is not None:
        lines.append(("payload", payload if len(payload) <= 200 else f"{payload[:200]}… ({len(payload)} characters)"))
    if (pause := found["pause"]) is not None:
        since = f" since {_moment(pause['since'])}" if isinstance(pause.get("since"), float | int) else ""
        until = f" until {_moment(pause['until'])}" if pause["until"] is not None else ""
        note = f": {pause['note']}" if pause.get("note") else ""
        lines.append(("paused", f"by {pause.get('by', '?')}{since}{until}{note}"))
    if (last := found["last_run"]) is not None:
        took = f"{_moment(last['began'])}, {last['ended'] - last['began']:.3f} s, {last['outcome']}"
        lines += [("last run", took), ("runs", str(last["count"]))]
        if last["failures"]:
            lines.append(("failures", f"{last['failures']} in a row: {last['error']}"))
    return lines


def _calls(cells: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the names and the texts of what a job calls. Another line shows its queue of Redbike."""
    return [("sends to" if head == BROKERS_QUEUE else head, text) for head, text in cells.items() if text]


_EVENTS = {
    "TML": "planned",
    "ENQ": "queued",
    "BAD": "BAD",
    "WRK": "picked up by a worker",
    "STP": "stopped",
    "DIE": "failed",
}


def _moment(stamp: float) -> str:
    """Return a time on the clock of this machine."""
    try:
        return datetime.fromtimestamp(stamp).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return str(stamp)
