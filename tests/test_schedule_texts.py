"""The schedule texts that people have: what is read, and in which words the rest is refused."""

import pytest
from helpers import utc

from redbike import cli, next_runs

NOW = 1_790_000_000  # 2026-09-21 14:13:20 UTC
DAILY = "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0"
START = "DTSTART:20260101T090000"
BERLIN = "DTSTART;TZID=Europe/Berlin:20260301T090000\nRRULE:FREQ=DAILY"


def runs(schedule: str, after: float = NOW, count: int = 3) -> list[str]:
    preview = next_runs(schedule, after, count)
    assert preview.reason is None
    return [f"{run:%m-%d %H:%M}" for run in preview.runs]


def reason(schedule: str) -> str:
    """Why a schedule is refused, without the words that quote the schedule."""
    whole = next_runs(schedule, NOW).reason
    assert whole is not None
    assert "\n" not in whole
    assert whole.startswith("schedule ")
    return whole


# Cron expressions


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("0 13-13/3 * * *", ["09-22 13:00", "09-23 13:00", "09-24 13:00"]),
        ("0 5-5/10 * * *", ["09-22 05:00", "09-23 05:00", "09-24 05:00"]),
        ("0 5-05/10 * * *", ["09-22 05:00", "09-23 05:00", "09-24 05:00"]),
        ("0 0-0/7 * * *", ["09-22 00:00", "09-23 00:00", "09-24 00:00"]),
        ("5-5/20,50 16 * * *", ["09-21 16:05", "09-21 16:50", "09-22 16:05"]),
        ("0 8 * * fri-FRI/2", ["09-25 08:00", "10-02 08:00", "10-09 08:00"]),
        ("0 8 * * sun-0/2", ["09-27 08:00", "10-04 08:00", "10-11 08:00"]),
        ("0 8 1 jan-1/3 *", ["01-01 08:00", "01-01 08:00", "01-01 08:00"]),
        # A number with a step means from there to the end, as cronsim reads it.
        ("0 13/3 * * *", ["09-21 16:00", "09-21 19:00", "09-21 22:00"]),
        ("0 13-18/3 * * *", ["09-21 16:00", "09-22 13:00", "09-22 16:00"]),
    ],
)
def test_a_step_stays_within_its_range(fields: str, expected: list[str]) -> None:
    """B5: the step of a range leads to no time outside of the range, also if the range is a single number."""
    assert runs(f"CRON:{fields}") == expected


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@Daily", "0 0 * * *"),
        ("@daily Europe/Berlin", "0 0 * * * Europe/Berlin"),
        ("CRON_TZ=Europe/Berlin 0 8 * * *", "0 8 * * * Europe/Berlin"),
        ("TZ=Europe/Berlin 0 8 * * *", "0 8 * * * Europe/Berlin"),
        ("CRON_TZ='Asia/Tokyo' @daily", "0 0 * * * Asia/Tokyo"),
    ],
)
def test_names_and_zones_of_crontabs(name: str, fields: str) -> None:
    """Names such as @daily stand for their fields, and CRON_TZ= or TZ= before the fields is the zone."""
    theirs, ours = next_runs(f"CRON:{name}", NOW), next_runs(f"CRON:{fields}", NOW)
    assert theirs.reason is None
    assert (theirs.runs, theirs.zone) == (ours.runs, ours.zone)


