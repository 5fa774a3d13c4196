"""The conf: paths start in its folder, and the environment may have the values and the server."""

from pathlib import Path

import pytest
from confs import conf, redis_conf, refusal

from redbike.config import Config, load
from redbike.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_a_folder")


# Folders


PATHS = ["timefile", "embedded", "unix_socket_path", "ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"]


@pytest.mark.parametrize("name", PATHS)
def test_relative_paths_start_in_the_folder_of_the_conf(name: str) -> None:
    """G1: a relative path in the conf is one from the folder of the conf, whatever the current folder is."""
    section = "redbike" if name == "timefile" else "redbike-redis"
    for folder, value, found in (
        ("etc", "a/b", "etc/a/b"),
        ("etc", "../b", "etc/../b"),
        ("etc", "/run/b", "/run/b"),
        ("", "b", "b"),
        (str(Path.cwd()), "b", f"{Path.cwd()}/b"),
    ):
        path = Path(folder) / "redbike.conf"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"[redbike]\n[{section}]\n{name}: {value}\n".replace("[redbike]\n[redbike]", "[redbike]"))
        config = load(path)
        assert {"timefile": config.timefile, **config.redis}[name] == found


def test_the_default_time_file_is_beside_the_conf() -> None:
    """G1: without the setting, the time file is in the folder of the conf; `~` stays for the embedded server."""
    Path("etc").mkdir()
    Path("etc/redbike.conf").write_text("[redbike]\n[redbike-redis]\nembedded: ~/server\n")
    assert load("etc/redbike.conf") == Config(timefile="etc/.redbike.timefile", redis={"embedded": "~/server"})


# The environment


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${SECRET}", "p@ss ${x} %"),
        ("a${SECRET}b${EMPTY}c", "ap@ss ${x} %bc"),
        ("$SECRET", "$SECRET"),
        ("a$b$$c$", "a$b$$c$"),
        ("$${SECRET}", "${SECRET}"),
        ("$$${SECRET}", "$${SECRET}"),
        ("$${", "${"),
    ],
)
def test_values_from_the_environment(monkeypatch: pytest.MonkeyPatch, written: str, read: str) -> None:
    """G1: `${NAME}` is the value of the variable, `$${` is `${`, and any other `$` is a character."""
    monkeypatch.setenv("SECRET", "p@ss ${x} %")
    monkeypatch.setenv("EMPTY", "")
    assert redis_conf(f"password: {written}") == {"password": read}
    assert conf(f"[redbike]\ntimefile: {written}\n").timefile == read


def test_values_from_the_environment_have_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: a number from the environment is a number, and an empty variable is an empty value."""
    monkeypatch.setenv("PORT", "6380")
    monkeypatch.setenv("EMPTY", "")
    assert redis_conf("port: ${PORT}\npassword: ${EMPTY}") == {"port": 6380, "password": None}
    assert refusal("[redbike]\nprefix: ${EMPTY}\n").startswith("redbike.conf, [redbike] prefix: is empty")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("secret${ABSENT}", "the environment variable ABSENT is not set; set it, or write $${ for the characters ${"),
        ("secret${", "holds ${ without a name; write ${NAME}, or $${ for the characters ${"),
        ("secret${a-b}", "holds ${ without a name; write ${NAME}, or $${ for the characters ${"),
        ("secret${}", "holds ${ without a name; write ${NAME}, or $${ for the characters ${"),
    ],
)
def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch, written: str, said: str) -> None:
    """G4: a variable that is not set is an error that names it, and quotes nothing else of the value."""
    monkeypatch.delenv("ABSENT", raising=False)
    message = refusal(f"[redbike]\n[redbike-redis]\npassword: {written}\n")
    assert message == f"redbike.conf, [redbike-redis] password: {said}"
    assert refusal(f"[redbike]\nprefix: {written}\n") == f"redbike.conf, [redbike] prefix: {said}"


def test_other_sections_keep_their_dollars() -> None:
    """G1: sections of other programs may hold anything."""
    assert conf("[app]\nx: ${ABSENT}\n[redbike]\n") == Config()


def test_the_url_of_the_environment_replaces_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: REDBIKE_URL takes the place of the server, the user and the password in the conf; the rest stays."""
    monkeypatch.setenv("REDBIKE_URL", "redis://redis.example.com")
    url = {"url": "redis://redis.example.com"}
    assert redis_conf("") == url
    for lines in (
        "host: a\nport: 1\ndb: 2\nusername: u\npassword: p",
        "embedded: folder",
        "unix_socket_path: /run/s",
        "url: redis://other",
        "nodes: a:1 b:2",
        "sentinels: a:1\nservice_name: m\nsentinel_username: u\nsentinel_password: p",
    ):
        assert redis_conf(f"{lines}\nsocket_timeout: 3") == {"socket_timeout": 3.0, **url}
    monkeypatch.setenv("REDBIKE_URL", "")
    assert redis_conf("host: a") == {"host": "a"}


def test_a_url_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: a REDBIKE_URL that is no URL is an error that names it, and does not quote it."""
    monkeypatch.setenv("REDBIKE_URL", "secret")
    assert refusal("[redbike]\n") == (
        "the environment variable REDBIKE_URL: does not begin with redis://, rediss:// or unix://"
    )


def test_an_embedded_server_in_the_current_folder_is_not_left_alone() -> None:
    """G1: where the server of an earlier version lies in the current folder, a new and empty server is not started."""
    Path("etc").mkdir()
    Path("etc/redbike.conf").write_text("[redbike]\n[redbike-redis]\nembedded: server\n")
    Path("server").mkdir()
    with pytest.raises(ConfigError, match=r"etc/server would be a new and empty server; move server of the current"):
        load("etc/redbike.conf")
    Path("server").rename("etc/server")
    assert load("etc/redbike.conf").redis == {"embedded": "etc/server"}


def test_a_url_of_the_environment_needs_no_other_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: a password that REDBIKE_URL replaces may name a variable that is not set."""
    monkeypatch.setenv("REDBIKE_URL", "redis://redis.example.com")
    monkeypatch.delenv("ABSENT", raising=False)
    assert redis_conf("password: ${ABSENT}") == {"url": "redis://redis.example.com"}
