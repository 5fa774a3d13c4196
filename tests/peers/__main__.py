"""Put the tests of python-dateutil, cronsim and recurring-ical-events to Redbike's schedules, and print the results.

Exits with 1 if an answer is wrong that no entry of differences.py explains. Where the package index cannot be reached,
nothing is asked, and a line says so.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import calendars, cronsim_tests, dateutil_tests
from .asking import Asker, Skipped, Vector
from .differences import DIFFERENCES
from .judge import Judgement
from .sdists import Sdist, Unreachable, WrongSdist, fetch, texts


@dataclass(frozen=True)
class Source:
    """A peer: its release, the files of it that are read, and how they become questions."""

    sdist: Sdist
    suffix: str
    fewest: int
    answers: Callable[[dict[str, str], Asker], Iterator[Vector | Skipped]]


SOURCES = [
    Source(
        Sdist("python-dateutil", "2.9.0.post0", "37dd54208da7e1cd875388217d5e00ebd4179249f90fb72437e91a35459a0ad3"),
        "tests/test_rrule.py",
        540,
        lambda files, asker: dateutil_tests.answers(next(iter(files.values())), asker),
    ),
    Source(
        Sdist("cronsim", "2.6", "5aab98716ef90ab5ac6be294b2c3965dbf76dc869f048846a0af74ebb506c10d"),
        "tests/test_cronsim.py",
        460,
        lambda files, asker: cronsim_tests.answers(next(iter(files.values())), asker),
    ),
    Source(
        Sdist("recurring-ical-events", "3.8.2", "e731af31d0b7dec5cd47a1defacd8549e2f36fab1c1995e8b9f042822a0acf8e"),
        ".ics",
        5_500,
        lambda files, asker: calendars.answers({PurePosixPath(path).name: text for path, text in files.items()}, asker),
    ),
]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/peers", description="Put the tests of other projects to Redbike.")
    parser.add_argument("--sdists", type=Path, metavar="FOLDER", help="take the archives from here, without a network")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    judgement, asker = Judgement(DIFFERENCES), Asker()
    try:
        with tempfile.TemporaryDirectory(prefix="redbike-peers-") as temporary:
            folder = options.sdists or Path(temporary)
            if options.sdists is None:
                fetch([source.sdist for source in SOURCES], folder)
            for source in SOURCES:
                files = texts(source.sdist, folder, source.suffix)
                title = f"{source.sdist.project} {source.sdist.version}"
                judgement.judge(title, source.fewest, source.answers(files, asker), asker)
    except Unreachable as error:
        print(f"peers: left out, because the package index cannot be reached: {error}")
        return 0
    except WrongSdist as error:
        print(f"peers: failed: {error}")
        return 1
    failures = list(judgement.failures())
    print(*judgement.report(), "", *failures, sep="\n")
    right = sum(tally.right for tally in judgement.tallies)
    meant = sum(tally.explained for tally in judgement.tallies)
    took = time.monotonic() - began
    print(f"peers: {right:,} passed, {meant:,} different as meant, {len(failures):,} failed in {took:.1f}s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
