"""The functions that an RQ worker runs."""

from pathlib import Path


def report(name: str) -> None:
    """Write the report of this name."""
    note(f"jobs.report({name!r})")


def tidy_up() -> None:
    """Remove old files."""
    note("jobs.tidy_up()")


def note(line: str) -> None:
    """Write what has run into a file that bin/demo shows."""
    with Path("diary.txt").open("a") as diary:
        diary.write(f"{line}\n")
