"""Machines whose clock is wrong and may jump: with libfaketime if it is installed, else with a clock set into Python.

libfaketime (Debian package `libfaketime`) also fakes the clock of C code. LIBFAKETIME names the library if it is not
in a usual place. The monotonic clock stays right, as on a machine whose wall clock is set.
"""

import os
import select
import time
from pathlib import Path

INJECTED_VARIABLE = "REDBIKE_CHAOS_CLOCK"


class WrongClock:
    """A clock that is wrong by the offset in a file."""

    def __init__(self, folder: Path, off_s: float) -> None:
        self._file = folder / f"clock{off_s:+.0f}"
        self.set(off_s)

    def set(self, off_s: float) -> None:
        """Make the clock wrong by so many seconds from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{off_s:+.0f}\n")
        new.replace(self._file)

    def environment(self) -> dict[str, str]:
        """Return the environment of a process with this clock."""
        library = os.environ.get("LIBFAKETIME") or next(
            map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None
        )
        if library is None:
            return {INJECTED_VARIABLE: str(self._file)}
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


def inject() -> None:
    """Give this process a wrong clock, if it should have one and does not use libfaketime."""
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # libfaketime 0.9.10 takes its offset from the deadline of clock_nanosleep(2), by the true monotonic clock as
        # well, which then lies before all time: "Invalid argument". Python sleeps in no other way.
        time.sleep = lambda seconds: select.select([], [], [], seconds) and None
    name = os.environ.get(INJECTED_VARIABLE)
    if name:
        true_time, file = time.time, Path(name)
        time.time = lambda: true_time() + float(file.read_text())
