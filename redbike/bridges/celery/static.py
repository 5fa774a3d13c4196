"""The static entries: `beat_schedule` of the app becomes jobs, as `redbike load --sync` does with a file."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redbike.bridges.celery.writing import Job, first_plan, job_of
from redbike.csvfile import Row
from redbike.engine.planning import check_payload
from redbike.errors import RedbikeError, ScheduleFileError
from redbike.logs import plain
from redbike.schedule.forms import PAUSED
from redbike.store.loaded import Found, Loaded
from redbike.store.text import encode
from redbike.syncing.load import Load
from redbike.syncing.memory import RowsInMemory
from redbike.syncing.notes import Note

if TYPE_CHECKING:
    import celery

    from redbike.bike import Redbike

OWNER = "beat_schedule"
"""The name of the load to which the static entries belong."""

_LOG = plain(logging.getLogger("redbike.bridges"))


def sync(app: "celery.Celery", bike: "Redbike", entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the jobs of the static entries as `entries` says.

    A new entry is set, a changed entry is set again, and an entry that is not in `entries` any more is unset. An entry
    that did not change keeps its next run, and stays paused if somebody has paused it. So a second beat changes
    nothing. An entry that cannot be kept is logged as an error, and its former job stays as it is; the other entries go
    on. An entry that is BAD is planned again, because this version of the app may accept an entry that another version
    refused.
    """
    now, parts = bike.now(), bike._parts
    jobs: list[Job] = []
    rows: list[Row] = []
    kept: set[str] = set()
    for name, entry in entries.items():
        with _left_out(str(name), kept):
            job = job_of(app, str(name), entry, now, is_static=True)
            parts.planner.check(job.name)
            check_payload(job.name, job.payload)
            jobs.append(job)
    names = [job.name for job in jobs]
    found, bad = Loaded(bike.redis, parts.keys, parts.call).found(names, names), _bad(bike, names)
    for number, job in enumerate(jobs, 1):
        with _left_out(job.name, kept):
            rows.append(_row(app, number, job, found[job.name], job.name in bad, now))
    load = Load(bike, RowsInMemory(OWNER, rows, _malformed), OWNER, now)
    load.keep(kept)
    load.check(unique=True)
    counts = load.sync()
    _try_again(bike, rows)
    if counts.added or counts.changed or counts.removed:
        _LOG.info(
            "beat_schedule: %d entries added, %d changed, %d removed, %d unchanged",
            *(counts.added, counts.changed, counts.removed, counts.unchanged),
        )


def _malformed(line: int, fault: str) -> ScheduleFileError:
    return ScheduleFileError(f"{OWNER}: entry {line}: {fault}; no entry was set")


@contextmanager
def _left_out(name: str, kept: set[str]) -> Iterator[None]:
    """Log an exception, also of a schedule class of the project, and keep the job: one entry stops no other."""
    try:
        yield
    except Exception as error:
        told = error if isinstance(error, RedbikeError) else f"entry {name!r}: {type(error).__name__}: {error}"
        _LOG.error("%s; the entry is left out, and a former job of this name stays as it is", told)
        kept.add(name)


def _bad(bike: "Redbike", names: list[str]) -> set[str]:
    """Return the names of the jobs that are BAD."""
    if not names:
        return set()
    statuses: Any = bike._parts.ask(bike.redis.hmget, bike.statuses_key, [encode(name) for name in names])
    return {name for name, status in zip(names, statuses, strict=True) if (status or b"").startswith(b"BAD:")}


def _try_again(bike: "Redbike", rows: list[Row]) -> None:
    """Plan the jobs that are BAD again, by their schedule. The row of a job on CONTINUE has its next run."""
    bad = _bad(bike, [row.jobid for row in rows])
    for row in rows:
        if row.jobid in bad and row.first is not None:
            bike.set(row.jobid, row.schedule, first=row.first)
        elif row.jobid in bad:
            bike.reset(row.jobid)


def _row(app: "celery.Celery", number: int, job: Job, held: Found, is_bad: bool, now: float) -> Row:
    """Return the row of a job. If a text depends on the time of this start, a row without other changes stays as it is.

    These texts are CONTINUE, whose first run is planned here, and a relative interval, which starts at a round time.
    A schedule that has no further run at this time becomes STOP: the next start of a beat asks it again.
    """
    note = Note.of(held.note)
    is_same = held.payload == job.payload and note.owner == OWNER
    if job.needs is not None:
        if is_same and not is_bad and held.text in _unchanged(job.schedule, note):
            return Row(number, job.name, job.schedule, job.payload, float(note.first) if note.first else None)
        # A first run that an earlier start has noted may be over: with it, the job would run at once.
        text, first = first_plan(app, job, now)
        if first is None:
            _LOG.warning("entry %r will not run: its schedule has no further run", job.name)
        return Row(number, job.name, text, job.payload, first)
    text = job.schedule
    if is_same and held.text is not None and _rhythm(text) and _rhythm(held.text) == _rhythm(text):
        text = text[: len(text) - len(text.removeprefix(PAUSED))] + held.text.removeprefix(PAUSED)
    return Row(number, job.name, text, job.payload)


def _unchanged(text: str, note: Note) -> tuple[str, ...]:
    """Return the registered texts that a load leaves as they are: also that of a job that somebody has paused."""
    return (text,) if note.is_paused or text.startswith(PAUSED) else (text, PAUSED + text)


def _rhythm(text: str) -> tuple[str, str] | None:
    """Return the zone and the rule of a relative interval; None for another text. The rest is the time of its start."""
    start, _, rule = text.removeprefix(PAUSED).partition("\n")
    zone, colon, _ = start.rpartition(":")
    return (zone, rule) if colon and zone.startswith("DTSTART;TZID=") and "BY" not in rule else None
