"""What a schedule does otherwise than its author may expect: `set` and `next` warn in the same words."""

import logging
from pathlib import Path

import pytest
from helpers import utc

from redbike import Redbike, cli, next_runs

NOW = 1_790_000_000  # 2026-09-21 14:13:20 UTC
JOB = "job:A"
PAST, AHEAD = "DTSTART:20260101T090000", "DTSTART:20270101T090000"  # a Thursday and a Friday
BERLIN = "DTSTART;TZID=Europe/Berlin:20260301T090000\nRRULE:FREQ=DAILY"
RESTARTS = "without DTSTART, the recurrence starts again after each run: times drift, and COUNT is never used up"
EACH_MONTH = "YEARLY with BYMONTHDAY runs in each month: add BYMONTH for one month a year"
ALL_WEEK = "YEARLY with BYWEEKNO runs on all seven days of the week: add BYDAY for one day"
BOTH_DAYS = "BYDAY with a plain weekday and a numbered one runs only on days that match both: write two rules"
NUMBERS = "the numbers in BYDAY have no effect in a {} rule: leave them out, or write FREQ=MONTHLY"
NARROWS = "{} in a {} rule only narrows its days; RFC 5545 does not allow it"
FIRST_WEEK = (
    "BYSETPOS counts in the first week from DTSTART, and in RFC 5545 from the beginning of that week: let DTSTART be a"
    " day MO"
)
LAST_WEEKS = "BYWEEKNO=52, 53, -52 and -53 count some days about New Year otherwise than ISO 8601"
TWO_ENDS = "a rule has COUNT and UNTIL: the end that comes first counts; RFC 5545 does not allow both"
TWICE = "a rule has a part twice: the last value counts"
NO_RUN = "DTSTART {} is not a run, because no rule matches it; in RFC 5545 it is the first run"
UNUSED = "EXDATE {}: no run is left out, because there is none then"

