"""The conf: defaults, what each value becomes, and one line for everything that is wrong in it."""

import inspect
import logging
import re
from dataclasses import fields
from pathlib import Path

import pytest
import redis
from confs import conf, redis_conf, refusal
from helpers import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redbike.config import REDIS_SETTINGS, Config, load
from redbike.errors import ConfigError
from redbike.settings import COMMAND_SETTINGS, SETTINGS

EXAMPLE = ROOT / "redbike.conf.example"
OTHERS = (
    "prefix, worker, default-timeout, on-timeout, on-error, history, dead-after, retries, metrics, log-level,"
    " log-format, web-password, web-user-header, web-hosts, web-hide-payloads"
)
KNOWN = OTHERS.replace("worker,", "worker, timefile,")


pytestmark = pytest.mark.usefixtures("in_a_folder")


# The content of a file


def test_defaults() -> None:
    """G1: a section without settings gives the defaults, and no argument of redis.Redis."""
    config = conf("[redbike]\n")
    assert config == Config(
        *("redbike", None, ".redbike.timefile", 10.0, "drop", "drop", 10_000, 30.0, 3, True, None, "text"),
        *(None, None, None, False, {}),
    )


def test_all_settings() -> None:
    """G1: the settings of [redbike] arrive under their names, the timeout as a number."""
    config = conf(
        "[redbike]\nprefix: {shop}\nworker: a.b:C('x:y')\ntimefile = /var/lib/time\ndefault-timeout = 2.5\n"
        "on-timeout = retry\non-error: reschedule\nretries: 7\nhistory: 50\ndead-after: 0\nmetrics: no\n"
        "log-level: DEBUG\n"
        "log-format: json\n"
        "web-password: secret\nweb-user-header: X-Remote-User\nweb-hosts: a.example, [::2]\nweb-hide-payloads: yes\n"
    )
    runs = ("retry", "reschedule", 50, 0.0, 7, False)
    page = ("secret", "X-Remote-User", ("a.example", "[::2]"), True)
    assert config == Config("{shop}", "a.b:C('x:y')", "/var/lib/time", 2.5, *runs, "debug", "json", *page, {})
    assert "secret" not in repr(config)


@pytest.mark.parametrize("text", ["https://a.example", "a.example:8730", "a b"])
def test_hosts_are_names(text: str) -> None:
    """G1: web-hosts has names without scheme and port."""
    assert "web-hosts: " in refusal(f"[redbike]\nweb-hosts: b.example, {text}\n")
    assert "is not the name of a host" in refusal(f"[redbike]\nweb-hosts: b.example, {text}\n")


def test_a_header_is_a_name() -> None:
    """G1: web-user-header is the name of a header."""
    assert refusal("[redbike]\nweb-user-header: X User\n") == (
        "redbike.conf, [redbike] web-user-header: 'X User' is not the name of an HTTP header; write letters, digits and"
        " dashes"
    )


def test_names_are_lenient() -> None:
    """G1: in a name, - and _ are the same, and so are small and capital letters."""
    config = conf("[redbike]\nDefault_Timeout: 1\n[redbike-redis]\nunix-socket-path: /run/redis\n")
    assert config == Config(default_timeout=1.0, redis={"unix_socket_path": "/run/redis"})


def test_no_cluster_excludes_nothing() -> None:
    """G1: `cluster: no` is the default, and can stand beside every setting."""
    assert redis_conf("cluster: no\ndb: 1") == {"cluster": False, "db": 1}


def test_percent_is_a_character() -> None:
    """G1: a % in a value, in whatever form, is just a character."""
    assert redis_conf("password: 100%(db)s%%") == {"password": "100%(db)s%%"}


@pytest.mark.parametrize("name", ["prefix", "worker", "timefile", "default-timeout"])
def test_interpolation_of_0_13_1_is_refused(name: str) -> None:
    """G1: a value of [redbike] with %( is refused with the way out, because 0.13.1 inserted another setting there."""
    assert refusal(f"[redbike]\n{name}: %(home)s-x\n[redbike-redis]\npassword: secret\n") == (
        f"redbike.conf, [redbike] {name}: holds %(, which 0.13.1 replaced by another setting; write the value out"
    )


def test_a_percent_sign_alone_is_no_interpolation() -> None:
    """G1: also in [redbike], a % without a parenthesis behind it is a character."""
    assert conf("[redbike]\ntimefile: 100%%.time\n").timefile == "100%%.time"


