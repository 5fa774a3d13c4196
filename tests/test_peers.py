"""`bin/peers` reads the tests of other projects as questions, and judges the answers. All of it here is made up."""

import hashlib
import io
import subprocess
import tarfile
from datetime import UTC, datetime

import pytest
from peers import __main__ as command
from peers import calendars, cronsim_tests, dateutil_tests, sdists
from peers.asking import Asker, Skipped, Vector
from peers.differences import Difference
from peers.judge import Judgement

DATEUTIL = """
class RuleTest(TestCase):
    start = datetime(2031, 5, 5, 7, 0)

    def _rrulestr_reverse_test(self, rule):
        unknown(rule)

    def test_rule(self):
        self.assertEqual(list(rrule(WEEKLY, count=2, byweekday=(MO, WE(+1)), dtstart=self.start)),
                         [datetime(2031, 5, 5, 7), datetime(2031, 5, 7, 7)])

    def test_text(self):
        rule = rrulestr('DTSTART;TZID=Europe/Berlin:20310505T070000\\n' 'RRULE:FREQ=DAILY')
        assert rule[1:2] == [datetime(2031, 5, 6, 7, tzinfo=tz.gettz('Europe/Berlin'))]

    def test_set(self):
        dates = rruleset()
        for day in range(5, 8):
            dates.rdate(datetime(2031, 5, day))
        dates.exdate(datetime(2031, 5, 6))
        self.assertEqual(dates.count(), 2)

    def test_wrong(self):
        rule = rrule(DAILY, dtstart=self.start)
        self.assertEqual(rule.after(datetime(2031, 5, 5, 7)), datetime(2031, 5, 5, 7))

    def test_refused(self):
        with self.assertRaises(ValueError):
            rrulestr('FREQ=OFTEN')
        self.assertRaises(ValueError, rrule, DAILY, **dict(bymonth=13, dtstart=self.start))

    def test_not_refused(self):
        self.assertRaises(ValueError, rrule, DAILY, dtstart=self.start)

    def test_written(self):
        self._rrulestr_reverse_test(rrule(MONTHLY, count=3, bymonthday=-1, dtstart=self.start))

    def test_of_the_class(self):
        self.assertTrue(isinstance(rrule, type))
"""


def _judged(answers):
    """Return per test: True if right, the answer of Redbike if wrong, None if it was left out."""
    found = {}
    for answer in answers:
        name = answer.name.partition(".")[2] or answer.name
        right = None if isinstance(answer, Skipped) else answer.right or answer.got
        found[name] = right if found.get(name, True) is True else found[name]
    return found


def test_tests_of_rules():
    """Assertions of python-dateutil's tests become questions: rules, texts, sets, refusals, and what it writes."""
    assert _judged(dateutil_tests.answers(DATEUTIL, Asker())) == {
        "test_rule": True,
        "test_text": True,
        "test_set": True,
        "test_wrong": "20310506T070000Z",
        "test_refused": True,
        "test_not_refused": "accepted: 20310505T070000Z, …",
        "test_written": True,
        "test_of_the_class": None,
    }


def test_texts_of_rules():
    """A rule that a test makes with arguments is asked as a text with the same parts."""
    vectors = [each for each in dateutil_tests.answers(DATEUTIL, Asker()) if isinstance(each, Vector)]
    assert vectors[0].text == "DTSTART:20310505T070000\nRRULE:FREQ=WEEKLY;COUNT=2;BYDAY=MO,1WE"
    assert vectors[0].expected == vectors[0].got == "[20310505T070000Z 20310507T070000Z]"


def test_nothing_of_a_file_is_executed():
    """A test that calls anything else than rules and dates is left out, and does nothing."""
    text = "def test_harm():\n    open('/nowhere', 'w')\ndef test_more():\n    rrulestr.__globals__.clear()\n"
    assert [answer.reason for answer in dateutil_tests.answers(text, Asker())] == ["uses open", "uses __globals__"]


CRONSIM = """
NOW = datetime(2020, 1, 1)

class TestExpressions(TestCase):
    tz = ZoneInfo("Europe/Riga")

    def assertNext(self, it, expected):
        self.assertEqual(next(it).isoformat(), expected)

    def test_fields(self):
        self.assertEqual(CronSim("5-9/2 * * * *", NOW).minutes, {5, 7, 9})
        self.assertEqual(CronSim("* * LW * *", NOW).days, {CronSim.LAST_WEEKDAY})
        self.assertEqual(CronSim("* * 1 * TUE#2,7", NOW).weekdays, {(2, 2), 7})

    def test_wrong_field(self):
        self.assertEqual(CronSim("* 3 * * *", NOW).hours, {4})

    def test_zone(self):
        it = CronSim("30 3 * * *", datetime(2021, 10, 31, tzinfo=self.tz))
        self.assertNext(it, "2021-10-31T03:30:00+03:00")
        self.assertNext(it, "2021-11-01T03:30:00+02:00")

    def test_refused(self):
        for pattern, bad in product(("%s * * * *", "* * %s * *"), ("61", "1//2")):
            with self.assertRaisesRegex(CronSimError, "Bad"):
                CronSim(pattern % bad, NOW)

    def test_none(self):
        it = CronSim("1 1 */100 * MON#4", NOW)
        with self.assertRaises(StopIteration):
            next(it)

    def test_backwards(self):
        CronSim("* * * * *", NOW, reverse=True)
"""


