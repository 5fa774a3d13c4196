"""The runs of a schedule, one after the other."""

from redbike.schedule.forms import read


def runs_of(text: str, begin: float, count: int) -> list[float]:
    """Return the next runs of a schedule text, each as planned when the run before ends at its time."""
    found = []
    for _ in range(count):
        due = read(text).again(begin).due_at
        assert due is not None
        found.append(due)
        begin = due
    return found