def test_no_comments_behind_values() -> None:
    """G1: # and ; behind a value belong to it, so that a password may hold them."""
    assert redis_conf("password: a #b ;c") == {"password": "a #b ;c"}


def test_comments_on_lines_of_their_own() -> None:
    """G1: lines that begin with # or ; are comments."""
    assert conf("# a\n[redbike]\n; b\nprefix: c\n# d\n").prefix == "c"


def test_worker_over_several_lines() -> None:
    """G1: the worker's expression may go on over indented lines."""
    assert conf("[redbike]\nworker: a:B(\n  'c',\n  'd')\n").worker == "a:B(\n'c',\n'd')"


def test_blank_line_ends_a_value() -> None:
    """G1: a line after a blank line is another setting, even if it is indented."""
    assert conf("[redbike]\nprefix: a\n\n  timefile: b\n") == Config(prefix="a", timefile="b")


def test_utf8_with_the_mark_of_windows() -> None:
    """G1: a file with a byte order mark and the line ends of Windows can be read."""
    assert conf(b"\xef\xbb\xbf[redbike]\r\nprefix: r\xc3\xa4der\r\n").prefix == "räder"


def test_other_sections_are_ignored() -> None:
    """G1: sections of an application are ignored, whatever their syntax, also [DEFAULT]."""
    config = conf(
        "[DEFAULT]\nprefix: no\nhost: no\n[app]\nflag\nx: %(y)s\nx: 2\n = 3\n[app]\n  [deep\n[]\n"
        "[redbike]\ntimefile: t\n[loggers]\nkeys: root\nprefix: no\n[redbike-redis]\ndb: 3\n"
    )
    assert config == Config(timefile="t", redis={"db": 3})


def test_password_is_not_shown() -> None:
    """A Config in a log or a traceback does not show the arguments of redis.Redis."""
    assert "secret" not in repr(conf("[redbike]\n[redbike-redis]\npassword: secret\n"))


# Arguments of redis.Redis


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("host: redis.example.com", "redis.example.com"),
        ("host: 12", "12"),
        ("port: 6380", 6380),
        ("db: 0", 0),
        ("max_connections: 5", 5),
        ("health_check_interval: 30", 30),
        ("username: 7", "7"),
        ("password: 007", "007"),
        ("unix_socket_path: /run/redis.sock", "/run/redis.sock"),
        ("client_name: yes", "yes"),
        ("encoding: latin-1", "latin-1"),
        ("socket_timeout: 2.5", 2.5),
        ("socket_timeout: 2", 2.0),
        ("socket_connect_timeout: 1", 1.0),
        ("socket_keepalive: on", True),
        ("ssl: yes", True),
        ("ssl: TRUE", True),
        ("ssl: 1", True),
        ("ssl: no", False),
        ("ssl: false", False),
        ("ssl: off", False),
        ("ssl: 0", False),
        ("decode_responses: yes", True),
        ("retry_on_timeout: yes", True),
        ("single_connection_client: no", False),
        ("ssl_check_hostname: no", False),
        ("ssl_cert_reqs: none", "none"),
        ("ssl_certfile: a.pem", "a.pem"),
        ("ssl_keyfile: a.key", "a.key"),
        ("ssl_ca_certs: ca.pem", "ca.pem"),
        ("ssl_ca_data: BEGIN\n  abc=\n  END", "BEGIN\nabc=\nEND"),
        ("embedded: .redbike.server", ".redbike.server"),
        ("url: rediss://us:100%@redis.example.com:6380/0", "rediss://us:100%@redis.example.com:6380/0"),
        ("url: redis://localhost", "redis://localhost"),
        ("url: unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("sentinels: a:26379 [::1]:26379", "a:26379 [::1]:26379"),
        ("service_name: mymaster", "mymaster"),
        ("sentinel_username: us", "us"),
        ("sentinel_password: 007", "007"),
        ("cluster: yes", True),
        ("cluster: no", False),
    ],
)
def test_values_have_their_types(line: str, value: object) -> None:
    """G1: the arguments of redis.Redis are converted to their types, whatever redis-py annotates."""
    [(name, converted)] = redis_conf(line).items()
    assert name == line.partition(":")[0]
    assert converted == value
    assert type(converted) is type(value)


