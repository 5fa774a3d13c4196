"""Read a crontab: its text becomes rows, one per job, and complaints about everything that cannot become one.

Reads the form of a user's crontab, and with `system` that of /etc/crontab, whose sixth field names a user. Line by
line, as cron does it: a setting is valid for the lines below it. Nothing here raises an exception, whatever the text.
"""

import re
from typing import NamedTuple

from redbike.importers.names import name_of
from redbike.importers.payloads import payload_of, split_command
from redbike.schedule import cron
from redbike.schedule.zones import zone_named
from redbike.store.jobid import jobid_fault

MOST_PAYLOAD_BYTES = 131_071
"""The longest argument that Linux passes to a program, and so the longest command of a job."""

_SETTING = re.compile(r"""(?:"([^"=]+)"|'([^'=]+)'|([A-Za-z_][^\s='"]*))[ \t]*=[ \t]*(.*)""")
_QUOTED = re.compile(r"""(["'])(.*)\1""")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_FIELD = re.compile(r"[\w*/,\-#?~]+", re.ASCII)
_USER = re.compile(r"[A-Za-z_][\w.-]*\$?(?:[:/][\w.:/-]*)?", re.ASCII)
_SINGLE_WITH_STEP = re.compile(r"(?:^|,)(\w+)/(\d+)", re.ASCII)
_SHOWN_CHARS = 60
_EVERY_MINUTE = "@every_minute"
_UTC = ("UTC", "Etc/UTC")

_WITHOUT_COUNTERPART = {
    "MAILTO": "Redbike sends no mail; the output of commands goes to the log of the worker",
    "RANDOM_DELAY": "Redbike starts jobs at their time; put a sleep in front of the command",
    "START_HOURS_RANGE": "Redbike starts jobs at their time; name the hours in the hour field",
}
_FOR_MAILS = ("MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")


class Row(NamedTuple):
    """One job."""

    line: int
    """The number of the line in the crontab, from 1 on."""
    jobid: str
    schedule: str
    payload: str


class Complaint(NamedTuple):
    """A line, or a part of it, that did not become a job, or became something that a reader may not expect."""

    line: int
    text: str
    is_left_out: bool = True
    """False if nothing is left out: the text is a hint."""


def read_crontab(
    text: str, *, queue: str = "A", zone: str = "", system: bool = False, prefix: str = ""
) -> tuple[list[Row], list[Complaint]]:
    """Return the jobs of a crontab, and what is left out of it.

    `queue`: what follows the last colon of each job id. `zone`: the IANA zone of lines without their own zone; "": UTC.
    `prefix`: the beginning of the job ids.
    """
    reader = _Reader(queue, zone, system, prefix)
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        reader.read(number, line.removesuffix("\r").strip(" \t"))
    return reader.rows, reader.complaints


