"""The command line of the soak: a round of each fault, then any until the time is up, and a table of what came out."""

import argparse
import json
import platform
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.chaos.arena import Arena
from benchmarks.chaos.faults import FAULTS, play
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.sizes import QUICK, SOAK

HEAD = ("fault", "faults", "occurrences", "lost", "doubled", "stalled", "late p50", "p99", "max ms", "took s")


def main(argv: Sequence[str] | None = None) -> int:
    """Play, print the table; 1 where something was lost, doubled or wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description="Redbike under faults.")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="replay the rounds of this seed")
    parser.add_argument("--minutes", type=float, default=8, metavar="M", help="go on for so long (default 8)")
    parser.add_argument("--faults", default=",".join(FAULTS), metavar="NAME,…", help=f"some of {', '.join(FAULTS)}")
    parser.add_argument("--quick", action="store_true", help="small rounds, each fault once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE")
    options = parser.parse_args(argv)
    names = options.faults.split(",")
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no fault; there are {', '.join(FAULTS)}")
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended
    totals: dict[str, Verdict] = {}
    with Arena() as arena:
        about = f"seed {seed}, {arena.describe()}, Python {platform.python_version()}"
        print(about, flush=True)
        for name, number, verdict in rounds(arena, names, seed, 0 if options.quick else options.minutes, options.quick):
            totals.setdefault(name, Verdict(name)).add(verdict)
            tell(verdict, number)
    print(table(totals.values()))
    for left_out in filter(None, (one.left_out for one in totals.values())):
        print(left_out)
    if options.json:
        options.json.write_text(json.dumps({"about": about, "faults": [asdict(one) for one in totals.values()]}))
    return 0 if all(one.is_sound for one in totals.values()) else 1


def rounds(
    arena: Arena, names: list[str], seed: int, minutes: float, quick: bool
) -> Iterator[tuple[str, int, Verdict]]:
    """One round of each fault, and then small ones at random until the time is up."""
    until = time.monotonic() + 60 * minutes
    numbers = dict.fromkeys(names, 0)
    played = []
    for name in names:
        verdict = play(arena, name, seed, 0, QUICK if quick else SOAK)
        if not verdict.left_out:
            played.append(name)
        yield name, 0, verdict
    rng = random.Random(seed)
    while played and time.monotonic() < until:
        name = rng.choice(played)
        numbers[name] += 1
        yield name, numbers[name], play(arena, name, seed, numbers[name], QUICK)


def tell(verdict: Verdict, number: int) -> None:
    """What is wrong, as soon as it is known."""
    state = "sound" if verdict.is_sound else "NOT SOUND"
    print(verdict.left_out or f"{verdict.fault} {number}: {state}, {verdict.took_s:.1f} s", file=sys.stderr, flush=True)
    if verdict.spared:
        print(f"  not judged: {', '.join(verdict.spared)}", file=sys.stderr, flush=True)
    if verdict.kinds:
        kinds = sorted(verdict.kinds.items(), key=lambda kind: -kind[1])
        print(f"  of {', '.join(f'{kind} {count:,}' for kind, count in kinds)}", file=sys.stderr, flush=True)
    for kind in ("lost", "doubled", "stalled", "complaints"):
        for one in getattr(verdict, kind)[:5]:
            print(f"  {kind}: {one}", file=sys.stderr, flush=True)


def table(verdicts: Iterable[Verdict]) -> str:
    """A line for each fault, and one for all."""
    verdicts = list(verdicts)
    rows = [HEAD, *(row(one) for one in verdicts)]
    total = Verdict("all")
    for one in verdicts:
        if not one.left_out:
            total.add(one)
    rows.append(row(total))
    widths = [max(len(one[column]) for one in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join([one[0].ljust(widths[0]), *map(str.rjust, one[1:], widths[1:])]).rstrip() for one in rows
    )


def row(one: Verdict) -> tuple[str, ...]:
    if one.left_out:
        return (one.fault, "left out", *[""] * (len(HEAD) - 2))
    counts = (one.faults, one.occurrences, len(one.lost), len(one.doubled), len(one.stalled) + len(one.complaints))
    late = [f"{one.lateness_ms(share):,.1f}" if one.lateness_s else "" for share in (0.5, 0.99, 1)]
    return (one.fault, *(f"{count:,}" for count in counts), *late, f"{one.took_s:.0f}")


if __name__ == "__main__":
    sys.exit(main())
