"""A crontab becomes rows, one per job, and complaints about everything else. No server is needed here."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redbike.importers.crontab import MOST_PAYLOAD_BYTES, read_crontab
from redbike.importers.names import name_of
from redbike.schedule.forms import read
from redbike.schedule.plan import Action
from redbike.store.jobid import jobid_fault


def jobs(text: str, **options: str | bool) -> list[tuple[str, str, str]]:
    """Return job id, schedule and payload of each job; fail where something is left out."""
    rows, complaints = read_crontab(text, **options)  # type: ignore[arg-type]
    assert [complaint for complaint in complaints if complaint.is_left_out] == []
    return [row[1:] for row in rows]


def left_out(text: str, **options: str | bool) -> list[tuple[int, str]]:
    """Return line and text of each complaint about something that is left out."""
    _, complaints = read_crontab(text, **options)  # type: ignore[arg-type]
    return [complaint[:2] for complaint in complaints if complaint.is_left_out]


def hints(text: str, **options: str | bool) -> list[str]:
    _, complaints = read_crontab(text, **options)  # type: ignore[arg-type]
    return [complaint.text for complaint in complaints if not complaint.is_left_out]


def schedule(fields: str, **options: str) -> str:
    [(_, found, _)] = jobs(f"{fields} true", **options)
    return found


def payload(lines: str) -> str:
    [(_, _, found)] = jobs(lines)
    return found


def output(lines: str) -> str:
    """Return what the only command of a crontab prints when a worker runs it."""
    ended = subprocess.run(["/bin/sh", "-c", payload(lines)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.stderr == ""
    return ended.stdout


def test_a_job() -> None:
    """A line with five fields and a command is a job: its words name it, its fields and the zone are its schedule."""
    assert jobs("30 2 * * *  /usr/bin/backup.sh --all", zone="Europe/Berlin") == [
        ("backup.sh:A", "CRON:30 2 * * * Europe/Berlin", "/usr/bin/backup.sh --all")
    ]


@pytest.mark.parametrize(
    "fields",
    [
        "*/5 * * * *",
        "0-30/10 8-17 1,15 jan-mar mon-fri",
        "0 0 13 * fri",
        "5,10,15 0 */2 * 7",
        "59 23 31 DEC *",
        "@daily",
        "@hourly",
        "@yearly",
        "@midnight",
    ],
)
def test_fields_stay_as_they_are(fields: str) -> None:
    """Ranges, steps, lists and names mean the same to cron and to CRON:, so they are kept as written."""
    assert schedule(fields) == f"CRON:{fields}"
    assert read(f"CRON:{fields}").first(0).action is Action.AT


def test_blanks_between_fields() -> None:
    """Any number of blanks and tabs separates the fields; blanks within the command stay."""
    assert jobs("  1\t2  3 4   5\t echo 'a  b' \t") == [("echo-a-b:A", "CRON:1 2 3 4 5", "echo 'a  b'")]


def test_every_minute() -> None:
    """@every_minute, which some crons know, becomes five stars."""
    assert schedule("@every_minute") == "CRON:* * * * *"


def test_utc_needs_no_name() -> None:
    """Without a zone, and in UTC, the schedule names no zone, because CRON: is then in UTC."""
    assert schedule("0 8 * * *") == schedule("0 8 * * *", zone="Etc/UTC") == "CRON:0 8 * * *"


def test_comments_and_blank_lines() -> None:
    """Comments, blank lines, line ends of Windows and a byte order mark are no jobs and no complaints."""
    assert jobs("\ufeff# a comment\r\n\r\n  \t\r\n  # another\r\n0 1 * * * true\r\n") == [
        ("true:A", "CRON:0 1 * * *", "true")
    ]


def test_cron_tz() -> None:
    """CRON_TZ is the zone of the lines below it, in place of the zone of the machine."""
    text = "0 1 * * * a\nCRON_TZ=Europe/Berlin\n0 1 * * * b\nCRON_TZ = 'asia/tokyo'\n0 1 * * * c"
    assert [found[1] for found in jobs(text, zone="America/New_York")] == [
        "CRON:0 1 * * * America/New_York",
        "CRON:0 1 * * * Europe/Berlin",
        "CRON:0 1 * * * Asia/Tokyo",
    ]


def test_tz() -> None:
    """TZ is the zone of the lines below and a variable of their commands; a hint says that some crons differ."""
    text = "TZ=Europe/Berlin\n0 1 * * * echo $TZ"
    assert jobs(text)[0][1] == "CRON:0 1 * * * Europe/Berlin"
    assert output(text) == "Europe/Berlin\n"
    assert hints(text) == [
        "TZ=Europe/Berlin: the times below are read in this zone; the cron of Debian and Red Hat reads them in the zone"
        " of the machine, and sets TZ for the commands only"
    ]


def test_cron_tz_before_tz() -> None:
    """With both, CRON_TZ is the zone of the times, and TZ only a variable of the commands."""
    text = "CRON_TZ=Asia/Tokyo\nTZ=Europe/Berlin\n0 1 * * * echo $TZ"
    assert jobs(text)[0][1] == "CRON:0 1 * * * Asia/Tokyo"
    assert output(text) == "Europe/Berlin\n"
    assert hints(text) == []


def test_an_unknown_zone() -> None:
    """Below a zone that cannot be read, jobs are left out, because their times are not known."""
    text = "CRON_TZ=Mars/Base\n0 1 * * * a\n@daily b\nCRON_TZ=UTC\n0 1 * * * c"
    assert [row.payload for row in read_crontab(text)[0]] == ["c"]
    assert [line for line, _ in left_out(text)] == [1, 2, 3]
    assert left_out(text)[0][1].startswith("CRON_TZ='Mars/Base': 'Mars/Base' is not a time zone of the IANA database")


def test_settings() -> None:
    """Settings become exports before the commands below them, and no earlier ones; values are taken literally."""
    text = '0 1 * * * a\nPATH = /opt/bin:$PATH\nWHO="it\'s me"\n0 1 * * * b\nPATH=/bin\n0 1 * * * c'
    assert [found[2] for found in jobs(text)] == [
        "a",
        "PATH='/opt/bin:$PATH'; export PATH; WHO='it'\\''s me'; export WHO; b",
        "PATH='/bin'; export PATH; WHO='it'\\''s me'; export WHO; c",
    ]


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("a b ", "a b"),
        ("'a b '", "a b "),
        ("\"a 'b'\"", "a 'b'"),
        ("$HOME `x` \\", "$HOME `x` \\"),
        ("", ""),
        ("a # b", "a # b"),
        ("x=y", "x=y"),
    ],
)
def test_values(value: str, meant: str) -> None:
    """A command gets the value of a setting as cron passes it: without outer quotes, and without an expansion."""
    assert output(f"WHAT={value}\n0 1 * * * printf '[\\%s]' \"$WHAT\"") == f"[{meant}]"


def test_home() -> None:
    """HOME is set, and the command starts there, as with cron."""
    assert output("HOME=/\n0 1 * * * pwd; echo $HOME") == "/\n/\n"
    assert payload("HOME=/srv/it\n0 1 * * * a").startswith("HOME='/srv/it'; export HOME; cd '/srv/it' || exit; a")


def test_shell() -> None:
    """SHELL runs the commands below it; /bin/sh needs nothing."""
    assert payload("SHELL=/bin/bash\n0 1 * * * a 'b'; c") == (
        "SHELL='/bin/bash'; export SHELL; exec /bin/bash -c 'a '\\''b'\\''; c'"
    )
    assert output("SHELL=/bin/bash\n0 1 * * * [[ a == a ]] && echo $SHELL; exit 0 # done") == "/bin/bash\n"
    assert payload("SHELL=/bin/sh\n0 1 * * * a") == "SHELL='/bin/sh'; export SHELL; a"


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("cat%one%two", "one\ntwo\n"),
        ("cat%one%", "one\n"),
        ("cat%%x", "\nx\n"),
        ("cat%", ""),
        ("cat%50\\% of it's%", "50% of it's\n"),
        ("cat; echo end # comment%in", "in\nend\n"),
        ("printf 'a\\%\\%b'", "a%b"),
        ("echo '\\\\%d'", None),
        ("sed s/a/b/ | tr b c%a", "c\n"),
        ("cat%\\n $HOME `x`", "\\n $HOME `x`\n"),
    ],
)
def test_percent_signs(command: str, printed: str | None) -> None:
    """The first percent sign ends the command, and the rest is its standard input; `\\%` is a percent sign."""
    if printed is None:  # a backslash that is escaped itself escapes nothing: the command ends within its quotes
        assert payload(f"0 1 * * * {command}").startswith("printf '%s\\n' 'd'\\''' | /bin/sh -c ")
    else:
        assert output(f"0 1 * * * {command}") == printed


def test_input_with_a_shell() -> None:
    """SHELL also runs a command that has a standard input."""
    assert output('SHELL=/bin/bash\n0 1 * * * read -r x; [[ $x ]] && echo "<$x>"%in') == "<in>\n"


def test_the_system_form() -> None:
    """In the system form, the sixth field is a user, who is left out and named once."""
    text = "0 1 * * * root a\n@daily\tweb\tb c\n0 2 * * * root d"
    rows, _ = read_crontab(text, system=True)
    assert [row.payload for row in rows] == ["a", "b c", "d"]
    assert left_out(text, system=True) == [
        (1, user_left_out("root")),
        (2, user_left_out("web")),
    ]


def user_left_out(name: str) -> str:
    return (
        f"user '{name}' is left out: the user of the worker runs the commands; for another user, import these lines"
        " with --queue into a queue of that user's worker"
    )


def test_the_wrong_form() -> None:
    """A user's crontab is no system crontab: there the sixth field must be a user. A hint names the other mistake."""
    assert left_out("0 1 * * * /bin/true x", system=True) == [
        (1, "'/bin/true' is no user: in this form, the sixth field names the user of the command")
    ]
    assert hints("0 1 * * * root /bin/true") == [
        "'root' looks like the user of a system crontab: --system reads that form"
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "@reboot a",
            "@reboot has no counterpart, because a job belongs to no machine: use systemd",
        ),
        ("@dayly a", "'@dayly' is not known; known are @hourly"),
        ("* * * *", "'* * * *' is neither a job, a setting nor a comment"),
        ("run it now please, my friend", "'run it now please, my friend' is neither a job, a setting nor a comment"),
        ("* * * * *", "there is no command behind the times"),
        ("* * * * * %in", "there is no command before the percent sign"),
        ("@daily", "there is no command behind the times"),
        ("60 * * * * a", "the minute field '60' is not valid: write numbers from 0 to 59"),
        ("0 0 30 2 * a", "never comes"),
        ("0 6-5 * * * a", "the hour field '6-5' is not valid: the range runs backwards"),
        ("0~30 * * * * a", "'0~30 * * * *': Redbike has no random times (~): write a number"),
        ("? * * * * a", "the minute field '?' is not valid: write * in place of ?"),
        ("* * * * * -n a", "'-n a': Redbike has no counterpart to the options before the command"),
        ("MAILTO=a@example.com", "MAILTO='a@example.com' is left out: Redbike sends no mail; the output of commands"),
        ("RANDOM_DELAY=30", "RANDOM_DELAY='30' is left out: Redbike starts jobs at their time"),
        ("my-name=x", "'my-name' is not a name that a shell can export"),
        ("A='x", "'A': its value has a quote without its other half"),
        ("A='x' y 'z'", "'A': its value has a quote without its other half"),
        ("SHELL=", "SHELL is empty"),
        ("0 1 * * * a\0b", "the line holds a NUL character"),
        ("0 1 * * * a\udcff", "'0 1 * * * a\\udcff' is not UTF-8; save the file as UTF-8"),
        ("0 1 * * * true " + "x" * MOST_PAYLOAD_BYTES, "a command of 131076 bytes: at most 131071 can be run"),
    ],
)
def test_left_out(line: str, reason: str) -> None:
    """What has no counterpart is named with its line and the reason, and the other lines become jobs."""
    text = f"0 1 * * * before\n{line}\n"
    [(number, found)] = left_out(text)
    assert number == 2
    assert found.startswith(reason) or reason in found
    assert len(read_crontab(text)[0]) == 1


