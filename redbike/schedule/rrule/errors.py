"""The error of this package, how its texts quote a value, and the limit on the work for one question."""

_SHOWN_CHARS = 40


class BadRecurrence(ValueError):
    """The text is not a valid recurrence. ``str(error)`` is the reason, in one line."""


class Unfound(BadRecurrence):
    """The budget of a question is used up. There is no run before the wall time `searched_to`, unless that is None."""

    def __init__(self, reason: str, searched_to: int | None) -> None:
        super().__init__(reason)
        self.searched_to = searched_to


class Budget:
    """The work that one question may cost, in steps of about a microsecond. All rules of a recurrence share it.

    Some rules match once in millennia, or never. Steps are counted, not time, so that every machine gives the
    same answer. Every loop whose length depends on the text charges for its rounds.
    """

    LIMIT = 30_000

    __slots__ = ("left", "reserve")

    def __init__(self) -> None:
        self.left = self.LIMIT
        # Steps that the search of one rule of a set must leave to the other rules.
        self.reserve = 0

    def spend(self, steps: int, searched_to: int | None = None) -> None:
        """Charge for work. Raise Unfound if the budget is used up; there is no run before `searched_to`."""
        self.left -= steps
        if self.left < self.reserve:
            raise Unfound(
                f"no run found within {self.LIMIT} steps of search: the rule matches too rarely, "
                "or its matches are excluded; simplify it",
                searched_to,
            )


def shown(text: str) -> str:
    """Return the text as a one-line message may show it: quoted, in ASCII, shortened."""
    return ascii(text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "...")