CRON_REASONS = {
    "0 25 * * *": "the hour field '25' is not valid: write numbers from 0 to 23",
    "0 8 * foo *": "the month field 'foo' is not valid: write numbers from 1 to 12, or names such as JAN",
    "0 8 * * monday": "the day-of-week field 'monday' is not valid: write numbers from 0 to 7, or names such as MON",
    "0 8 * * mon#6": "the day-of-week field 'mon#6' is not valid",
    "0 8 * * 9L": "the day-of-week field '9L' is not valid",
    "0 8 15W * *": "the day-of-month field '15W' is not valid: write numbers from 1 to 31",
    "0 8 ? * mon": "the day-of-month field '?' is not valid: write * in place of ?",
    "*/0 * * * *": "the minute field '*/0' is not valid: the step '0' is not a number from 1 on",
    "*/x * * * *": "the step 'X' is not a number from 1 on",
    "1,,2 * * * *": "the minute field '1,,2' is not valid: a comma has no value beside it",
    "0 22-6 * * *": "the hour field '22-6' is not valid: the range runs backwards: write 22-23,0-6",
    "0 8 * * sat-mon": "the range runs backwards: write SAT-6,0-MON",
    "0 0 L/2 * *": "the day-of-month field 'L/2' is not valid: L is a single day and takes no step: write L",
    "0 0 1,LW/2 * *": "LW is a single day and takes no step: write LW",
    "0 0 30 2 *": "never comes: no month of the month field '2' has a day of the day-of-month field '30'",
    "0 0 31 2,4,6 *": "never comes: no month of the month field '2,4,6' has a day of the day-of-month field '31'",
    "0 0 8 * * *": "six fields: there is none for seconds or years; leave it out, and keep five (minute, hour,"
    " day-of-month, month, day-of-week), such as '0 8 * * *'",
    "0 8 * * * 2026": "such as '0 8 * * *'",
    "0 0 8 * * mon-fri Europe/Berlin": "six fields",
    "1, 15 * * * *": "a blank in a list: write '1,15' without the blank",
    "0 8 * * mon ,fri": "a blank in a list: write 'mon,fri' without the blank",
    "0 8 * * * Europe/Berln": "'Europe/Berln' is not a time zone of the IANA database, such as Europe/Berlin",
    "0 8 * * * Berlin": "'Berlin' is not a time zone of the IANA database: write Europe/Berlin",
    "0 8 * * * W. Europe Standard Time": "'W. Europe Standard Time' is the name of a zone in Windows: write"
    " Europe/Berlin",
    "0 8 * * * /usr/bin/backup": "only a zone may follow the five fields: '/usr/bin/backup' is not a time zone",
    "TZ=Mars/Olympus 0 8 * * *": "'Mars/Olympus' is not a time zone of the IANA database",
    'TZ="Eastern Standard Time" 0 8 * * *': "'Eastern Standard Time' is the name of a zone in Windows: write",
    "CRON_TZ= 0 8 * * *": "'' is not a time zone",
    "TZ=UTC 0 8 * * * Europe/Berlin": "a zone stands before the fields and another behind them: leave out one",
    "TZ=UTC 0 8 * *": "five fields are needed (minute, hour, day-of-month, month, day-of-week) after the zone, not 4",
    "@dayly": "'@dayly' is not known; known are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually: did"
    " you mean @daily?",
    "@reboot": "'@reboot' has no meaning here: write NOW for one run",
    "@daily at eight": "only a zone may follow the five fields: 'at eight' is not a time zone",
}


@pytest.mark.parametrize("fields", CRON_REASONS)
def test_why_a_cron_expression_is_refused(fields: str) -> None:
    """B6: the reason names the field, its value and what to write, also if the text is of another kind of cron."""
    assert CRON_REASONS[fields] in reason(f"CRON:{fields}")


# Recurrences


