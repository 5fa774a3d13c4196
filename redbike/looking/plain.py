"""Lay an answer out in lines of text: for a terminal as wide as it is, for a pipe in stable columns without cuts.

A line is a list of texts with their tones. All untrusted text is escaped here. rich_table.py adds colours.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from redbike.logs import printable
from redbike.looking.answer import Answer
from redbike.looking.rows import Row
from redbike.looking.sections import sections
from redbike.looking.table import Cell, Column, Section, Tone, cells, columns_of
from redbike.looking.widths import cut, cut_inside, padded, width, wrapped

Line = list[Cell]

_GAP = 2  # blanks between columns
_WIDEST = 60  # blanks are put behind shorter texts of a pipe only: one long text does not move all lines
_LEAST = 6  # columns of a text that is cut
_TITLE = 11
_NO_CELL: Cell = ("-", Tone.DIM)
_OURS = frozenset(Column)
_CALLS = ""  # among the steps: the columns of the worker
_STEPS = (
    # The steps for a narrow terminal: a column, and its least width; 0: the column is left out.
    (Column.JOB, 40),
    (Column.SCHEDULE, 18),
    (Column.LAST, 20),
    (_CALLS, 24),
    (Column.SCHEDULE, 8),
    (Column.LAST, 8),
    (Column.QUEUE, 8),
    (_CALLS, 10),
    (Column.LAST, 0),
    (Column.SCHEDULE, 0),
    (Column.QUEUE, 0),
    (_CALLS, 0),
    (Column.FAILS, 0),
    (Column.JOB, 16),
    (Column.NEXT, 8),
    (Column.STATUS, 7),
    (Column.JOB, _LEAST),
)
_FAILS_GO_AT = 2  # where FAILS goes among these steps if it shows nothing but 0


def lines(answer: Answer, columns: int | None = None) -> Iterator[Line]:
    """Yield the lines of an answer. `columns`: the width of the terminal; None for a pipe."""
    yield from job_lines(answer, columns)
    if not answer.asked.jobids:
        had_table = True
        for section in sections(answer, most=20 if answer.asked.limit else 0):
            if had_table or section.rows:
                yield []
            yield from section_lines(section, columns)
            had_table = bool(section.rows)


def plain_text(line: Line) -> str:
    """Return a line without tones."""
    return "".join(text for text, _ in line).rstrip()


def job_lines(answer: Answer, columns: int | None) -> Iterator[Line]:
    """Yield the head of the table, its rows, and how many jobs were left out."""
    yield from table_lines(answer.rows, answer.overview.now, answer.asked.by_queue, columns)
    left_out = answer.found - len(answer.rows)
    if left_out > 0:
        yield whole([(f"{left_out:,} more of {answer.found:,} jobs: --limit=0 shows all", Tone.DIM)], columns)
    elif not answer.rows and not answer.unknown:
        yield [("no jobs", Tone.DIM)]


def table_lines(rows: Sequence[Row], now: float, by_queue: bool, columns: int | None) -> Iterator[Line]:
    """Yield the head of the table and its rows, in groups if they are grouped by their queues."""
    shown = [column for column in columns_of(rows) if not (by_queue and column == Column.QUEUE)]
    table = [_escaped(cells(row, now), shown) for row in rows]
    naturals = _naturals(shown, table)
    places: dict[str, list[int]] = {}
    for number, column in enumerate(shown):
        places.setdefault(column if column in _OURS else _CALLS, []).append(number)
    steps = [(number, least) for column, least in _STEPS for number in places.get(column, ())]
    if not any(row.failures for row in rows):
        steps.insert(_FAILS_GO_AT, (places[Column.FAILS][0], 0))
    widths = _fitted(naturals, columns, steps)
    yield _row([(column, Tone.HEAD) for column in shown], widths, columns)
    if not by_queue:
        for row in table:
            yield _row(row, widths, columns)
        return
    for queue, group in groupby(zip(rows, table, strict=True), key=lambda pair: pair[0].shown_queue):
        yield whole([(printable(queue) or "-", Tone.HEAD)], columns)
        for _, row in group:
            yield _row(row, widths, columns)


def section_lines(section: Section, columns: int | None) -> Iterator[Line]:
    """Yield the title of a section with its text, and its table."""
    text = printable(section.text)
    title = padded(section.title, _TITLE)
    for part in [text] if columns is None else wrapped(text, max(_LEAST, columns - _TITLE)):
        yield whole([(title, Tone.HEAD), (part, section.tone)], columns)
        title = " " * _TITLE
    if not section.rows:
        return
    indent = _GAP
    table = [[(printable(text), tone) for text, tone in row] for row in section.rows]
    naturals = _naturals(section.heads, table)
    room = None if columns is None else columns - indent
    # The widest columns give way first, the first column last.
    by_width = sorted(range(len(naturals)), key=lambda number: (number == 0, -naturals[number]))
    widths = _fitted(naturals, room, [(number, max(_LEAST, width(section.heads[number]))) for number in by_width])
    for row in [[(head, Tone.DIM) for head in section.heads], *table]:
        yield [(" " * indent, Tone.PLAIN), *_row(row, widths, room)]


def _escaped(found: Mapping[str, Cell], shown: Iterable[str]) -> list[Cell]:
    return [(printable(text), tone) for text, tone in (found.get(column, _NO_CELL) for column in shown)]


def _naturals(heads: Sequence[str], table: Iterable[Sequence[Cell]]) -> list[int]:
    naturals = [*map(width, heads)]
    for row in table:
        for number, (text, _) in enumerate(row):
            naturals[number] = max(naturals[number], width(text))
    return naturals


def _fitted(naturals: Sequence[int], columns: int | None, steps: Iterable[tuple[int, int]]) -> list[int]:
    """Return the widths of columns that fit, 0 for columns that go. Each step makes one column narrower, if needed."""
    if columns is None:
        return [min(natural, _WIDEST) for natural in naturals]
    widths = list(naturals)
    narrowed = []
    for number, least in steps:
        too_wide = sum(widths) + _GAP * (sum(map(bool, widths)) - 1) - columns
        if too_wide <= 0:
            break
        if widths[number] > least:
            widths[number] = max(least, widths[number] - too_wide) if least else 0
            narrowed.append(number)
    # A column that has gone may leave room for those that were narrowed before.
    for number in narrowed:
        room = columns - sum(widths) - _GAP * (sum(map(bool, widths)) - 1)
        if widths[number] and room > 0:
            widths[number] = min(naturals[number], widths[number] + room)
    return widths


def _row(row: Sequence[Cell], widths: Sequence[int], columns: int | None) -> Line:
    """Return the line of a row. The first column, of job ids and names, is cut inside, the others at the end."""
    line: Line = []
    for number, ((text, tone), most) in enumerate(zip(row, widths, strict=True)):
        if not most:
            continue
        if columns is not None:
            text = cut_inside(text, most) if number == 0 else cut(text, most)
        line += [(" " * _GAP if line else "", Tone.PLAIN), (padded(text, most), tone)]
    return whole(line, columns)


def whole(line: Line, columns: int | None) -> Line:
    """Return a line that is no wider than the terminal, without blanks at its end."""
    kept: Line = []
    left = columns
    for text, tone in line:
        if left is not None:
            text = cut(text, left) if text.strip() else text[:left]
            left -= width(text)
        kept.append((text, tone))
    while kept and not kept[-1][0].rstrip():
        kept.pop()
    if kept:
        kept[-1] = (kept[-1][0].rstrip(), kept[-1][1])
    return kept
