"""A Celery app whose beat is Redbike.

celery -A proj worker
celery -A proj beat -S redbike
"""

import os
from pathlib import Path

from celery import Celery
from celery.schedules import crontab

app = Celery("proj", broker=os.environ.get("BROKER_URL", "redis://localhost:6379/0"))
app.conf.update(
    task_ignore_result=True,
    # timezone is the zone of crontabs. Celery's default is UTC.
    timezone="Europe/Berlin",
    beat_schedule={
        "report": {"task": "proj.report", "schedule": 3, "args": ["sales"]},
        "tidy up each minute": {"task": "proj.tidy_up", "schedule": crontab()},
        "wake up": {
            "task": "proj.greet",
            "schedule": crontab(hour=7, minute=30, day_of_week="mon-fri"),
            "args": ["you"],
        },
    },
)


@app.task
def report(name: str) -> None:
    """Write the report of this name."""
    note(f"proj.report({name!r})")


@app.task
def tidy_up() -> None:
    """Remove old files."""
    note("proj.tidy_up()")


@app.task
def greet(name: str) -> None:
    """Greet somebody."""
    note(f"proj.greet({name!r})")


def note(line: str) -> None:
    """Write what has run into a file that bin/demo shows."""
    with Path("diary.txt").open("a") as diary:
        diary.write(f"{line}\n")
