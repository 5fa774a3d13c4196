"""The command line: each row for Celery or RQ, one table, exit code 1 if a bar is missed."""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import distributions

from benchmarks.bridges import faults, throughput, timing
from benchmarks.bridges.findings import FULL, QUICK, Finding, Sizes, table
from benchmarks.bridges.servers import Server
from benchmarks.bridges.sides import SIDES, Side, StuckError

ROWS: dict[str, Callable[[Side, Sizes], list[Finding]]] = {
    "throughput": throughput.rates,
    "now": timing.now,
    "first": timing.first,
    "down": faults.down,
    "frozen": faults.frozen,
    "killed": faults.killed,
    "bad": faults.bad,
    "idle": timing.idle,
    "steady": faults.steady,
}


def measure(kind: str, row: str, sizes: Sizes) -> list[Finding]:
    """Run one row on separate servers."""
    with Server() as home, Server(keeps=True) as broker, SIDES[kind](home, broker, sizes) as side:
        return ROWS[row](side, sizes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table per bridge. Return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridges", description="Faults and figures of bridges.")
    parser.add_argument("bridge", nargs="?", default="all", choices=[*SIDES, "all"])
    parser.add_argument("--quick", action="store_true", help="short rows: a look, not a result")
    parser.add_argument("--only", metavar="ROW,…", default=",".join(ROWS), help=f"some of {', '.join(ROWS)}")
    options = parser.parse_args(arguments)
    rows = options.only.split(",")
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no row; there are {', '.join(ROWS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the processes are ended
    missed = []
    for kind in SIDES if options.bridge == "all" else [options.bridge]:
        began, load = time.monotonic(), os.getloadavg()[0]
        findings = []
        for row in rows:
            row_began = time.monotonic()
            try:
                findings += measure(kind, row, QUICK if options.quick else FULL)
            except StuckError as error:
                print(error, file=sys.stderr)
                findings.append(Finding(row, "stuck", is_met=False, is_sound=False))
            print(f"{kind}: {row}: {time.monotonic() - row_began:.0f} s", file=sys.stderr, flush=True)
        print(_about(kind, load, time.monotonic() - began))
        print(f"\n{table(findings)}\n", flush=True)
        missed += [f"{kind}: {one.title.strip()}" for one in findings if one.is_met is False or not one.is_sound]
    if missed:
        print("missed:", *missed, sep="\n  ")
    return 1 if missed else 0


def _about(kind: str, load: float, took_s: float) -> str:
    packages = {"celery": ("celery", "kombu", "celery-redbeat"), "rq": ("rq", "rq-rediscron")}[kind]
    there = {found.metadata["Name"].lower(): found.version for found in reversed([*distributions()])}
    used = ", ".join(f"{name} {there.get(name, 'not there')}" for name in (*packages, "redis"))
    return (
        f"{kind}: Python {platform.python_version()}, {used}, {os.cpu_count()} cores,"
        f" load {load:.1f} before and {os.getloadavg()[0]:.1f} after, {took_s:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
