"""The differences that are meant: where Redbike answers otherwise than a peer, each with its reason.

Each entry must be met by a vector. An entry that nothing meets any more is out of date, and fails the run.
"""

import re
from dataclasses import dataclass

from .asking import Vector


@dataclass(frozen=True)
class Difference:
    """Vectors whose name and whose answer of Redbike match these patterns differ for this reason."""

    source: str
    name: str
    got: str
    reason: str
    pending: bool = False
    """True while a change of Redbike is about to come: the entry may be met or not."""

    def explains(self, vector: Vector) -> bool:
        return (
            vector.source == self.source
            and re.fullmatch(self.name, vector.name) is not None
            and re.search(self.got, vector.got) is not None
        )


DIFFERENCES = [
    Difference(
        "python-dateutil",
        r"RRuleTest\.testCountZero",
        r"refused: .*COUNT='0' is out of range",
        "values out of range are BAD: a COUNT below 1 is a mistake, not a schedule without runs",
    ),
    Difference(
        "recurring-ical-events",
        r"issue_128_only_first_event\.ics, \d+(, small hours)?",
        r"refused: .*COUNT='-1' is out of range",
        "values out of range are BAD: a COUNT below 1 is a mistake, not a schedule without runs",
    ),
    Difference(
        "python-dateutil",
        r"RRuleTest\.testStrUntilMustBeUTC",
        r"accepted: ",
        "an UNTIL without a zone is in the zone of DTSTART; python-dateutil asks for UTC, as the RFC does",
    ),
    Difference(
        "cronsim",
        r"TestParse\.test_it_accepts_lw?_with_step",
        r"refused: ",
        "a step after L or LW has no meaning; cronsim ignores it, Redbike refuses it",
    ),
]