WARNINGS = {
    "DTSTART:20200716\nRRULE:FREQ=YEARLY;BYMONTHDAY=16": [EACH_MONTH],
    f"{PAST}\nRRULE:FREQ=DAILY\nEXRULE:FREQ=YEARLY;BYMONTHDAY=16": [EACH_MONTH],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYWEEKNO=20": [ALL_WEEK],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYMONTH=5;BYWEEKNO=20": [ALL_WEEK],
    f"{PAST}\nRRULE:FREQ=MONTHLY;BYDAY=TU,1TU": [BOTH_DAYS],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYDAY=TU,1TU": [BOTH_DAYS],
    f"{PAST}\nRRULE:FREQ=WEEKLY;BYDAY=2MO": [NUMBERS.format("WEEKLY")],
    f"{PAST}\nRRULE:FREQ=DAILY;BYDAY=-1FR": [NUMBERS.format("DAILY")],
    f"{PAST}\nRRULE:FREQ=DAILY;BYWEEKNO=10": [NARROWS.format("BYWEEKNO", "DAILY")],
    f"{PAST}\nRRULE:FREQ=MONTHLY;BYYEARDAY=100": [NARROWS.format("BYYEARDAY", "MONTHLY")],
    f"{PAST}\nRRULE:FREQ=WEEKLY;BYMONTHDAY=13": [NARROWS.format("BYMONTHDAY", "WEEKLY")],
    "DTSTART:20260924T090000\nRRULE:FREQ=WEEKLY;BYDAY=TH,FR;BYSETPOS=1": [FIRST_WEEK],
    f"{PAST}\nRRULE:FREQ=WEEKLY;BYDAY=TH,FR;BYSETPOS=1;COUNT=3000": [FIRST_WEEK],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO": [LAST_WEEKS],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYWEEKNO=-52;BYDAY=MO": [LAST_WEEKS],
    f"{PAST}\nRRULE:FREQ=DAILY;COUNT=9999;UNTIL=20500101": [TWO_ENDS],
    f"{PAST}\nRRULE:FREQ=DAILY;FREQ=WEEKLY": [TWICE],
    f"{AHEAD}\nRRULE:FREQ=MONTHLY;BYDAY=-1MO": [NO_RUN.format("2027-01-01 09:00:00")],
    f"{AHEAD}Z\nRRULE:FREQ=MONTHLY;BYDAY=-1MO": [NO_RUN.format("2027-01-01 09:00:00 UTC")],
    f"{PAST}\nRRULE:FREQ=MONTHLY;BYDAY=-1MO;COUNT=2000": [NO_RUN.format("2026-01-01 09:00:00")],
    "FREQ=DAILY": [RESTARTS],
    "FREQ=DAILY;COUNT=3;BYHOUR=9;BYMINUTE=0;BYSECOND=0": [RESTARTS],
    f"{BERLIN}\nEXDATE:20261225T100000": [UNUSED.format("2026-12-25 10:00:00")],
    f"{BERLIN}\nEXDATE:20261225T090000Z": [UNUSED.format("2026-12-25 09:00:00 UTC")],
    f"{BERLIN}\nEXDATE:20261225T090000,20261226T080000Z,20251225,20261227": [UNUSED.format("2025-12-25")],
    f"{PAST}\nRRULE:FREQ=DAILY\nEXDATE:" + ",".join(f"202610{day}T08" + "0000" for day in range(10, 15)): [
        UNUSED.format("2026-10-10 08:00:00, 2026-10-11 08:00:00, 2026-10-12 08:00:00 and 2 more")
    ],
    # What is usual: nothing to say.
    "NOW": [],
    "EVERY:5m": [],
    "CRON:0 8 * * *": [],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=16": [],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYMONTHDAY=13;BYDAY=FR": [],
    f"{PAST}\nRRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO": [],
    f"{PAST}\nRRULE:FREQ=MONTHLY;BYDAY=-1FR": [],
    f"{PAST}\nRRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1": [],
    f"{PAST}\nRRULE:FREQ=WEEKLY;BYDAY=TH,FR;BYSETPOS=1": [],
    f"{AHEAD}\nRRULE:FREQ=WEEKLY;BYDAY=FR": [],
    "FREQ=WEEKLY;BYDAY=MO;BYHOUR=9;BYMINUTE=0;BYSECOND=0": [],
    f"{BERLIN}\nEXDATE;VALUE=DATE:20261225\nEXDATE:20261226T090000,20261227T080000Z": [],
    f"{PAST}\nRRULE:FREQ=DAILY\nRDATE:20261225T120000\nEXDATE:20261225T120000": [],
}


@pytest.mark.parametrize("text", WARNINGS)
def test_next_warns(text: str) -> None:
    """B5: each departure from RFC 5545 that docs/recurrence.md lists, and an EXDATE that hits nothing, is a warning."""
    preview = next_runs(text, NOW)
    assert preview.reason is None
    others = ("ends after ", "never runs", "the first run is more than a year away", "the clock of ")
    assert [warning for warning in preview.warnings if not warning.startswith(others)] == WARNINGS[text]