@pytest.mark.parametrize(
    "text",
    [
        f"RRULE:{DAILY};",
        f"RRULE:;{DAILY}",
        f"RRULE:;;{DAILY};;",
        DAILY.replace(";", ";;"),
        f"RRULE: {DAILY}",
        DAILY.replace(";", "; "),
        DAILY.replace("=", " = "),
        f"{START};\nRRULE:FREQ=DAILY;",
        f"{START}; RRULE:FREQ=DAILY;",
        "DTSTART: 20260101T090000\nRRULE: FREQ=DAILY",
        "DTSTART;:20260101T090000\nRRULE:FREQ=DAILY",
        # Lines that are folded as in RFC 5545, 3.1, and lines that are only indented.
        f"{START}\r\nRRULE:FREQ=DAI\r\n LY;INTER\r\n\tVAL=1\r\n",
        "DTSTART:2026010\n 1T090000\nRRULE:FREQ=DAILY",
        "DTSTART:\n 20260101T090000\nRRULE:\n FREQ=DAILY",
        f"{START}\nRRULE:INTERVAL=1;  \n FREQ=DAILY",
        f"{START}\n RRULE:FREQ=DAILY",
        f"{START}\n    FREQ=DAILY",
        f"{START}\nRRULE:FREQ=DAILY\nEXDATE:\nRDATE:",
        f"EXDATE:\nRDATE:\n{START}\nRRULE:FREQ=DAILY",
        f"{START}\nRRULE:FREQ=DAILY\nEXDATE;TZID=Europe/Berlin:",
        f"{START}\nEXDATE: RRULE:FREQ=DAILY",
        f"{START}\nRRULE:FREQ=WEEKLY;BYDAY=MO, TU,\tWE,TH,\n FR,SA,SU",
        "DTSTART:2026-01-01T09:00:00Z\nRRULE:FREQ=DAILY",
        "DTSTART:2026-01-01T09:00\nRRULE:FREQ=DAILY",
        "DTSTART:20260101T100000+0100\nRRULE:FREQ=DAILY",
    ],
)
def test_what_calendars_and_people_write(text: str) -> None:
    """B5: a needless semicolon, blanks, folded lines, an empty EXDATE and dates in ISO 8601 change nothing."""
    assert runs(text) == ["09-22 09:00", "09-23 09:00", "09-24 09:00"]


def test_a_list_of_dates_may_be_folded() -> None:
    """B5: a long EXDATE that is folded, with blanks behind its commas, leaves out all of its dates."""
    text = f"{START}\nRRULE:FREQ=DAILY\nEXDATE:20260922T090000,\n  20260923T09\n 0000, 20260925T090000"
    assert runs(text) == ["09-24 09:00", "09-26 09:00", "09-27 09:00"]


def test_a_period_counts_by_its_start() -> None:
    """B5: an RDATE of periods is a run at the start of each."""
    text = f"{START}\nRDATE;VALUE=PERIOD:20261001T000000Z/PT3H,20261002T100000Z/20261002T110000Z"
    assert runs(text) == ["10-01 00:00", "10-02 10:00"]
    assert "VALUE=PERIOD" in reason(f"{START}\nRRULE:FREQ=DAILY\nEXDATE;VALUE=PERIOD:20261001T000000Z/PT3H")


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        (f"{BERLIN}\nEXDATE;VALUE=DATE:20261225", utc(2026, 12, 24), ["12-24 08:00", "12-26 08:00", "12-27 08:00"]),
        (f"{BERLIN}\nEXDATE:20261225,20261226", utc(2026, 12, 24), ["12-24 08:00", "12-27 08:00", "12-28 08:00"]),
        (f"{BERLIN}\nEXDATE;VALUE=DATE:20261225T000000", utc(2026, 12, 25), ["12-26 08:00", "12-27 08:00"]),
        # The day is that of the zone of the start: 00:30 in Berlin is 22:30 or 23:30 of the day before in UTC.
        (
            "DTSTART;TZID=Europe/Berlin:20260301T003000\nRRULE:FREQ=DAILY\nEXDATE:2026-12-25",
            utc(2026, 12, 23, 12),
            ["12-23 23:30", "12-25 23:30"],
        ),
        (
            "DTSTART:20260301T000000\nRRULE:FREQ=SECONDLY\nEXDATE:20261225,20261226",
            utc(2026, 12, 24, 23, 59, 59),
            ["12-27 00:00"],
        ),
        ("FREQ=HOURLY;BYMINUTE=0;BYSECOND=0\nEXDATE:20260922", utc(2026, 9, 21, 22), ["09-21 23:00", "09-23 00:00"]),
        (f"{START}\nRRULE:FREQ=DAILY\nRDATE:20261225T120000\nEXDATE:20261225", utc(2026, 12, 25), ["12-26 09:00"]),
        # The clock goes back from 00:01 to 23:01: a part of the day before comes after a minute of the excluded day.
        (
            "DTSTART;TZID=America/St_Johns:20060101T000000\nRRULE:FREQ=MINUTELY\nEXDATE:20061029",
            utc(2006, 10, 29, 2, 28),
            ["10-29 02:29", "10-29 02:31", "10-29 02:32"],
        ),
    ],
)  # fmt: skip
def test_a_date_leaves_out_its_whole_day(text: str, after: float, expected: list[str]) -> None:
    """B5: an EXDATE that is a date leaves out each run of that day, in the zone of the start."""
    assert runs(text, after, len(expected)) == expected


