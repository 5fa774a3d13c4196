"""The command line: chooses the measurements and their length, and writes the results as a table and as JSON."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import fleet, idle, latency, round_trips, scale, script_times, setting, throughput
from benchmarks.figures import Comparison, Measurement
from benchmarks.server import NoServerError, PrivateServer
from benchmarks.subjects import YARDSTICK, Subject, SubjectError, checkout_subject, other_checkout, yardstick_subject

GROUPS: dict[str, tuple[Measurement, ...]] = {
    "round_trips": round_trips.MEASUREMENTS,
    "throughput": throughput.MEASUREMENTS,
    "scale": scale.MEASUREMENTS,
    "script_times": script_times.MEASUREMENTS,
    "latency": latency.MEASUREMENTS,
    "idle": idle.MEASUREMENTS,
    "fleet": fleet.MEASUREMENTS,
    "setting": setting.MEASUREMENTS,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table. If something is missing or fails, print the results so far and return 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Redbike against 0.13.1.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"one or more of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="one short round each: a first impression, not a result")
    parser.add_argument(
        "--hiredis", action="store_true", help="let the checkout's client use hiredis, if it is installed"
    )
    parser.add_argument(
        "--beside", type=Path, metavar="CHECKOUT", help="compare with this other checkout instead of 0.13.1"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number of every round to FILE")
    options = parser.parse_args(argv)
    unknown = [name for name in options.groups if name not in GROUPS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not a group of figures; there are {', '.join(GROUPS)}")
    chosen = [one for name in options.groups or GROUPS for one in GROUPS[name]]
    comparisons: list[Comparison] = []
    load_before, failure = os.getloadavg()[0], None
    about = f"{datetime.now():%Y-%m-%d %H:%M}, Python {platform.python_version()}"
    try:
        yardstick = other_checkout(options.beside) if options.beside else yardstick_subject()
        subjects = (yardstick, checkout_subject(options.hiredis))
        with PrivateServer() as server:
            about += f", {server.describe()}"
            for one in chosen:
                comparisons += compare(one, subjects, server, options.quick)
    except (NoServerError, SubjectError) as error:
        failure = str(error)
    about += ", a quick look" if options.quick else ", medians"
    about += ", checkout with hiredis" if options.hiredis else ""
    about += f", {os.cpu_count()} cores, load {load_before:.1f} before and {os.getloadavg()[0]:.1f} after"
    if comparisons:
        print(f"{about}\n\n{table(comparisons, 'before') if options.beside else report(comparisons)}")
    if options.json:
        everything = {"about": about, "figures": [as_json(one) for one in comparisons]}
        options.json.write_text(json.dumps(everything, indent=2) + "\n")
    if failure is not None:
        print(failure, file=sys.stderr)
        return 1
    return 0


def compare(
    measurement: Measurement, subjects: tuple[Subject, Subject], server: PrivateServer, quick: bool
) -> list[Comparison]:
    """Run the rounds. The subjects alternate, and so does the first of them, so that drift affects both equally."""
    numbers: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
    measured = subjects if measurement.compared else subjects[1:]
    arguments = measurement.quick if quick else measurement.full
    for number in range(1 if quick else measurement.rounds):
        for subject in measured if number % 2 == 0 else reversed(measured):
            print(f"{measurement.function} round {number + 1}, {subject.name}", file=sys.stderr)
            server.client.flushall()
            numbers[subject.name].append(subject.measure(measurement.function, server.socket, arguments))
    before, after = (numbers[subject.name] for subject in subjects)
    return [
        Comparison(figure, tuple(one[key] for one in before), tuple(one[key] for one in after))
        for key, figure in measurement.figures.items()
    ]


def report(comparisons: Sequence[Comparison]) -> str:
    """Return the figures with an aim, and whether they meet it; then the other figures."""
    aims = [one for one in comparisons if one.figure.aim]
    others = [one for one in comparisons if not one.figure.aim]
    missed = sum(one.is_met is False for one in aims)
    parts = [f"{len(aims) - missed} of {len(aims)} aims met", table(aims)] if aims else []
    parts += ["Beside these", table(others)] if others else []
    return "\n\n".join(parts)


def table(comparisons: Sequence[Comparison], yardstick: str = YARDSTICK) -> str:
    """Return one line per figure, with aligned columns. The aims apply to a comparison with 0.13.1."""
    rows = [("figure", "unit", yardstick, "checkout", "times better", "aim", "")]
    for one in comparisons:
        times = one.times_better
        rows.append(
            (
                one.figure.title,
                one.figure.unit,
                f"{one.figure.summary(one.yardstick):,.5g}" if one.yardstick else "-",
                f"{one.figure.summary(one.checkout):,.5g}",
                f"{times:,.3g}" if times is not None else "",
                one.figure.aim if yardstick == YARDSTICK else "",
                {True: "met", False: "MISSED", None: ""}[one.is_met if yardstick == YARDSTICK else None],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(_aligned(row, widths)).rstrip() for row in rows)


def as_json(one: Comparison) -> dict[str, Any]:
    """Return all results of one figure."""
    return {
        "title": one.figure.title,
        "unit": one.figure.unit,
        "better": one.figure.better,
        YARDSTICK: one.yardstick,
        "checkout": one.checkout,
        "times_better": one.times_better,
        "aim": one.figure.aim,
        "met": one.is_met,
    }


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = (2, 3, 4)
    return [
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


if __name__ == "__main__":
    sys.exit(main())