@pytest.mark.parametrize("text", WARNINGS)
def test_set_warns(bike: Redbike, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """B5: `set` logs the same warnings, each once, with the job, and returns them in the plan."""
    plan = bike.set(JOB, text, after=NOW)
    assert plan is not None
    assert list(plan.warnings) == WARNINGS[text]
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert logged == [f"job '{JOB}': {warning}" for warning in WARNINGS[text]]


def test_a_schedule_without_a_run(bike: Redbike, caplog: pytest.LogCaptureFixture) -> None:
    """B5: a rule that never runs because of a departure is a warning with the cause, and no word about drift."""
    text = "FREQ=MONTHLY;BYDAY=MO,1TU"
    assert next_runs(text, NOW).warnings == ["never runs: the recurrence has no further run", BOTH_DAYS]
    bike.set(JOB, text)
    assert [record.getMessage() for record in caplog.records] == [
        f"job '{JOB}' will not run: the recurrence has no further run",
        f"job '{JOB}': {BOTH_DAYS}",
    ]


def test_a_bad_schedule_has_no_warnings(bike: Redbike) -> None:
    """B6: a schedule that cannot be read has a reason and no warnings."""
    plan = bike.set(JOB, "FREQ=YEARLY;BYMONTHDAY=16;COUNT=0")
    assert plan is not None
    assert (plan.warnings, plan.reason is None) == ((), False)


def test_a_csv_warns_once(bike: Redbike, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """C3: a CSV logs each warning once, with the first of its jobs."""
    path = tmp_path / "jobs.csv"
    path.write_text("one:A,FREQ=DAILY\ntwo:A,FREQ=HOURLY\nthree:A,EVERY:1h\n")
    bike.load_csv(path)
    assert [record.getMessage() for record in caplog.records] == [f"job 'one:A': {RESTARTS}"]


def test_the_command_set_warns_on_stderr(
    bike: Redbike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: the command `set` logs the warnings, and its exit code is 0."""
    monkeypatch.chdir(tmp_path)
    socket = bike.redis.connection_pool.connection_kwargs["path"]
    (tmp_path / ".redbike.conf").write_text(
        f"[redbike]\nprefix: {bike.prefix}\n[redbike-redis]\nunix_socket_path: {socket}\n"
    )
    assert cli.main(["set", JOB, "DTSTART:20200716\\nRRULE:FREQ=YEARLY;BYMONTHDAY=16"]) == 0
    assert f"job '{JOB}': {EACH_MONTH}" in caplog.text


NEW_YORK = "DTSTART;TZID=America/New_York:20260101T{}\nRRULE:FREQ=DAILY"
SKIPPED = "the clock of America/New_York skips 2026-03-08 02:30: runs at 2026-03-08 03:30:00-04:00 instead"
TWICE_SHOWN = "the clock of America/New_York shows 2026-11-01 01:30 twice: runs once, at 2026-11-01 01:30:00-04:00"


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        (NEW_YORK.format("023000"), utc(2026, 3, 1), [SKIPPED]),
        (NEW_YORK.format("023000") + "\nEXDATE:20260308T073000Z", utc(2026, 3, 1), []),
        (NEW_YORK.format("023000") + "\nEXDATE:20260308T023000Z", utc(2026, 3, 1), [SKIPPED]),
        (NEW_YORK.format("023000") + ";UNTIL=20260308T063000Z", utc(2026, 3, 1), []),
        (NEW_YORK.format("023000") + ";UNTIL=20260308T072959Z", utc(2026, 3, 1), []),
        (NEW_YORK.format("023000") + ";UNTIL=20260308T073000Z", utc(2026, 3, 1), [SKIPPED]),
        (NEW_YORK.format("013000"), utc(2026, 10, 25), [TWICE_SHOWN]),
        (NEW_YORK.format("013000") + "\nEXDATE:20261101T053000Z", utc(2026, 10, 25), []),
        (NEW_YORK.format("013000") + ";UNTIL=20261101T052959Z", utc(2026, 10, 25), []),
        (NEW_YORK.format("013000") + ";UNTIL=20261101T053000Z", utc(2026, 10, 25), [TWICE_SHOWN]),
        # An RDATE in UTC is an instant, whatever the clock in New York shows.
        (NEW_YORK.format("120000") + "\nRDATE:20261101T053000Z", utc(2026, 10, 25), []),
        (NEW_YORK.format("120000") + "\nRDATE:20261101T013000", utc(2026, 10, 25), [TWICE_SHOWN]),
        (
            "DTSTART;TZID=Europe/Berlin:20260101T023000\nRRULE:FREQ=DAILY;UNTIL=20260329T003000Z",
            utc(2026, 3, 20),
            [],
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20260101T023000\nRRULE:FREQ=DAILY;UNTIL=20260329T013000Z",
            utc(2026, 3, 20),
            ["the clock of Europe/Berlin skips 2026-03-29 02:30: runs at 2026-03-29 03:30:00+02:00 instead"],
        ),
    ],
)
def test_times_in_utc_are_no_wall_times(text: str, after: float, expected: list[str]) -> None:
    """B5: a warning of a clock change reads EXDATE, UNTIL and RDATE in UTC as instants."""
    warnings = [warning for warning in next_runs(text, after).warnings if warning.startswith("the clock")]
    assert [warning for warning in warnings if warning[-22:-18] != "2027" and "2027-" not in warning] == expected