RECURRENCE_REASONS = {
    "DTSTART;TZID=W. Europe Standard Time:20260301T090000\nRRULE:FREQ=DAILY": "TZID='W. Europe Standard Time' is the"
    " name of a zone in Windows: write Europe/Berlin",
    'DTSTART;TZID="Eastern Standard Time":20260301T090000\nRRULE:FREQ=DAILY': "TZID='Eastern Standard Time' is the"
    " name of a zone in Windows: write America/New_York",
    "DTSTART;TZID=UTC-11:20260301T090000\nRRULE:FREQ=DAILY": "is the name of a zone in Windows: write Etc/GMT+11",
    "DTSTART;TZID=New York:20260301T090000\nRRULE:FREQ=DAILY": "TZID='New York' is not a time zone of the IANA"
    " database: write America/New_York",
    "DTSTART;TZID=My Own Time:20260301T090000\nRRULE:FREQ=DAILY": "TZID='My Own Time' is not a time zone of the IANA"
    " database, such as Europe/Berlin",
    "DTSTART;TZID=/example.org/2005_1/Europe/Berlin:20260301T090000\nFREQ=DAILY": "IANA database: write Europe/Berlin",
    "DTSTART;TZID=EST:20260301T090000\nRRULE:FREQ=DAILY": "TZID='EST' is an abbreviation, whose clock would never"
    " change: write the zone of a place, such as America/New_York",
    "DTSTART;TZID=mst:20260301T090000\nRRULE:FREQ=DAILY": "such as America/Denver",
    "DTSTART;TZID=localtime:20260301T090000\nRRULE:FREQ=DAILY": "TZID='localtime' means no place: write the zone of a",
    "DTSTART;TZID=posixrules:20260301T090000\nRRULE:FREQ=DAILY": "TZID='posixrules' means no place: write the zone of",
    "DTSTART;TZID=right/Europe/Berlin:20260301T090000\nRRULE:FREQ=DAILY": "means no place",
    "DTSTART:1.2.2026\nFREQ=DAILY": "DTSTART: '1.2.2026' is not a date and time; write it as YYYYMMDDTHHMMSS, or in ISO"
    " 8601",
    "DTSTART:26-1-2\nFREQ=DAILY": "DTSTART: '26-1-2' is not a date and time; write it as YYYYMMDDTHHMMSS, or in ISO",
    "DTSTART:2026-1-2\nFREQ=DAILY": "DTSTART: '2026-1-2' is not a date and time",
    "DTSTART:1/2/2026\nFREQ=DAILY": "DTSTART: '1/2/2026' is not a date and time",
    "DTSTART:2-JAN-2026\nFREQ=DAILY": "DTSTART: '2-JAN-2026' is not a date and time",
    "DTSTART:2026\nFREQ=DAILY": "year, month and day must all be given",
    "DTSTART:2026-01\nFREQ=DAILY": "year, month and day must all be given",
    "DTSTART:2026-W20-1\nFREQ=DAILY": "DTSTART: '2026-W20-1' is not a date and time",
    f"{START}\nRRULE:FREQ=DAILY\nEXDATE:1.2.2026": "EXDATE: '1.2.2026' is not a date and time",
    "RRULE:FREQ=DAILY;UNTIL=1.2.2026": "UNTIL: '1.2.2026' is not a date and time",
    "DTSTART;TZID=Europe/Berlin:20260101T000000\nRRULE:FREQ=MINUTELY;COUNT=5000;INTERVAL=7;BYHOUR=3;BYMONTHDAY=31"
    ";BYMONTH=1": "COUNT=5000 cannot be counted within 30000 steps of search: use a smaller COUNT, or UNTIL",
}


@pytest.mark.parametrize("text", RECURRENCE_REASONS)
def test_why_a_recurrence_is_refused(text: str) -> None:
    """B6: the reason names what is wrong: the zone, and its name in the IANA database; a date; COUNT."""
    assert RECURRENCE_REASONS[text] in reason(text)