class _Reader:
    """Reads line by line. Holds the settings that are valid for the next lines."""

    def __init__(self, queue: str, zone: str, system: bool, prefix: str) -> None:
        self.rows: list[Row] = []
        self.complaints: list[Complaint] = []
        self._queue, self._system, self._prefix = queue, system, prefix
        self._zone: str | None = zone  # None: the zone that is set cannot be read
        self._has_cron_tz = False
        self._environment: dict[str, str] = {}
        self._shell = "/bin/sh"
        self._jobids: set[str] = set()
        self._numbers: dict[str, int] = {}  # name -> how many jobs have it
        self._users: set[str] = set()
        self._line = 0

    def read(self, number: int, line: str) -> None:
        """Read one line, without blanks around it."""
        self._line = number
        if not line or line.startswith("#"):
            return
        if fault := _fault_of_characters(line):
            self._leave_out(fault)
        elif setting := _SETTING.fullmatch(line):
            self._set(setting[1] or setting[2] or setting[3], setting[4])
        else:
            self._read_job(line)

    def _leave_out(self, text: str) -> None:
        self.complaints.append(Complaint(self._line, text))

    def _hint(self, text: str) -> None:
        self.complaints.append(Complaint(self._line, text, is_left_out=False))

    def _set(self, name: str, value: str) -> None:
        if value.startswith(("'", '"')):
            quoted = _QUOTED.fullmatch(value)
            if quoted is None or quoted[1] in quoted[2]:
                self._leave_out(f"{_shown(name)}: its value has a quote without its other half: write {name}='…'")
                return
            value = quoted[2]
        if name in _WITHOUT_COUNTERPART:
            if value not in ("", "0"):
                self._leave_out(f"{name}={_shown(value)} is left out: {_WITHOUT_COUNTERPART[name]}")
        elif name in _FOR_MAILS:
            self._hint(f"{name} is left out, because Redbike sends no mail")
        elif name == "LOGNAME":
            self._hint("LOGNAME is left out, as cron does: the user of the worker runs the commands")
        elif name == "CRON_TZ":
            self._has_cron_tz = True
            self._set_zone(name, value)
        elif not _NAME.fullmatch(name):
            self._leave_out(f"{_shown(name)} is not a name that a shell can export: write letters, digits and _")
        else:
            self._carry(name, value)

    def _carry(self, name: str, value: str) -> None:
        """Set a variable of the environment of the next commands."""
        if name == "SHELL":
            if not value:
                self._leave_out("SHELL is empty: name a shell, such as SHELL=/bin/bash")
                return
            self._shell = value
        if name == "TZ" and not self._has_cron_tz:
            self._set_zone(name, value)
        self._environment[name] = value

    def _set_zone(self, name: str, value: str) -> None:
        try:
            zone = zone_named(value.removeprefix(":")).key
        except ValueError as error:
            self._zone = None
            self._leave_out(f"{name}={_shown(value)}: {error}; the jobs below are left out")
            return
        self._zone = zone
        if name == "TZ":
            self._hint(
                f"TZ={zone}: the times below are read in this zone; the cron of Debian and Red Hat reads them in the"
                " zone of the machine, and sets TZ for the commands only"
            )

    def _read_job(self, line: str) -> None:
        line = line[1:] if re.match(r"-[\d*@]", line) else line  # some crons: do not log the start
        words = re.split(r"[ \t]+", line, maxsplit=1 if line.startswith("@") else 5)
        count = 1 if line.startswith("@") else 5
        fields, rest = words[:count], "".join(words[count:])
        if line[0].isalpha() or len(fields) < count or (count == 5 and not all(map(_FIELD.fullmatch, fields))):
            self._leave_out(f"{_shown(line)} is neither a job, a setting nor a comment")
            return
        command = self._without_user(rest) if self._system else rest
        if command is None or not self._is_command(command):
            return
        schedule = self._schedule(fields)
        if schedule is not None:
            self._add(schedule, command)

    def _without_user(self, rest: str) -> str | None:
        """Return the command behind the user of a system crontab."""
        user, _, command = rest.partition(" ") if " " in rest.partition("\t")[0] else rest.partition("\t")
        if not _USER.fullmatch(user):
            self._leave_out(f"{_shown(user)} is no user: in this form, the sixth field names the user of the command")
            return None
        if command.strip() and user not in self._users:
            self._users.add(user)
            self._leave_out(
                f"user {user!r} is left out: the user of the worker runs the commands; for another user, import these"
                " lines with --queue into a queue of that user's worker"
            )
        return command.lstrip(" \t")

    def _is_command(self, command: str) -> bool:
        if not command.strip():
            self._leave_out("there is no command behind the times")
        elif re.match(r"-[nqs]+[ \t]", command):
            self._leave_out(f"{_shown(command)}: Redbike has no counterpart to the options before the command")
        else:
            if not self._system and re.match(r"root[ \t]+\S", command):
                self._hint("'root' looks like the user of a system crontab: --system reads that form")
            return True
        return False

    def _schedule(self, fields: list[str]) -> str | None:
        """Return the schedule of a line. None if it has none: then complain."""
        if fields[0].lower() == "@reboot":
            self._leave_out("@reboot has no counterpart, because a job belongs to no machine: use systemd")
            return None
        if self._zone is None:
            self._leave_out("the zone that is set above cannot be read, so the times of this job are not known")
            return None
        expression = "* * * * *" if fields[0].lower() == _EVERY_MINUTE else " ".join(fields)
        if "~" in expression:
            self._leave_out(f"{_shown(expression)}: Redbike has no random times (~): write a number")
            return None
        try:
            cron.parse(expression)
        except ValueError as error:
            self._leave_out(f"{error}")
            return None
        if single := next(filter(None, map(_SINGLE_WITH_STEP.search, fields)), None):
            start, step = single.groups()
            self._hint(f"'{start}/{step}' runs from {start} to the end of the range; some crons ignore this step")
        zone = "" if self._zone in _UTC else self._zone
        return f"CRON:{expression} {zone}".rstrip()

    def _add(self, schedule: str, text: str) -> None:
        command, stdin = split_command(text)
        if not command.strip():
            self._leave_out("there is no command before the percent sign")
            return
        payload = payload_of(command, stdin, self._environment, self._shell, self._environment.get("HOME"))
        if (size := len(payload.encode())) > MOST_PAYLOAD_BYTES:
            self._leave_out(f"a command of {size} bytes: at most {MOST_PAYLOAD_BYTES} can be run; put it into a file")
            return
        jobid = self._new_jobid(command)
        if fault := jobid_fault(jobid):
            self._leave_out(fault)
            return
        self._jobids.add(jobid)
        self.rows.append(Row(self._line, jobid, schedule, payload))

    def _new_jobid(self, command: str) -> str:
        name = f"{self._prefix}-{name_of(command)}".removeprefix("-")
        while True:
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            jobid = f"{name}:{self._queue}" if number == 1 else f"{name}-{number}:{self._queue}"
            if jobid not in self._jobids:
                return jobid


def _fault_of_characters(line: str) -> str | None:
    if "\0" in line:
        return "the line holds a NUL character, which no command can hold"
    try:
        line.encode()
    except UnicodeEncodeError:
        return f"{line[:_SHOWN_CHARS]!a} is not UTF-8; save the file as UTF-8"
    return None


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")
