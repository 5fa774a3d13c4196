"""The command `load`."""

import os
from contextlib import AbstractContextManager
from typing import Any

from redbike import streams
from redbike.cli.opening import Failure, timestamp
from redbike.cli.opening import opened as opened_bike
from redbike.cli.progress import Progress
from redbike.errors import ScheduleFileError
from redbike.jobfile import FORMS, JobFile, opened, opened_stdin
from redbike.logs import printable
from redbike.syncing.compare import Change
from redbike.syncing.load import Counts, Load

_STDIN = "-"
_LONGEST_NAME = 1_000  # characters


def do_load(arguments: dict[str, Any]) -> None:
    """Set the jobs of a file, or with --sync change what differs. Raise Failure if a job of the file is BAD."""
    output = streams.output()
    path, syncs, dry_run = arguments["<FILE>"], arguments["--sync"], arguments["--dry-run"]
    name = _name(arguments)
    with _opened(path, arguments["--format"]) as file, opened_bike(arguments) as bike, Progress() as bar:
        if syncs and file.is_blank():
            raise ScheduleFileError(
                f"{file.path}: the file is empty, and --sync would unset all its jobs; to unset them, leave a comment"
                " in the file, such as # no jobs"
            )

        def show(change: Change) -> None:
            bar.clear()
            print(printable(change.line()), file=output)

        after = timestamp(arguments, "--after", bike.now)
        task = Load(bike, file, name, after, show=show, progress=bar)
        bar.begin("checked")
        bar.begin("compared" if syncs or dry_run else "set", task.check(unique=syncs))
        counts = task.sync(removes=syncs, dry_run=dry_run) if syncs or dry_run else task.set_all()
        bar.clear()
        print(_summary(counts, syncs, dry_run), file=output)
        if counts.bad:
            raise Failure(
                f"{file.path}: {_are(counts.bad)} BAD: the lines above say why; correct the schedules, and load the"
                " file again"
            )


def _name(arguments: dict[str, Any]) -> str:
    """Return the name to which the jobs belong."""
    name, path = arguments["--name"], arguments["<FILE>"]
    if name is None:
        if path != _STDIN:
            return str(os.path.abspath(path))  # noqa: PTH100 - the text as it is, without links
        if arguments["--sync"]:
            raise Failure("--sync: stdin has no path by which the jobs of the last load are found; add --name=NAME")
        return ""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Failure(
            f"--name: {name[:60]!r} cannot be the name of a load: write 1 to {_LONGEST_NAME} printable characters"
        )
    return str(name)


def _opened(path: str, form: str | None) -> AbstractContextManager[JobFile]:
    if form is not None and form not in FORMS:
        raise Failure(f"--format: {form[:40]!r} is not known: the formats are {' and '.join(FORMS)}")
    return opened_stdin(form) if path == _STDIN else opened(path, form)


def _summary(counts: Counts, syncs: bool, dry_run: bool) -> str:
    if not syncs and not dry_run:
        return f"{counts.rows} set"
    parts = [f"{counts.added} added", f"{counts.changed} changed"]
    parts += [f"{counts.removed} removed"] if syncs else []
    parts += [f"{counts.unchanged} {'unchanged' if syncs else 'set again'}"]
    return ", ".join(parts) + (" (dry run: nothing was changed)" if dry_run else "")


def _are(jobs: int) -> str:
    return "1 job is" if jobs == 1 else f"{jobs} jobs are"