# Texts that are no schedule


FORMS = "none of NOW, AT:TIME, CONTINUE, STOP, EVERY:INTERVAL, CRON:EXPRESSION or an iCalendar RRULE"
MEANT = {
    "*/5 * * * *": "CRON:*/5 * * * *",
    "0 8 * * MON-FRI": "CRON:0 8 * * MON-FRI",
    "0 8 * * * Europe/Berlin": "CRON:0 8 * * * Europe/Berlin",
    "CRON_TZ=Europe/Berlin 0 8 * * *": "CRON:CRON_TZ=Europe/Berlin 0 8 * * *",
    "@daily": "CRON:@daily",
    "*/5\n* * * *": "CRON:*/5 * * * *",
    "daily": "CRON:@daily",
    "CRON 0 8 * * *": "CRON:0 8 * * *",
    "CORN:0 8 * * *": "CRON:0 8 * * *",
    "every 5 minutes": "EVERY:5m",
    "every 5m": "EVERY:5m",
    "Every hour": "EVERY:1h",
    "every day": "EVERY:1d",
    "5m": "EVERY:5m",
    "90 seconds": "EVERY:90s",
    "EVERY 2h": "EVERY:2h",
    "EVRY:2h": "EVERY:2h",
    "NWO": "NOW",
    "nwo": "NOW",
    "SOTP": "STOP",
    "CONTINIUE": "CONTINUE",
    "1790000000": "AT:1790000000",
    "2026-12-24T18:00:00+01:00": "AT:2026-12-24T18:00:00+01:00",
    "2026-12-24": "AT:2026-12-24",
    "RRULE FREQ=DAILY": "RRULE:FREQ=DAILY",
}


@pytest.mark.parametrize("text", MEANT)
def test_what_a_text_was_meant_to_be(text: str) -> None:
    """B6: the reason suggests the schedule that the text is near to, and this one can be read."""
    assert reason(text) == f"schedule {text!r} is {FORMS}: did you mean {MEANT[text]}?"
    assert next_runs(MEANT[text], NOW).reason is None


@pytest.mark.parametrize(
    "text", ["garbage", "a b c d e f", "EVERY tuesday", "every 0 minutes", "NWO\n\x1b", "?", "🚲", "x" * 200]
)
def test_a_text_that_is_near_to_nothing(text: str) -> None:
    """B6: a text that looks like no form is refused with the list of forms."""
    assert reason(text).endswith(f" is {FORMS}")


@pytest.mark.parametrize(
    "text",
    ["AT:2026-12-24\n18:00", "AT:2026-13-24\n18:00", r"AT:0001-01-01T00:00:00+14:00\nx", "AT:2026-12-24x18:00"],
)
def test_a_line_break_in_a_time(text: str) -> None:
    """B6: the reason is one line, and only T or a blank separates the date from the time."""
    assert "is not a time in Unix seconds, such as 1790000000, or in ISO 8601" in reason(text)


# The edges