def test_tests_of_cron_expressions():
    """Assertions of cronsim's tests become questions: single fields, zones, refusals, and expressions without a run."""
    judged = _judged(cronsim_tests.answers(CRONSIM, Asker()))
    wrong = judged.pop("test_wrong_field")
    assert wrong.startswith("[20200101T030000Z 20200101T030100Z ")
    assert judged == {
        "test_fields": True,
        "test_zone": True,
        "test_refused": True,
        "test_none": True,
        "test_backwards": None,
    }


def _calendar(*events):
    lines = ["BEGIN:VCALENDAR"]
    for event in events:
        lines += [
            "BEGIN:VEVENT",
            *event,
            "SUMMARY:made up",
            "BEGIN:VALARM",
            "TRIGGER:-PT1H",
            "END:VALARM",
            "END:VEVENT",
        ]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


DAILY = ("DTSTART;TZID=America/New_York:20310306T023000", "RRULE:FREQ=DAILY;COU", " NT=5", "EXDATE;VALUE=DATE:20310308")


def test_events_of_calendars():
    """The events of a calendar that recur are found, with their lines unfolded."""
    once = ("DTSTART:20310306T023000Z",)
    assert [event.text for event in calendars.events(_calendar(once, DAILY))] == [
        "DTSTART;TZID=America/New_York:20310306T023000\nRRULE:FREQ=DAILY;COUNT=5\nEXDATE;VALUE=DATE:20310308"
    ]


def test_expected_runs():
    """Expected runs are those of the wall clock, read with the offset before a gap, without the days of an EXDATE."""
    (event,) = calendars.events(_calendar(DAILY))
    assert list(calendars.expected_runs(event)) == [
        datetime(2031, 3, 6, 7, 30, tzinfo=UTC),
        datetime(2031, 3, 7, 7, 30, tzinfo=UTC),
        datetime(2031, 3, 9, 7, 30, tzinfo=UTC),  # 02:30, which the clock leaves out
        datetime(2031, 3, 10, 6, 30, tzinfo=UTC),
    ]


def test_small_hours():
    """The rules of an event are asked once more at a time that the clock of New York leaves out and shows twice."""
    (event,) = calendars.events(_calendar(DAILY))
    asked = calendars.in_small_hours(event)
    assert asked.text == "DTSTART;TZID=America/New_York:20310306T023000\nRRULE:FREQ=DAILY;COUNT=5"
    assert calendars.in_small_hours(calendars.Event(["DTSTART:20310306T000000Z", "RDATE:20310306T000000Z"])) is None
    assert calendars.in_small_hours(calendars.Event(["DTSTART:19310306T000000", "RRULE:FREQ=DAILY"])) is None


def test_answers_of_calendars():
    """Equal events are asked once, from their start and from later times. Unknown zones are left out."""
    endless = ("DTSTART;VALUE=DATE:20310306", "RRULE:FREQ=DAILY;UNTIL=20320101")
    bad = ("DTSTART:20310306T000000Z", "RRULE:FREQ=OFTEN")
    unknown = ("DTSTART;TZID=My Zone:20310306T023000", "RRULE:FREQ=DAILY")
    text = _calendar(endless, unknown, bad, endless)
    answers = list(calendars.answers({"b.ics": text, "a.ics": text}, Asker()))
    vectors = [answer for answer in answers if isinstance(answer, Vector)]
    assert [answer.name for answer in answers if isinstance(answer, Skipped)] == ["a.ics, 2"]
    assert [vector for vector in vectors if not vector.right] == []
    names = {vector.name.partition(", after")[0] for vector in vectors}
    assert names == {"a.ics, 1", "a.ics, 1, small hours", "a.ics, 2, small hours", "a.ics, 3", "a.ics, 3, small hours"}
    assert len(vectors) > 20


def _vector(name, got):
    return Vector("made-up", name, "CRON:* * * * *", "20310306T000000Z", got)


