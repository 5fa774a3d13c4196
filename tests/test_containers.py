"""The files of examples/container: they are valid, name no secret, and say the same as each other and as the code.

No container is built or started here, because that needs a daemon and a network: test_container_commands.py runs the
commands of the containers as processes.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import docopt
import pytest
from helpers import ROOT

from redbike import config
from redbike.usage import USAGE

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

CONTAINER = ROOT / "examples" / "container"
KUBERNETES = CONTAINER / "kubernetes"
DOCKERFILE = CONTAINER / "Dockerfile"
OURS = ("dispatcher", "worker", "page", "exporter")
ENVIRONMENT = {
    "REDBIKE_STATE": "/var/lib/redbike",
    "REDBIKE_WEB_PASSWORD": "",
    "REDIS_HOST": "redis.example.com",
    "REDIS_PORT": "6379",
    "REDIS_PASSWORD": "hunter2",
}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yaml").read_text("utf-8"))
    return found


def documents() -> list[dict[str, Any]]:
    """Return the resources of the Kubernetes manifests."""
    names = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))["resources"]
    assert sorted(names) == sorted(path.name for path in KUBERNETES.glob("*.yaml") if path.stem != "kustomization")
    return [found for name in names for found in yaml.safe_load_all((KUBERNETES / name).read_text("utf-8"))]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in documents() if found["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    return {
        name.removeprefix("redbike-"): found["spec"]["template"]["spec"]
        for name, found in of_kind("Deployment").items()
    }


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile and their arguments, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(words[0], words[1]) for line in text.splitlines() if (words := line.split(None, 1))]


def of_instruction(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def copied() -> list[str]:
    """Return the files and folders that the Dockerfile copies from the checkout."""
    copies = [shlex.split(arguments) for arguments in of_instruction("COPY")]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def test_the_image_is_not_root_and_has_no_shell_before_redbike() -> None:
    """The image runs as a user without a name, under tini, its forms are lists, and a health check comes with it."""
    last_stage = instructions()[max(n for n, (name, _) in enumerate(instructions()) if name == "FROM") :]
    users = [arguments for name, arguments in last_stage if name == "USER"]
    assert users == ["10001:10001"]
    assert "useradd --system --uid 10001 " in of_instruction("RUN")[-1]
    assert json.loads(of_instruction("ENTRYPOINT")[0]) == ["tini", "--", "redbike"]
    json.loads(of_instruction("CMD")[0])
    [check] = of_instruction("HEALTHCHECK")
    assert json.loads(check.partition(" CMD ")[2]) == ["redbike", "check", "--self"]


def test_the_image_names_no_secret() -> None:
    """No ARG or ENV of the Dockerfile is a secret, and no base image is the latest of its kind."""
    words = " ".join(of_instruction("ARG") + of_instruction("ENV")).upper()
    assert not re.search("PASSWORD|SECRET|TOKEN|REDBIKE_URL", words)
    for base in of_instruction("FROM"):
        assert re.match(r"\S+:\d", base)


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    """Each source of COPY exists, and Dockerfile.dockerignore lets these files through, and no others."""
    for source in copied():
        assert (ROOT / source).exists(), source
    ignore = (CONTAINER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert ignore[1] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == {source.removeprefix("./") for source in copied()}


@pytest.mark.skipif(int(version("setuptools").split(".")[0]) < 77, reason="setuptools is too old")
def test_what_the_image_copies_is_enough_for_the_wheel(tmp_path: Path) -> None:
    """The sources that the build stage copies make a wheel, and the wheel has the extras that the image installs."""
    for source in (ROOT / name for name in copied()):
        if source.is_dir():
            shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    build = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert "redbike/store/lua/turn.lua" in archive.namelist()
    # `redbike[…]` of the build stage.
    extras = set(re.findall(r"\[([a-z,]+)\]", of_instruction("RUN")[1])[0].split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert extras <= set(project["optional-dependencies"])


def test_the_compose_file_fits_its_schema() -> None:
    """compose.yaml fits the schema of the Compose specification."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            CONTAINER / "compose.yaml",
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_manifests_fit_their_schemas() -> None:
    """Each resource fits the schema of Kubernetes, without unknown fields."""
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    kinds = [validate.validate(found, validate.latest_version(), strict=True) for found in documents()]
    assert len(kinds) == len(documents()) >= 10


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl")
def test_the_manifests_build() -> None:
    """`kubectl kustomize` puts the resources together: all of them in the namespace redbike."""
    built = subprocess.run(["kubectl", "kustomize", KUBERNETES], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    found = list(yaml.safe_load_all(built.stdout))
    assert len(found) == len(documents())
    assert {one["metadata"]["namespace"] for one in found} == {"redbike"}


def commands() -> list[tuple[str, list[str]]]:
    """Return the command of each container of Redbike, in compose.yaml and in the manifests."""
    services = compose()["services"]
    found = [(f"compose {name}", services[name]["command"]) for name in OURS]
    found += [(f"kubernetes {name}", pod["containers"][0]["args"]) for name, pod in pods().items()]
    checks = [json.loads(of_instruction("HEALTHCHECK")[0].partition(" CMD ")[2])]
    for pod in pods().values():
        probes = [probe for name, probe in pod["containers"][0].items() if name.endswith("Probe")]
        checks += [probe["exec"]["command"] for probe in probes if "exec" in probe]
    assert {check[0] for check in checks} == {"redbike"}
    return found + [(f"check {number}", check[1:]) for number, check in enumerate(checks)]


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_commands_of_the_containers_exist(name: str, command: list[str]) -> None:
    """Each command of a container and of a health check is a command of redbike."""
    arguments = docopt.docopt(USAGE, command)
    assert arguments[command[0]] is True, name


def test_both_kinds_of_containers_run_the_same() -> None:
    """The manifests have the commands and the numbers of the compose file, and their conf has its settings."""
    services, deployed = compose()["services"], of_kind("Deployment")
    assert set(pods()) == set(OURS)
    for name in OURS:
        deployment = deployed[f"redbike-{name}"]["spec"]
        assert services[name]["command"] == deployment["template"]["spec"]["containers"][0]["args"]
        assert services[name].get("deploy", {"replicas": 1})["replicas"] == deployment["replicas"]
    conf = of_kind("ConfigMap")["redbike-conf"]["data"]["redbike.conf"]

    def settings(text: str) -> list[str]:
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    assert settings(conf) == settings((CONTAINER / "redbike.conf").read_text("utf-8"))


def test_the_conf_reads_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The conf of the containers loads with their environment, and an unset variable is named."""
    monkeypatch.setattr("redbike.conffile._from_environment", {})  # else later messages hide these values
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    conf = config.load(CONTAINER / "redbike.conf")
    assert (conf.timefile, conf.prefix, conf.log_format) == ("/var/lib/redbike/timefile", "redbike", "json")
    assert conf.redis == {"host": "redis.example.com", "port": 6379, "password": "hunter2"}
    lines = (CONTAINER / "redbike.conf").read_text("utf-8").splitlines()
    used = {name for line in lines if line[:1] != "#" for name in re.findall(r"\$\{(\w+)\}", line)}
    assert used == set(ENVIRONMENT)
    given = {"REDBIKE_STATE"}  # by the image
    environment = compose()["services"]["worker"]["environment"]
    assert used == set(environment) | given
    pod = pods()["worker"]["containers"][0]
    assert (
        used == set(of_kind("ConfigMap")["redbike-environment"]["data"]) | {one["name"] for one in pod["env"]} | given
    )


def test_no_file_holds_a_secret() -> None:
    """Passwords come from the environment of compose, which refuses to start without them, and from a Secret."""
    for path in CONTAINER.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            for line in path.read_text("utf-8").splitlines():
                if match := re.match(
                    r"\W*(?:\w|-)*(?:password|_AUTH|requirepass)(?::|=| )\s*(.*)", line, re.IGNORECASE
                ):
                    assert re.fullmatch(r'(""|"?\$\{\w+(:\?[\w .]+)?\}"?|)', match[1]), f"{path.name}: {line}"
    assert of_kind("Secret") == {}
    secrets = [
        one["valueFrom"]["secretKeyRef"]
        for pod in pods().values()
        for one in pod["containers"][0]["env"]
        if "valueFrom" in one
    ]
    assert {secret["name"] for secret in secrets} == {"redbike"}
    assert {secret["key"] for secret in secrets} == {"redis-password", "web-password"}


def test_only_the_page_has_its_password() -> None:
    """The password of the page is empty for the other containers."""
    services = compose()["services"]
    assert {name: bool(services[name]["environment"]["REDBIKE_WEB_PASSWORD"]) for name in OURS} == {
        name: name == "page" for name in OURS
    }
    for name, pod in pods().items():
        [one] = [one for one in pod["containers"][0]["env"] if one["name"] == "REDBIKE_WEB_PASSWORD"]
        assert ("valueFrom" in one) == (name == "page")


def test_the_root_of_the_containers_is_read_only() -> None:
    """Containers of Redbike have a read-only root, memory for the time file, no capability and no new privilege."""
    services = compose()["services"]
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert any(mount.startswith("/var/lib/redbike:uid=10001,") for mount in service["tmpfs"])
        # Compose refuses such a config in a service whose root is read-only.
        assert "configs" not in service
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        assert "/var/lib/redbike" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_workers_get_the_time_to_finish() -> None:
    """A worker gets more time to stop than a run may take, and a drained node leaves a dispatcher and most workers."""
    [line] = [
        line for line in (CONTAINER / "redbike.conf").read_text("utf-8").splitlines() if "default-timeout:" in line
    ]
    longest_s = int(line.split()[1])
    assert int(compose()["services"]["worker"]["stop_grace_period"].removesuffix("s")) > longest_s
    assert pods()["worker"]["terminationGracePeriodSeconds"] > longest_s
    budgets = of_kind("PodDisruptionBudget")
    for name, budget in budgets.items():
        template = of_kind("Deployment")[name]["spec"]["template"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert set(budgets) == {"redbike-dispatcher", "redbike-worker"}


def test_a_halted_fleet_stays_halted() -> None:
    """Compose starts a loop again only after a failure, because a start would clear HALT."""
    services = compose()["services"]
    assert {services[name]["restart"] for name in ("dispatcher", "worker")} == {"on-failure"}


def test_probes_do_not_kill_loops_while_redis_is_away() -> None:
    """Dispatchers and workers have no liveness probe, and no liveness probe asks Redis."""
    for name, pod in pods().items():
        container = pod["containers"][0]
        assert {"startupProbe", "readinessProbe"} <= set(container)
        assert ("livenessProbe" in container) == (name in ("page", "exporter"))
        if "livenessProbe" in container:
            assert container["livenessProbe"].get("httpGet", {"path": "/"})["path"] == "/"


def test_only_this_machine_reaches_the_ports() -> None:
    """Compose publishes ports on the loopback address only, and the one of Valkey not at all."""
    services = compose()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in services["valkey"]


def test_valkey_keeps_its_data() -> None:
    """The Valkey of compose writes an append-only file into a volume, and evicts nothing."""
    [conf] = compose()["configs"].values()
    assert "appendonly yes\n" in conf["content"]
    assert "maxmemory-policy noeviction\n" in conf["content"]
    assert "valkey:/data" in compose()["services"]["valkey"]["volumes"]


def test_prometheus_finds_the_exporter() -> None:
    """Prometheus of compose reads examples/prometheus, which names the exporter by its service and its port."""
    scraped = yaml.safe_load((ROOT / "examples" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    [target] = scraped["scrape_configs"][0]["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert f"--port={port}" in compose()["services"][host]["command"]
    [folder] = [one for one in compose()["services"]["prometheus"]["volumes"] if one.startswith(".")]
    assert os.path.normpath(CONTAINER / folder.partition(":")[0]) == str(ROOT / "examples" / "prometheus")