@pytest.mark.parametrize(
    ("text", "after", "lines"),
    [
        (
            "CRON:0 0 * * * America/New_York",
            -62_135_596_800,
            ["1970-01-01 05:00:00 UTC  1970-01-01 00:00:00-05:00"],
        ),
        ("DTSTART;TZID=America/New_York:99991231T233000\nRRULE:FREQ=DAILY", NOW, []),
        (
            "DTSTART;TZID=America/New_York:99991230T233000\nRRULE:FREQ=DAILY",
            NOW,
            ["9999-12-31 04:30:00 UTC  9999-12-30 23:30:00-05:00"],
        ),
        (
            "DTSTART;TZID=Asia/Tokyo:99991231T230000\nRRULE:FREQ=HOURLY\nRDATE:99991231T200000Z",
            NOW,
            ["9999-12-31 14:00:00 UTC  9999-12-31 23:00:00+09:00", "9999-12-31 20:00:00 UTC"],
        ),
        ("DTSTART:09990101T000000\nRRULE:FREQ=DAILY;COUNT=1", -62_135_596_800, ["0999-01-01 00:00:00 UTC"]),
        ("DTSTART;TZID=UTC:00050101T000000\nRRULE:FREQ=DAILY;COUNT=1", -62_135_596_800, ["0005-01-01 00:00:00 UTC"]),
        ("AT:0001-01-01", NOW, ["0001-01-01 00:00:00 UTC"]),
        # The clock in New York shows the last hours of the year 0 at the first instant.
        (
            "DTSTART;TZID=America/New_York:00010101T000000\nRRULE:FREQ=YEARLY;BYMONTH=1;BYSETPOS=1;COUNT=1",
            -62_135_596_800,
            ["0001-01-01 04:56:02 UTC  0001-01-01 00:00:00-04:56:02"],
        ),
    ],
)
def test_the_edges_of_the_calendar(text: str, after: float, lines: list[str]) -> None:
    """B5: runs lie in the years 1 to 9999 of UTC, whatever the zone, and years have four digits."""
    preview = next_runs(text, after, max(len(lines), 1))
    assert preview.reason is None
    assert [line.removesuffix("  " + line[:19] + "+00:00") for line in preview.lines()] == lines
    assert all("UTC" in warning or "never runs" in warning for warning in preview.warnings)


@pytest.mark.parametrize("count", [2.5, "3", None])
def test_a_count_that_is_no_whole_number(count: int) -> None:
    """A count that is not a whole number is a ValueError, which names it."""
    with pytest.raises(ValueError, match="is not a number of runs from 1 to 1000") as caught:
        next_runs("NOW", count=count)
    assert f"count: {count!r}" in str(caught.value)


def test_a_time_that_is_no_number() -> None:
    """A reference time that is not a number is a ValueError, which names it."""
    with pytest.raises(ValueError, match="after: 'now' is not a time in Unix seconds"):
        next_runs("NOW", after="now")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("time", "run"),
    [
        ("2026-12-24", "2026-12-24 09:00:00 UTC"),
        ("2026-12-24T09:00:00Z", "2026-12-25 09:00:00 UTC"),
        ("2026-12-24T09:00:00+01:00", "2026-12-24 09:00:00 UTC"),
        ("1798102800", "2026-12-25 09:00:00 UTC"),
        ("1.7981028e9", "2026-12-25 09:00:00 UTC"),
    ],
)
def test_times_of_options(capsys: pytest.CaptureFixture[str], time: str, run: str) -> None:
    """--after takes a time in ISO 8601, as AT does, or Unix seconds."""
    assert cli.main(["next", DAILY, f"--after={time}", "--count=1"]) == 0
    assert capsys.readouterr().out.splitlines() == [run]


@pytest.mark.parametrize("time", ["2026-12-24\n09:00", "24.12.2026", "tomorrow"])
def test_wrong_times_of_options(capsys: pytest.CaptureFixture[str], time: str) -> None:
    """G4: a time that cannot be read is one line, with the option and the two forms."""
    assert cli.main(["next", DAILY, f"--after={time}"]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert line.startswith("redbike: --after: ")
    assert "or in ISO 8601, such as 2026-12-24T18:00:00+01:00, or now" in line


@pytest.mark.parametrize(
    "text",
    [
        "RRULE:FREQ=HOURLY;COUNT=100\nEXDATE;VALUE=DATE:20260921",
        "FREQ=DAILY;COUNT=5;BYHOUR=9;BYMINUTE=0;BYSECOND=0\nEXDATE:20260921,20260922,20260923",
    ],
)
def test_count_goes_on_after_days_that_are_left_out(text: str) -> None:
    """Without DTSTART, days that are left out do not end a rule with COUNT."""
    assert next_runs(text, 1_790_000_000, 1).runs


@pytest.mark.parametrize(
    "text", ["2026-12-24 18:00:00 +0100", "2026-12-24t18:00:00+01:00", "2026-12-24_17:00", "2026-12-24T17:00z"]
)
def test_times_as_other_programs_write_them(text: str) -> None:
    """B2: `date '+%F %T %z'` and other spellings of ISO 8601 are read."""
    assert next_runs(f"AT:{text}", 1_790_000_000, 1).runs[0].timestamp() == 1_798_131_600
