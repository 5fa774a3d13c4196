"""Draw small pictures as SVG: bars per minute, and the durations of the last runs of a job.

They hold no style and no script, only classes, so that a strict policy allows them. All texts in them are escaped.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup, escape

from redbike.looking.recent import FAULTS
from redbike.store.history import Record
from redbike.web.past import Minute

_HEIGHT = 100
_STEP = 10


def bars(
    stacks: Sequence[Sequence[tuple[float, str]]],
    titles: Sequence[str],
    label: str,
    top: float = 0,
    name: str = "bars",
) -> Markup:
    """Return one bar per entry of `stacks`. A bar is made of parts: their heights and classes, from the bottom up.

    `titles`: what each bar means, in words. `label`: what the picture means. `top`: the least height of the scale.
    """
    highest = max([top, *(sum(height for height, _ in stack) for stack in stacks)]) or 1
    drawn = []
    for column, (stack, title) in enumerate(zip(stacks, titles, strict=True)):
        parts, base = [], float(_HEIGHT)
        for height, kind in stack:
            if height <= 0:
                continue
            size = max(2.0, _HEIGHT * height / highest)
            base -= size
            parts.append(
                Markup('<rect x="{}" y="{:.1f}" width="{}" height="{:.1f}" class="{}"/>').format(
                    column * _STEP + 1, max(0.0, base), _STEP - 2, min(size, _HEIGHT), kind
                )
            )
        if parts:
            drawn.append(Markup("<g><title>{}</title>{}</g>").format(title, Markup("").join(parts)))
    return _picture(len(stacks) * _STEP, drawn, label, name)


def _picture(width: int, drawn: Iterable[Markup], label: str, name: str) -> Markup:
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(name, width, _HEIGHT, escape(label), Markup("").join(drawn))


_MOST_QUEUES = 5


def coming_hour(planned: Sequence[tuple[float, str]], start: float) -> dict[str, Any]:
    """Return the picture of the runs that are planned within an hour, by queue."""
    soon = [(max(0, int((at - start) // 60)), queue) for at, queue in planned if at < start + 3600]
    sizes = Counter(queue for _, queue in soon)
    names = [name for name, _ in sorted(sizes.items(), key=lambda one: (-one[1], one[0]))]
    named = {name: f"q{place}" for place, name in enumerate(names[:_MOST_QUEUES])}
    cells = Counter((minute, named.get(queue, "q5")) for minute, queue in soon)
    order = [*named.values(), "q5"]
    stacks = [[(float(cells[minute, name]), name) for name in order] for minute in range(60)]
    totals = [int(sum(height for height, _ in stack)) for stack in stacks]
    titles = [f"{_clock(start + 60 * minute)}: {total} planned" for minute, total in enumerate(totals)]
    legend = [(name, name_class, sizes[name]) for name, name_class in named.items()]
    if len(names) > _MOST_QUEUES:
        legend.append(("other queues", "q5", sum(sizes[name] for name in names[_MOST_QUEUES:])))
    label = f"{sum(totals)} runs are planned within the next hour, {max(totals)} in the fullest minute"
    return {"picture": bars(stacks, titles, label, top=4), "legend": legend, "start": start}


def last_hour(minutes: Sequence[Minute], reaches: float | None) -> dict[str, Any]:
    """Return the pictures of the runs of the last hour, and of how late they started."""
    stacks = [[(float(one.failures), "bad"), (float(one.runs - one.failures), "q0")] for one in minutes]
    titles = [f"{_clock(one.at)}: {one.runs} runs, {one.failures} failed" for one in minutes]
    total, failures = sum(one.runs for one in minutes), sum(one.failures for one in minutes)
    latest = max((one.lateness_s for one in minutes), default=0.0)
    late = [[(one.lateness_s, "late")] if one.runs else [] for one in minutes]
    late_titles = [f"{_clock(one.at)}: started up to {one.lateness_s:.3f} s late" for one in minutes]
    return {
        "runs": bars(stacks, titles, f"{total} runs in the last hour, {failures} of them failed", top=4),
        "lateness": bars(late, late_titles, f"the longest delay was {latest:.3f} s", top=1, name="bars low"),
        "total": total,
        "failures": failures,
        "latest": latest,
        "start": minutes[0].at if minutes else 0.0,
        "since": reaches if reaches is not None and minutes and reaches > minutes[0].at else None,
    }


def durations(records: Sequence[Record]) -> dict[str, Any]:
    """Return the picture of how long the runs of a job took; `records`: the latest first."""
    shown = list(reversed(records))
    took = [max(0.0, record.ended - record.began) for record in shown]
    stacks = [
        [(length, "bad" if record.outcome in FAULTS else "q0")] for length, record in zip(took, shown, strict=True)
    ]
    titles = [
        f"{_clock(record.ended)}: {length:.3f} s, {record.outcome}" for length, record in zip(took, shown, strict=True)
    ]
    longest = max(took, default=0.0)
    empty = max(0, 30 - len(stacks))
    label = f"durations of the last {len(shown)} runs, the longest {longest:.3f} s"
    return {"picture": bars([*[()] * empty, *stacks], [*[""] * empty, *titles], label), "longest": longest}


def _clock(stamp: float) -> str:
    return time.strftime("%H:%M", time.localtime(stamp))
