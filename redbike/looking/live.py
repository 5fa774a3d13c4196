"""The live view: what is on the screen, and what each key changes. Knows no terminal: it returns lines.

The jobs are in the upper part, and the sections below them, as far as there is room. Tab gives them the whole screen.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence

from redbike.logs import printable
from redbike.looking.answer import Answer, Asked
from redbike.looking.plain import Line, section_lines, table_lines, whole
from redbike.looking.rows import Row
from redbike.looking.sections import sections
from redbike.looking.table import Tone, sorts
from redbike.looking.watcher import Snapshot
from redbike.looking.words import length, moment, plural

_MOST_FILTER = 200  # characters
_ALL = 1_000_000_000  # lines
_STEPS = {
    "up": (-1, ""),
    "k": (-1, ""),
    "down": (1, ""),
    "j": (1, ""),
    "page up": (-1, "page"),
    "page down": (1, "page"),
    " ": (1, "page"),
    "home": (-1, "all"),
    "g": (-1, "all"),
    "end": (1, "all"),
    "G": (1, "all"),
}


class View:
    """The state of the view: filter, order, and how far it is scrolled."""

    def __init__(self, asked: Asked, heads: Sequence[str] = ()) -> None:
        """Begin at the top. `heads`: the names of the columns of the worker."""
        self._asked = asked
        self._sorts = sorts(heads)
        self._filter = ""
        self._is_typing = False
        self._shows_sections = False
        self._offset = 0
        self._page = 1
        self._chosen: list[str] = []
        self._chosen_for: object = None
        self.on_screen: Sequence[str] = ()
        """The ids of the jobs that the last lines showed."""
        self.is_over = False

    def press(self, key: str) -> None:
        """Do what a key says: a character, or the name of a key, such as `up`."""
        if self._is_typing:
            self._type(key)
        elif key == "q":
            self.is_over = True
        elif key == "/":
            self._is_typing = True
        elif key == "s":
            place = self._sorts.index(self._asked.sort.removeprefix("-"))
            self._asked = self._asked._replace(sort=self._sorts[(place + 1) % len(self._sorts)])
        elif key == "S":
            sort = self._asked.sort
            self._asked = self._asked._replace(sort=sort[1:] if sort.startswith("-") else f"-{sort}")
        elif key == "R":
            self._asked = self._asked._replace(by_queue=not self._asked.by_queue)
        elif key == "tab":
            self._shows_sections, self._offset = not self._shows_sections, 0
        elif key == "escape":
            self._filter, self._offset = "", 0
        else:
            way, far = _STEPS.get(key, (0, ""))
            self._offset = max(0, self._offset + way * {"": 1, "page": self._page, "all": _ALL}[far])

    def _type(self, key: str) -> None:
        if key == "enter":
            self._is_typing = False
        elif key == "escape":
            self._is_typing, self._filter = False, ""
        elif key == "backspace":
            self._filter = self._filter[:-1]
        elif len(key) == 1 and key.isprintable() and len(self._filter) < _MOST_FILTER:
            self._filter += key
        self._offset = 0

    def lines(self, seen: Snapshot | None, fault: str | None, columns: int, height: int) -> list[Line]:
        """Return the lines of a screen: `height` of them, none wider than `columns`."""
        if seen is None:
            body: list[Line] = [[(printable(fault) if fault else "looking …", Tone.BAD if fault else Tone.DIM)]]
            return self._screen([("redbike", Tone.HEAD)], body, "q quit", columns, height)
        room = max(1, height - 2)
        rest = self._section_lines(seen, columns)
        if self._shows_sections:
            self._page = room
            self._offset = min(self._offset, max(0, len(rest) - room))
            self.on_screen = ()
            body = rest[self._offset : self._offset + room]
            where = f"lines {self._offset + 1:,} to {self._offset + len(body):,} of {len(rest):,}"
            foot = f"q quit  Tab jobs  ↑↓ scroll   {where}"
        else:
            body, foot = self._jobs(seen, rest, columns, room)
        return self._screen(self._head(seen, fault), body, foot, columns, height)

    def _jobs(self, seen: Snapshot, rest: list[Line], columns: int, room: int) -> tuple[list[Line], str]:
        """Return the table, with the sections as far as there is room, and the last line."""
        jobids = self._choose(seen)
        shown_rest = min(len(rest), max(room // 2, room - len(jobids) - 3))
        most = max(1, room - 1 - (shown_rest + 1 if shown_rest > 0 else 0))
        self._page = most
        # In groups, the names of queues take lines, too.
        self._offset = min(self._offset, max(0, len(jobids) - (1 if self._asked.by_queue else most)))
        rows = self._rows(seen, jobids[self._offset : self._offset + most])
        self.on_screen = [row.jobid for row in rows]
        table = list(table_lines(rows, seen.now, self._asked.by_queue, columns))[: most + 1]
        table += [[] for _ in range(most + 1 - len(table))]
        last = self._offset + len(rows)
        where = f"jobs {self._offset + 1 if rows else 0:,} to {last:,} of {len(jobids):,}"
        foot = f"q quit  / filter  s sort: {self._asked.sort}  ↑↓ scroll  Tab sections   {where}"
        return [*table, [], *rest[:shown_rest]], foot

    def _choose(self, seen: Snapshot) -> list[str]:
        """Return the ids of the jobs that fit, in order. They are chosen again only if something has changed."""
        wanted = (seen.version, self._filter, self._asked)
        if self._chosen_for != wanted:
            rows = self._asked.chosen(seen.by_id.values())
            if self._filter:
                fits = _fitting(self._filter)
                rows = (row for row in rows if fits(row.jobid))
            self._chosen = [row.jobid for row in self._asked.in_order(rows)]
            self._chosen_for = wanted
        return self._chosen

    def _rows(self, seen: Snapshot, jobids: Sequence[str]) -> list[Row]:
        return [row for jobid in jobids if (row := seen.by_id.get(jobid)) is not None]

    def _section_lines(self, seen: Snapshot, columns: int) -> list[Line]:
        if self._asked.jobids:
            return []
        answer = Answer(self._asked, seen.overview, [], 0, seen.tally)
        most = 0 if self._shows_sections else 20
        return [line for section in sections(answer, most) for line in section_lines(section, columns)]

    def _head(self, seen: Snapshot, fault: str | None) -> Line:
        found = seen.overview
        line: Line = [
            (f"redbike {printable(found.prefix)}", Tone.HEAD),
            (f"  {moment(seen.now, seen.now)}  ", Tone.PLAIN),
        ]
        if fault is not None:
            return [*line, (f"{length(seen.now - found.now)} old: {printable(fault)}", Tone.BAD)]
        if found.is_halted:
            line.append(("HALT  ", Tone.BAD))
        if found.hold is not None:
            line.append(("HELD  ", Tone.WARN))
        kinds = [plural(len(found.of_kind(kind)), kind) for kind in ("dispatcher", "worker")]
        return [*line, (f"{plural(found.registered, 'job')}  {', '.join(kinds)}", Tone.PLAIN)]

    def _screen(self, head: Line, body: Sequence[Line], foot: str, columns: int, height: int) -> list[Line]:
        if self._is_typing:
            foot = f"/{printable(self._filter)}▏ Enter keeps the filter, Esc clears it"
        elif self._filter and not self._shows_sections:
            foot = f"/{printable(self._filter)}  Esc clears  {foot}"
        middle = [*body, *([] for _ in range(height))][: max(0, height - 2)]
        if height < 2:
            return [whole(head, columns)]
        return [whole(head, columns), *middle, whole([(foot, Tone.DIM)], columns)]


def _fitting(text: str) -> Callable[[str], object]:
    """Return a test of job ids: a glob if the text has one of *?[, else a part of the id in any case."""
    if any(char in text for char in "*?["):
        return re.compile(fnmatch.translate(text)).match
    lower = text.lower()
    return lambda jobid: lower in jobid.lower()