def test_verdict():
    """A run fails by a wrong answer that no entry explains, by an entry that nothing meets, and by too few vectors."""
    right, meant, wrong = _vector("one", "20310306T000000Z"), _vector("two", "no run"), _vector("three", "no run")
    entry = Difference("made-up", "two", "no run", "for a reason")

    def failures(entries, *answers, fewest=1):
        judgement = Judgement(entries)
        judgement.judge("made-up 1.0", fewest, answers, Asker())
        assert "for a reason" in "\n".join(judgement.report()) or not entries
        return [failure.partition("\n")[0] for failure in judgement.failures()]

    assert failures([entry], right, meant) == []
    assert failures([], right, meant) == ["WRONG: made-up 1.0, two: 'CRON:* * * * *'"]
    assert failures([entry], right, meant, wrong) == ["WRONG: made-up 1.0, three: 'CRON:* * * * *'"]
    assert failures([entry], meant, _vector("two", "refused: as bad")) == ["WRONG: made-up 1.0, two: 'CRON:* * * * *'"]
    assert failures([entry], meant, fewest=2) == ["made-up 1.0: 1 vectors were read, at least 2 are expected"]


def test_entries_out_of_date():
    """An entry that no vector meets fails the run, unless a change is about to come."""
    judgement = Judgement(
        [Difference("made-up", "x", "y", "why"), Difference("made-up", "z", "y", "soon", pending=True)]
    )
    assert list(judgement.failures()) == ["out of date: no vector of made-up meets 'x': why"]


@pytest.fixture
def archive(tmp_path):
    """A function that writes a source distribution with one file, and returns its description."""

    def write(path, text):
        name = tmp_path / "made_up-1.0.tar.gz"
        with tarfile.open(name, "w:gz") as file:
            member = tarfile.TarInfo(f"made_up-1.0/{path}")
            member.size = len(text.encode())
            file.addfile(member, io.BytesIO(text.encode()))
        return sdists.Sdist("made-up", "1.0", hashlib.sha256(name.read_bytes()).hexdigest())

    return write


def test_archives(archive, tmp_path):
    """Files are read from the archive of the right content only."""
    sdist = archive("tests/test_rules.py", "pass\n")
    assert sdists.texts(sdist, tmp_path, "test_rules.py") == {"tests/test_rules.py": "pass\n"}
    with pytest.raises(sdists.WrongSdist, match=r"no file that ends in \.ics"):
        sdists.texts(sdist, tmp_path, ".ics")
    with pytest.raises(sdists.WrongSdist, match=r"has the SHA-256 .*, expected is 00"):
        sdists.texts(sdists.Sdist("made-up", "1.0", "00"), tmp_path, ".ics")
    with pytest.raises(sdists.WrongSdist, match=r"made-up-2\.0\.tar\.gz is not in"):
        sdists.texts(sdists.Sdist("made-up", "2.0", "00"), tmp_path, ".ics")


def _run(monkeypatch, sdist, *arguments):
    source = command.Source(
        sdist, "test_rules.py", 1, lambda files, asker: dateutil_tests.answers(*files.values(), asker)
    )
    monkeypatch.setattr(command, "SOURCES", [source])
    monkeypatch.setattr(command, "DIFFERENCES", [])
    return command.main([str(argument) for argument in arguments])


def test_command(archive, tmp_path, monkeypatch, capsys):
    """The command prints a table and the wrong answers, and exits with 1 if there are any."""
    sdist = archive("tests/test_rules.py", DATEUTIL)
    assert _run(monkeypatch, sdist, "--sdists", tmp_path) == 1
    output = capsys.readouterr().out
    assert "made-up 1.0" in output
    assert "WRONG: made-up 1.0, RuleTest.test_wrong: 'DTSTART:20310505T070000\\nRRULE:FREQ=DAILY'" in output
    assert "expected: 20310505T070000Z\n    Redbike:  20310506T070000Z" in output
    assert "peers: 6 passed, 0 different as meant, 2 failed in" in output
    fine = archive("tests/test_rules.py", "\n\n".join(DATEUTIL.split("\n\n")[:4]))
    assert _run(monkeypatch, fine, "--sdists", tmp_path) == 0
    assert _run(monkeypatch, sdist, "--sdists", tmp_path) == 1
    assert "peers: failed: made_up-1.0.tar.gz has the SHA-256" in capsys.readouterr().out


def test_without_an_index(monkeypatch, capsys):
    """Where the package index cannot be reached, one line says that the vectors were left out, and nothing fails."""

    def pip(command, **options):  # noqa: ARG001 - as subprocess.run
        assert command[-1] == "made-up==1.0"
        return subprocess.CompletedProcess(command, 1, "", f"WARNING: x\nERROR: {said}\nERROR: No distribution\n")

    monkeypatch.setattr(sdists.subprocess, "run", pip)
    sdist = sdists.Sdist("made-up", "1.0", "00")
    said = "Could not find a version that satisfies the requirement made-up==1.0 (from versions: none)"
    assert _run(monkeypatch, sdist) == 0
    assert capsys.readouterr().out == f"peers: left out, because the package index cannot be reached: {said}\n"
    said = "Could not find a version that satisfies the requirement made-up==1.0 (from versions: 0.9)"
    assert _run(monkeypatch, sdist) == 1
    assert "peers: failed: " in capsys.readouterr().out