@pytest.mark.parametrize("line", ["MAILTO=", 'MAILTO=""', "RANDOM_DELAY=0", "-*/5 * * * * a"])
def test_nothing_to_say(line: str) -> None:
    """A setting that asks for nothing, and the sign that silences cron's own log, are no complaints."""
    assert read_crontab(line)[1] == []


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("13/5 * * * * a", "'13/5' runs from 13 to the end of the range; some crons ignore this step"),
        ("LOGNAME=x", "LOGNAME is left out, as cron does: the user of the worker runs the commands"),
        ("CONTENT_TYPE=text/plain", "CONTENT_TYPE is left out, because Redbike sends no mail"),
    ],
)
def test_hints(line: str, hint: str) -> None:
    """What a reader may not expect, although nothing is lost, is a hint."""
    assert hints(line) == [hint]
    assert left_out(line) == []


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh /home >/dev/null 2>&1", "backup.sh-home"),
        ("sleep 30; . /etc/profile && umask 022 && poll", "poll"),
        ("cd /srv/shop && ./manage.py clearsessions", "manage.py-clearsessions"),
        ("[ -x /usr/sbin/logrotate ] && logrotate /etc/logrotate.conf", "logrotate"),
        ("test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )", "anacron"),
        ("FOO=bar nice -n 10 python3 /srv/it/job.py", "job.py"),
        ("curl -fsS https://me:secret@example.com/ping?key=x", "curl-example.com"),
        ("mysqldump -u root -p secret shop | gzip > x", "mysqldump"),
        ("deploy --password secret", "deploy"),
        ("deploy password=secret user:secret", "deploy"),
        ("scp me@host:secret /tmp", "scp-tmp"),
        ("TOKEN=secret ./send", "send"),
        ('echo "Grüße an alle"', "echo-Grüße-an"),
        ("((", "job"),
        ("/", "job"),
        ("x" * 5000, "x" * 48),
    ],
)
def test_names(command: str, name: str) -> None:
    """A job is named after the first words of its command; a word that may hold a secret is not taken."""
    assert name_of(command) == name


