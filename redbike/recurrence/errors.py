"""The one error of this package, and the bound on the work that any question may cause."""


class BadRecurrence(ValueError):
    """The text cannot be a recurrence; ``str(error)`` is the reason, one line."""


class Unfound(BadRecurrence):
    """The steps of a question are used up. Up to the wall time `searched_to`, where that is known, there is no run."""

    def __init__(self, reason: str, searched_to: int | None) -> None:
        super().__init__(reason)
        self.searched_to = searched_to


class Effort:
    """What one question may cost, in steps of roughly a microsecond; shared by all rules of a recurrence.

    Rules can be written that match once in millennia or never. Counting steps, not time, keeps the
    answer the same on every machine. Every loop whose length depends on the text charges for its rounds.
    """

    LIMIT = 30_000

    __slots__ = ("left", "reserve")

    def __init__(self) -> None:
        self.left = self.LIMIT
        # What the search of one rule of a set leaves to the others.
        self.reserve = 0

    def spend(self, steps: int, searched_to: int | None = None) -> None:
        """Raise Unfound once the steps of this question are used up; `searched_to`: there is no run before then."""
        self.left -= steps
        if self.left < self.reserve:
            raise Unfound(
                f"no run found within {self.LIMIT} steps of search: the rule matches too rarely, "
                "or what it matches is excluded; simplify it",
                searched_to,
            )
