"""The one error of this package, and the bound on the work that any question may cause."""


class BadRecurrence(ValueError):
    """The text cannot be a recurrence; ``str(error)`` is the reason, one line."""


class Effort:
    """What one question may cost, in steps of roughly a microsecond; shared by all rules of a recurrence.

    Rules can be written that match once in millennia or never. Counting steps, not time, keeps the
    answer the same on every machine.
    """

    LIMIT = 30_000

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = self.LIMIT

    def spend(self, steps: int) -> None:
        """Raise BadRecurrence once the steps of this question are used up."""
        self.left -= steps
        if self.left < 0:
            raise BadRecurrence(
                f"no run found within {self.LIMIT} steps of search: the rule matches too rarely, "
                "or what it matches is excluded; simplify it"
            )
