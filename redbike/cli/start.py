"""Write the files of `redbike init`: a conf and a worker that run as they are."""

from importlib.resources import files
from pathlib import Path

from redbike.cli.opening import Failure
from redbike.errors import ConfigError

CONF, WORKERS = ".redbike.conf", "workers.py"

_WORKERS_TEXT = '''\
"""The workers of this folder: what jobs do."""

from redbike import RoundRobin


class Greeter(RoundRobin):
    """The queue of a job is the part after the last colon of its id: hello:A goes into the queue of A."""

    def work(self, jobid):
        print("Hello from", jobid, flush=True)
'''

_CHANGES = (
    ("worker: examples.workers:Demo('fast:fast:slow')", "worker: workers:Greeter('A:B')"),
    (" The worker below is in the\n# checkout of Redbike.", " The worker below is in\n# workers.py."),
    ("#on-timeout: drop", "on-timeout: reschedule"),
    ("#on-error: drop", "on-error: reschedule"),
    ("# redbike.conf.example: all settings", "# All settings"),
)
"""How the conf differs from the example."""

_NEXT = f"""\
Wrote {CONF} and {WORKERS}. Next:
  redbike set hello:A EVERY:5
  redbike dispatch &
  redbike work
"""


def write_files() -> str:
    """Write the files to the current folder, and return what to do next. Raise Failure if one of them exists."""
    for name in (CONF, WORKERS):
        if Path(name).exists() or Path(name).is_symlink():
            raise Failure(f"{name}: is there already, and init overwrites nothing; run it in another folder")
    written = []
    try:
        for name, text in ((WORKERS, _WORKERS_TEXT), (CONF, conf_text())):
            with Path(name).open("x", encoding="utf-8") as file:
                written.append(name)
                file.write(text)
    except OSError as error:
        for each in written:
            Path(each).unlink()
        raise Failure(f"{name}: cannot be written ({error.strerror}); run init in a folder of yours") from None
    return _NEXT


def conf_text() -> str:
    """Return the text of the conf: the example, with the worker of `workers.py`, and jobs that go on after failures."""
    text = (files("redbike") / "redbike.conf.example").read_text("utf-8")
    for old, new in _CHANGES:
        text = text.replace(old, new)
    return text


def missing() -> str | None:
    """Return what has to be installed before the files run; None if nothing."""
    from redbike.server.process import server_binary

    try:
        server_binary()
    except ConfigError as error:
        return str(error)
    return None