def test_every_plain_argument_is_settable() -> None:
    """G1: each argument of the installed redis-py whose default is plain is converted to its type."""
    samples = {bool: "yes", int: "2", str: "utf-8"}
    for name, argument in inspect.signature(redis.Redis).parameters.items():
        kind = type(argument.default)
        if kind in samples and not name.endswith("timeout"):
            assert type(redis_conf(f"{name}: {samples[kind]}")[name]) is kind


def test_redis_takes_them() -> None:
    """G1: redis.Redis accepts the arguments from the conf."""
    given = redis_conf("host: h\nport: 1\ndb: 2\nusername: u\npassword: p\nsocket_timeout: 3\nssl: no")
    kwargs = redis.Redis(**given).connection_pool.connection_kwargs
    assert {name: kwargs[name] for name in ("host", "port", "db", "username", "password")} == {
        "host": "h",
        "port": 1,
        "db": 2,
        "username": "u",
        "password": "p",
    }


@pytest.mark.parametrize("name", ["username", "password", "socket_timeout", "max_connections"])
def test_empty_is_none(name: str) -> None:
    """An empty value is None where redis.Redis takes None: no password, no time limit."""
    assert redis_conf(f"{name} =") == {name: None}


def test_empty_worker_is_none() -> None:
    """An empty worker is no worker."""
    assert conf("[redbike]\nworker =\n").worker is None


# Refused files


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("default-timeout: ten", "default-timeout: 'ten' is not a number of seconds"),
        *(
            (
                f"default_timeout: {text}",
                f"default-timeout: '{text}' is out of range; write a number of seconds from 0.001 to 1000000000",
            )
            for text in ("0", "-1", "nan", "inf", "0.0001", "1e300")
        ),
        (
            "default-timeout: 5 ; long",
            "default-timeout: '5 ; long' is not a number of seconds (write a comment on a separate line)",
        ),
        ("default-timeout:", "default-timeout: is empty; write a value or remove the line"),
        ("on-timeout: later", "on-timeout: 'later' is not one of drop, reschedule, retry"),
        ("on_error: Retry", "on-error: 'Retry' is not one of drop, reschedule, retry"),
        ("on-error:", "on-error: is empty; write a value or remove the line"),
        ("retries: 0", "retries: '0' is out of range; write a whole number from 1 to 100"),
        ("retries: 101", "retries: '101' is out of range; write a whole number from 1 to 100"),
        ("retries: many", "retries: 'many' is not a whole number"),
        ("prefix =", "prefix: is empty; write a value or remove the line"),
        ("timefile =", "timefile: is empty; write a value or remove the line"),
        ("prefix: a b", "prefix: 'a b' holds a space or an unprintable character; remove it"),
        ("prefix: a\x00", r"prefix: 'a\x00' holds a space or an unprintable character; remove it"),
        (
            "prefix: a #b",
            "prefix: 'a #b' holds a space or an unprintable character; remove it (write a comment on a separate line)",
        ),
        (
            "timefile: a\n  prefix: b",
            "timefile: continues on an indented line; a setting starts at the left edge",
        ),
    ],
)
def test_bad_value_in_redbike(line: str, reason: str) -> None:
    """G4: an impossible value of [redbike] is refused with file, section, setting, value and way out."""
    assert refusal(f"[redbike]\n{line}\n") == f"redbike.conf, [redbike] {reason}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("db: one", "db: 'one' is not a whole number"),
        ("port: 6379.0", "port: '6379.0' is not a whole number"),
        ("port: 0", "port: '0' is out of range; write a whole number from 1 to 65535"),
        ("port: 65536", "port: '65536' is out of range; write a whole number from 1 to 65535"),
        ("db: -1", "db: '-1' is out of range; write a whole number from 0 to 2147483647"),
        (
            "max_connections: 0",
            "max_connections: '0' is out of range; write a whole number from 1 to 2147483647",
        ),
        ("port: 1 ;a", "port: '1 ;a' is not a whole number (write a comment on a separate line)"),
        ("ssl: maybe", "ssl: 'maybe' is neither yes nor no"),
        ("socket-timeout: long", "socket_timeout: 'long' is not a number of seconds"),
        (
            "socket_timeout: 0",
            "socket_timeout: '0' is out of range; write a number of seconds from 0.001 to 1000000000",
        ),
        ("host: a b", "host: 'a b' holds a space or an unprintable character; remove it"),
        ("host =", "host: is empty; write a value or remove the line"),
        ("embedded =", "embedded: is empty; write a value or remove the line"),
        (
            "password: secret\n  db: 1",
            "password: continues on an indented line; a setting starts at the left edge",
        ),
        *(
            (
                f"{name}: x",
                f"{name}: needs an object, which a text cannot express; remove the setting, or set it in your own "
                "program with Redbike(redis_config=...)",
            )
            for name in (
                "connection_pool",
                "retry",
                "credential_provider",
                "retry_on_error",
                "socket_keepalive_options",
                "redis_connect_func",
            )
        ),
        *(
            (
                f"{name}: 1\nembedded: folder",
                f"embedded: excludes {name}, which may name another server; keep one or the other",
            )
            for name in ("host", "port", "unix_socket_path")
        ),
        *(
            (
                f"{one}\n{other}",
                f"{one.partition(':')[0]}: excludes {name}, which may name another server; keep one or the other",
            )
            for one, other, name in (
                ("url: redis://a", "host: b", "host"),
                ("url: redis://a", "port: 1", "port"),
                ("url: redis://a", "sentinels: b:1", "sentinels"),
                ("sentinels: a:1", "host: b", "host"),
                ("sentinels: a:1", "cluster: yes", "cluster"),
                ("cluster: yes", "db: 1", "db"),
                ("cluster: yes", "unix_socket_path: b", "unix_socket_path"),
                ("embedded: a", "url: redis://b", "url"),
                ("embedded: a", "sentinels: b:1", "sentinels"),
                ("embedded: a", "cluster: yes", "cluster"),
            )
        ),
        *(
            (f"url: {url}", "url: does not begin with redis://, rediss:// or unix://")
            for url in ("http://us:secret@host", "us:secret@host")
        ),
        ("cluster: perhaps", "cluster: 'perhaps' is neither yes nor no"),
        ("sentinels =", "sentinels: is empty; write a value or remove the line"),
        ("service-name: a b", "service_name: 'a b' holds a space or an unprintable character; remove it"),
    ],
)
def test_bad_value_in_redis(line: str, reason: str) -> None:
    """G4: an impossible argument of redis.Redis is refused with file, section, name and reason."""
    assert refusal(f"[redbike]\n[redbike-redis]\n{line}\n") == f"redbike.conf, [redbike-redis] {reason}"


