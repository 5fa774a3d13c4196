"""The settings of the bridge in a Celery app: which server, which prefix, and settings that cannot be used.

The numbers are those of the table in test_celery_entry.py.
"""

import pytest
from celeries import Project

from redbike.bridges.celery import RedbikeScheduler
from redbike.bridges.celery.conf import Settings

pytestmark = pytest.mark.not_on_a_cluster("a broker of Celery is no Cluster")


@pytest.mark.parametrize(
    ("conf", "wanted"),
    [
        ({"redbike_url": "redis://me:pw@here:1/2"}, {"url": "redis://me:pw@here:1/2"}),
        ({"redbike_url": "rediss://here:1/2"}, {"url": "rediss://here:1/2"}),
        ({"redbike_url": "unix:///s?db=3"}, {"url": "unix:///s?db=3"}),
        ({"broker_url": "redis://here:1/2"}, {"url": "redis://here:1/2"}),
        ({"broker_url": "redis://here:1/2;redis://there:1/2"}, {"url": "redis://here:1/2"}),
        ({"broker_url": ["redis://here:1/2", "redis://there:1/2"]}, {"url": "redis://here:1/2"}),
        ({"broker_write_url": "redis://here:3"}, {"url": "redis://here:3"}),
        ({"broker_url": "redis+socket:///s?virtual_host=3"}, {"url": "unix:///s?db=3"}),
        (
            {"broker_url": "rediss://here:1", "broker_use_ssl": {"ssl_ca_certs": "ca.pem", "keyfile": "x"}},
            {"url": "rediss://here:1", "ssl_ca_certs": "ca.pem"},
        ),
        (
            {"redbike_redis_options": {"sentinels": "a:1,b:2", "service_name": "m"}},
            {"sentinels": "a:1,b:2", "service_name": "m"},
        ),
        (
            {"redbike_redis_options": {"cluster": True, "host": "here"}, "broker_url": "amqp://there"},
            {"cluster": True, "host": "here"},
        ),
        (
            {"redbike_url": "redis://here", "redbike_redis_options": {"socket_timeout": 3}},
            {"url": "redis://here", "socket_timeout": 3},
        ),
        ({"redbike_redis_options": {"embedded": "folder"}}, {"embedded": "folder"}),
    ],
)
def test_29_the_settings_say_which_server(project: Project, conf: dict[str, object], wanted: dict[str, object]) -> None:
    """The settings of the app, or its broker, name the Redis of the schedule."""
    assert Settings.of(project.app(**conf)).redis_config == wanted


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"broker_url": "amqp://me:s3cret@here"}, "redbike_url: is not set"),
        ({"redbike_url": "me:s3cret@here"}, "redbike_url: does not begin"),
        ({"redbike_url": "sentinel://me:s3cret@here"}, "sentinels"),
        ({"redbike_redis_options": "s3cret"}, "redbike_redis_options: a dict"),
        ({"redbike_redis_options": {"sokket_timeout": 3}}, "sokket_timeout"),
        ({"redbike_lease": "s3cret"}, "lease"),
        ({"redbike_lease": 19}, "at least 20 s"),
        ({"redbike_history": -1}, "history"),
        ({"task_always_eager": True}, "task_always_eager"),
    ],
)
def test_29_a_setting_that_cannot_be_used_ends_the_process_with_78(
    project: Project, conf: dict[str, object], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting that cannot be used is named without a password, and the process exits with 78."""
    with pytest.raises(SystemExit) as ended:
        RedbikeScheduler(project.app(**conf))
    assert ended.value.code == 78
    (line,) = [record.message for record in caplog.records]
    assert told in line
    assert conf.get("redbike_lease") == "s3cret" or "s3cret" not in line


def test_30_the_prefix_of_the_keys_and_the_namespace_of_the_settings(project: Project) -> None:
    """The keys have the prefix of the app. Settings may have a namespace."""
    from celery import Celery

    app = Celery(set_as_current=False, broker=project.url)
    assert Settings.of(app).prefix == "redbike:celery"
    namespaced = Celery(set_as_current=False)
    settings = {"PROJ_REDBIKE_KEY_PREFIX": "mine", "PROJ_REDBIKE_LEASE": 40, "PROJ_BROKER_URL": "redis://here"}
    namespaced.config_from_object(settings, namespace="PROJ")
    found = Settings.of(namespaced)
    assert (found.prefix, found.lease_s, found.redis_config) == ("mine", 40, {"url": "redis://here"})
    old = Celery(set_as_current=False)
    old.conf.update(REDBIKE_KEY_PREFIX="old", BROKER_URL="redis://here")
    assert Settings.of(old).prefix == "old"
    for one in (app, namespaced, old):
        one.close()
