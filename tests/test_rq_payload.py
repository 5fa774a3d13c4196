"""The payload of a call of RQ: what it may hold, and what is said of a payload that cannot be sent."""

import json

import pytest
from helpers import events
from hypothesis import given
from hypothesis import strategies as st
from rq_users import payload, texts

from redbike import Redbike
from redbike.bridges.rq.payload import Call, columns, read, written
from redbike.worker import BadJob

BAD = {
    "": "the job has no payload",
    "{": "the payload is not JSON",
    "[" * 100_000: "the payload is not JSON",
    "[1]": "the payload is not a JSON object",
    "{}": "the payload names no function",
    '{"func": 5}': "func: 5 is not the dotted name of a function",
    '{"func": "mail"}': "func: 'mail' is not the dotted name of a function",
    '{"func": "shop.tasks:mail"}': "func: 'shop.tasks:mail' is not the dotted name",
    '{"func": "a.b", "queue": ""}': "queue: '' is not a text",
    '{"func": "a.b", "queue": "\\ud800"}': "queue: ",
    '{"func": "a.b", "args": {"a": 1}}': "args: {'a': 1} is not an array of JSON",
    '{"func": "a.b", "kwargs": [1]}': "kwargs: [1] is not an object of JSON",
    '{"func": "a.b", "timeout": 0}': "timeout: 0 is not a whole number of seconds above 0",
    '{"func": "a.b", "timeout": "soon"}': "timeout: 'soon' is not a whole number",
    '{"func": "a.b", "ttl": -1}': "ttl: -1 is not a whole number of seconds above 0",
    '{"func": "a.b", "result_ttl": 1.5}': "result_ttl: 1.5 is not a whole number",
    '{"func": "a.b", "failure_ttl": true}': "failure_ttl: True is not a whole number",
    '{"func": "a.b", "meta": "x"}': "meta: 'x' is not an object of JSON",
    '{"func": "a.b", "description": "\\ud800"}': "description: is not valid Unicode",
    '{"func": "a.b", "at_front": 1}': "at_front: 1 is not true or false",
    '{"func": "a.b", "job_timeout": 5}': "unknown member 'job_timeout': the members are func, queue, args",
}


@pytest.mark.parametrize(("text", "says"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_payload_is_named(text: str, says: str) -> None:
    """Each fault has its reason, in one short line, and `columns` is empty and raises nothing."""
    with pytest.raises(BadJob) as caught:
        read(text)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 250
    assert columns(text) == {"FUNC": "", "QUEUE": ""}


def test_bad_jobs_do_not_hold_up_a_good_job(rq_bike: Redbike, rq_client: object) -> None:
    """Beside jobs with bad payloads, the good job is sent; each bad job is BAD, and its reason is in the history."""
    for number, text in enumerate(BAD):
        rq_bike.set(f"bad {number}", "NOW", payload=text)
    rq_bike.set("good", "NOW", payload=payload(args=["good"]))
    for _ in range(len(BAD) + 1):
        rq_bike.work()
    assert texts(rq_client) == ["good"]  # type: ignore[arg-type]
    found = events(rq_bike)
    assert found.pop("good") == "STP"
    assert set(found.values()) == {"BAD"}
    last = rq_bike.details("bad 4")["last_run"]
    assert isinstance(last, dict)
    assert "names no function" in last["error"]


def test_columns() -> None:
    """What `redbike info` shows: the function, and the queue, `default` if the payload names none."""
    assert columns('{"func": "shop.mail"}') == {"FUNC": "shop.mail", "QUEUE": "default"}
    assert columns('{"func": "shop.mail", "queue": "slow"}') == {"FUNC": "shop.mail", "QUEUE": "slow"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SECONDS = st.none() | st.integers(1, 10**9) | st.sampled_from(["10m", "1h", "30s", "5"])


@given(
    args=st.lists(JSON, max_size=3),
    kwargs=st.dictionaries(st.text(), JSON, max_size=3),
    timeout=SECONDS | st.just(-1),
    result_ttl=SECONDS | st.sampled_from([0, -1]),
    ttl=SECONDS,
    failure_ttl=SECONDS | st.sampled_from([0, -1]),
    meta=st.none() | st.dictionaries(st.text(), JSON, min_size=1, max_size=2),
    at_front=st.booleans(),
)
def test_what_is_written_can_be_read(**members: object) -> None:
    """A payload holds every member without loss, and the same members always make the same text."""
    given = {"func": "shop.tasks.mail", "queue": "slow lane", **members}
    text = written(given)
    assert read(text) == Call(**given)  # type: ignore[arg-type]
    assert text == written(dict(reversed(given.items())))
    assert json.loads(text)["func"] == "shop.tasks.mail"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"args": [object()]}, "args: cannot be written as JSON"),
        ({"kwargs": {"at": {1, 2}}}, "kwargs: cannot be written as JSON"),
        ({"args": [float("nan")]}, "args: cannot be written as JSON"),
        ({"timeout": "soon"}, "timeout: 'soon' is not"),
    ],
)
def test_what_cannot_be_written_is_named(members: dict[str, object], says: str) -> None:
    """Arguments that JSON cannot hold are refused when the job is registered, not when it runs."""
    with pytest.raises(ValueError, match=says):
        written({"func": "a.b", **members})