def test_unknown_setting_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown setting of [redbike] is ignored, with a warning that shows the known ones."""
    assert conf("[redbike]\nprefix: a\ntime-file: b\n") == Config(prefix="a")
    expected = f"redbike.conf, [redbike] time-file: is unknown; did you mean timefile? Known names: timefile, {OTHERS}"
    assert caplog.record_tuples == [("redbike", logging.WARNING, expected)]


def test_unknown_setting_like_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """If no known setting is similar, none is suggested."""
    conf("[redbike]\nxyz: b\n")
    expected = f"redbike.conf, [redbike] xyz: is unknown. Known names: {KNOWN}"
    assert caplog.record_tuples == [("redbike", logging.WARNING, expected)]


def test_unknown_argument_is_an_error() -> None:
    """G4: a name that redis.Redis does not know is an error that lists the known names, the nearest first."""
    message = refusal("[redbike]\n[redbike-redis]\nhots: a\n")
    opening = "redbike.conf, [redbike-redis] hots: is unknown; did you mean host? Known names: host, "
    assert message.startswith(opening)
    known = message.removeprefix(opening).split(", ")
    assert {"embedded", "port", "password", "ssl"} < set(known)
    assert not {"host", "connection_pool", "retry"} & set(known)


@pytest.mark.parametrize(
    ("text", "where_and_why"),
    [
        ("", ": has no section [redbike]; write the line [redbike] above the settings"),
        ("[bike]\nprefix: a\n", ": has no section [redbike]; write the line [redbike] above the settings"),
        *(
            (
                f"[redbike]\n[{wrong}]\nport: 1\n",
                f", line 2: the section [{wrong}] is unknown; did you mean [{meant}]? (Choose a less similar name for a"
                " section of another program.)",
            )
            for wrong, meant in (
                ("redbike-reds", "redbike-redis"),
                ("redbike_redis", "redbike-redis"),
                ("Redbike-Redis", "redbike-redis"),
                (" redbike-redis ", "redbike-redis"),
                ("redbikes", "redbike"),
                ("readbike", "redbike"),
            )
        ),
        ("[redbike-redis]\n", ": has no section [redbike]; write the line [redbike] above the settings"),
        ("# a\nprefix: a\n", ", line 2: the line stands above the first [section]; move it into a section"),
        ("[redbike\nprefix: a\n", ", line 1: the line stands above the first [section]; move it into a section"),
        ("[redbike]\nprefix\n", ", line 2: not a setting; write name: value"),
        ("[redbike]\n: secret\n", ", line 2: not a setting; write name: value"),
        ("[redbike]\n[a]\n[redbike]\n", ", line 3: there is a second section [redbike]; merge the two"),
        (
            "[redbike]\ndefault-timeout: 1\n\ndefault_timeout: 2\n",
            ", line 4: [redbike] sets default_timeout twice; remove one of them",
        ),
        (b"[redbike]\nprefix: r\xe4der\n", ", line 2: the text is not UTF-8; save the file as UTF-8"),
        (b"\x89PNG\r\n\x1a\n", ", line 1: the text is not UTF-8; save the file as UTF-8"),
        (b"SQLite\x00", ", line 1: the line stands above the first [section]; move it into a section"),
    ],
)
def test_not_a_conf(text: str | bytes, where_and_why: str) -> None:
    """G4: what is not a conf is refused with file and line, without quoting the line."""
    assert refusal(text) == f"redbike.conf{where_and_why}"


def test_missing_file() -> None:
    """G4: a missing conf is named, with the two ways out."""
    with pytest.raises(ConfigError) as error:
        load("nowhere/.redbike.conf")
    assert str(error.value) == (
        "nowhere/.redbike.conf: there is no such file; write one with redbike init, or name another file with --config"
    )


def test_folder_as_file(tmp_path: Path) -> None:
    """G4: a conf that cannot be read (here: a folder) is named with the reason."""
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(error.value) == (f"{tmp_path}: cannot be read (Is a directory); name a readable file with --config")


LINES = st.sampled_from(
    ["[redbike]", "[redbike-redis]", "[app]", "[", "[]", "prefix: a", " b", "=", ":", "#", "db = 1", "\0"]
)


@given(st.binary(max_size=60) | st.lists(LINES | st.text(max_size=8)).map("\n".join))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_any_content_is_a_config_or_one_line(text: str | bytes) -> None:
    """G4: any content of a file gives a Config, or a ConfigError of one line that begins with the file."""
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        assert isinstance(conf(content), Config)
    except ConfigError as error:
        assert re.fullmatch(r"redbike\.conf(:|, line \d+:|, \[redbike(-redis)?\] ).+", str(error))


# The example is the manual

COMMENTED_OUT = re.compile(r"^#([a-z_-]+): (.+)$", re.MULTILINE)


def test_example_can_be_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The example loads without a warning, gives the defaults, and has a worker and a server to try."""
    Path("redbike.conf").write_text(EXAMPLE.read_text())
    server = {"embedded": ".redbike.server"}
    assert load("redbike.conf") == Config(worker="examples.workers:Demo('fast:fast:slow')", redis=server)
    assert caplog.record_tuples == []