def test_repeated_names() -> None:
    """Commands with the same first words get numbers, in the order of the file, and no id twice."""
    text = "\n".join(f"0 {hour} * * * {name}" for hour, name in enumerate(["a", "a", "a-2", "a -x", "b", "a"]))
    assert [found[0] for found in jobs(text)] == ["a:A", "a-2:A", "a-2-2:A", "a-3:A", "b:A", "a-4:A"]


def test_queue_and_prefix() -> None:
    """The queue stands behind the last colon of an id, and the prefix before the name."""
    assert jobs("0 1 * * * a", queue="web", prefix="host1")[0][0] == "host1-a:web"


def test_an_impossible_id() -> None:
    """A prefix that no job id can hold leaves the jobs out, with the reason."""
    assert "control character" in left_out("0 1 * * * a", prefix="x\n")[0][1]


LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.text(alphabet="*/,-~?#@ \t0159ALWmonfriTZ=%\\'\"\0\n\r\u2028é", max_size=40),
        st.builds("{} {}".format, st.sampled_from(["* * * * *", "@daily", "5 4 * * sun"]), st.text(max_size=30)),
        st.builds("{}={}".format, st.sampled_from(["CRON_TZ", "TZ", "SHELL", "HOME", "X"]), st.text(max_size=20)),
    ),
    max_size=8,
).map("\n".join)


