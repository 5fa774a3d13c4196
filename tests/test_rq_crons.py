"""Cron expressions of RQ: croniter, which reads them there, and Redbike find the same next runs."""

import os
import random
from datetime import UTC, datetime

import pytest
from croniter import croniter

from redbike.bridges.rq.crons import cron_text
from redbike.bridges.rq.texts import Wanted
from redbike.schedule.cron import MONTHS, WEEKDAYS
from redbike.schedule.forms import read

MANY = int(os.environ.get("REDBIKE_TEST_CRONS", "300"))
START = datetime(2026, 3, 1, 12, 7, tzinfo=UTC)


def random_term(chance: random.Random, first: int, last: int, names: tuple[str, ...]) -> str:
    def number() -> str:
        return chance.choice(names).lower() if names and chance.random() < 0.4 else str(chance.randint(first, last))

    kind = chance.random()
    if kind < 0.15:
        return f"*/{chance.randint(1, max(2, last // 3))}"
    if kind < 0.55:
        return f"{number()}-{number()}" + (f"/{chance.randint(1, 4)}" if chance.random() < 0.3 else "")
    return f"{chance.randint(first, last)}/{chance.randint(1, 5)}" if kind < 0.65 else number()


def random_field(
    chance: random.Random, first: int, last: int, names: tuple[str, ...] = (), special: tuple[str, ...] = ()
) -> str:
    if chance.random() < 0.4:
        return "*"
    if special and chance.random() < 0.1:
        return chance.choice(special)
    return ",".join(random_term(chance, first, last, names) for _ in range(chance.choice((1, 1, 1, 2, 3))))


def random_expression(chance: random.Random) -> str:
    return " ".join(
        (
            random_field(chance, 0, 59),
            random_field(chance, 0, 23),
            random_field(chance, 1, 31, special=("l", "?")),
            random_field(chance, 1, 12, MONTHS),
            random_field(chance, 0, 7, WEEKDAYS, ("l5", "fri#2", "1#1,3#1", "mon-wed#3", "?")),
        )
    )


def test_random_expressions_run_as_in_rq() -> None:
    """Random expressions that Redbike does not refuse have the runs that RQ's croniter finds."""
    chance, checked = random.Random(20261129), 0
    while checked < MANY:
        expression = random_expression(chance)
        try:
            asked = croniter(expression, START)
            text = cron_text(expression, "UTC")
        except ValueError:
            continue
        schedule, moment = read(text), START.timestamp()
        for _ in range(5):
            try:
                expected = asked.get_next(datetime).timestamp()
            except ValueError:
                break  # croniter finds no more within fifty years
            assert schedule.first(moment).due_at == expected, (expression, text)
            moment = expected
        checked += 1


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("*/5 8-17 * * mon-fri", "*/5 8-17 * * mon-fri"),
        ("  0   6 * * *", "0 6 * * *"),
        ("@daily", "@daily"),
        ("0 22-2 * * *", "0 0,1,2,22,23 * * *"),
        ("0 0 * * fri-mon", "0 0 * * 0,1,5,6"),
        ("0 0 */10 * fri", "0 0 1,11,21,31 * fri"),
        ("0 0 1,15 * */3", "0 0 1,15 * 0,3,6"),
        ("0 0 ? * 5-7", "0 0 * * 0,5,6"),
        ("0 0 l * *", "0 0 l * *"),
        ("0 0 * * l5", "0 0 * * 5L"),
        ("0 0 * * mon-wed#3", "0 0 * * 1#3,2#3,3#3"),
        ("0 0 * * 0-7", "0 0 * * *"),
        ("30 4 * * 1 0", "30 4 * * 1"),
    ],
)
def test_fields_are_kept_where_cron_reads_the_same(expression: str, text: str) -> None:
    """The text has the fields as they are written, or numbers where cron would read them otherwise."""
    assert cron_text(expression, "Europe/Berlin") == f"CRON:{text} Europe/Berlin"


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * *", "it has 4 fields, not five"),
        ("* * * * * 30", "it has 6 fields, not five: Redbike has no field for seconds"),
        ("* * * * * 0 2027", "it has 7 fields, not five: Redbike has no field for seconds or years"),
        ("H * * * *", "minute: 'H' is a time that RQ chooses; write a fixed time"),
        ("0 r(2-4) * * *", "hour: 'r(2-4)' is a time that RQ chooses"),
        ("0 0 15w * *", "day of month: '15W' is not a number from 1 to 31"),
        ("0 0 13 * fri#2", "both restrict, and one is an nth or last weekday: write two jobs"),
        ("0 0 13 * l5", "both restrict"),
        ("5-5 * * * *", "minute: 5-5 begins where it ends; write 5 or *"),
        ("0 22-2/3 * * *", "hour: 22-2/3 goes round with a step; write the numbers"),
        ("*/0 * * * *", "minute: '*/0' has the step 0"),
        ("61 * * * *", "minute: '61' is not a number from 0 to 59"),
        ("0 0 31 2 *", "31"),
        ("a-b-c * * * *", "minute: 'A-B-C' cannot be read: write numbers"),
    ],
)
def test_an_expression_that_cannot_be_said(expression: str, reason: str) -> None:
    """The message names the expression, the field and the way out."""
    with pytest.raises(ValueError, match=r"^cron expression ") as error:
        cron_text(expression, "UTC")
    assert repr(expression) in str(error.value)
    assert reason in str(error.value)


def test_a_registered_job_has_this_text() -> None:
    """The scheduler for RQ reads the expressions of its users as RQ does."""
    wanted = Wanted(None, "0 22-2 * * fri-mon", None, "Asia/Tokyo")
    wanted.check()
    assert wanted.text(0) == "CRON:0 0,1,2,22,23 * * 0,1,5,6 Asia/Tokyo"