def test_example_has_every_setting() -> None:
    """The example has every setting of Redbike."""
    shown = {name.replace("-", "_") for name, _ in COMMENTED_OUT.findall(EXAMPLE.read_text())} | {"worker", "embedded"}
    assert set(SETTINGS) | set(REDIS_SETTINGS) <= shown


def test_example_shows_the_defaults() -> None:
    """The values that the example shows for the settings of [redbike] are the defaults."""
    ours = EXAMPLE.read_text().partition("[redbike-redis]")[0]
    assert conf(COMMENTED_OUT.sub(r"\1: \2", ours)) == Config(worker=load(EXAMPLE).worker)


def test_each_line_of_the_example_works(caplog: pytest.LogCaptureFixture) -> None:
    """Each commented setting of the example loads without its #."""
    # Without the embedded server, which excludes settings that name another server.
    example = EXAMPLE.read_text().replace("\nembedded:", "\n#embedded:")
    matches = list(COMMENTED_OUT.finditer(example))
    assert len(matches) > 15
    for match in matches:
        conf(example[: match.start()] + match[0].removeprefix("#") + example[match.end() :])
    assert caplog.record_tuples == []


def test_settings_are_the_fields() -> None:
    """Each setting of [redbike] is a field of Config, and each field but the last two a setting."""
    assert [*SETTINGS, *COMMAND_SETTINGS, "redis", "given"] == [field.name for field in fields(Config)]