@given(LINES, st.booleans())
def test_any_text(text: str, system: bool) -> None:
    """Any text gives rows and complaints: ids are unique and allowed, schedules can be read, and nothing is raised."""
    rows, complaints = read_crontab(text, system=system)
    assert len({row.jobid for row in rows}) == len(rows)
    for row in rows:
        assert jobid_fault(row.jobid) is None
        assert row.jobid.endswith(":A")
        assert read(row.schedule).first(0).action is Action.AT
        assert "\0" not in row.payload
        assert row.payload.strip()
    lines = text.split("\n")
    assert all(1 <= found.line <= len(lines) and found.text for found in (*rows, *complaints) if hasattr(found, "text"))
    counted = {row.line for row in rows} | {complaint.line for complaint in complaints}
    silent = [line.strip(" \t\r\ufeff") for number, line in enumerate(lines, 1) if number not in counted]
    assert all(not line or line.startswith("#") or "=" in line for line in silent)


@given(st.text(max_size=60))
def test_any_command(command: str) -> None:
    """Any command has a name of at most 48 characters, without blanks, colons, quotes or operators."""
    name = name_of(command)
    assert 0 < len(name) <= 48
    assert not set(name) & set(" \t\n:;|&<>()'\"$`/\\=@")


@given(LINES)
def test_the_same_text_gives_the_same_jobs(text: str) -> None:
    """Ids depend on the text alone, so that a second import finds the same jobs."""
    assert read_crontab(text) == read_crontab(text)
