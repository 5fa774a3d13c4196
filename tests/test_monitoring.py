"""examples/prometheus and examples/grafana: they are valid, and name only metrics that the exporter writes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client.parser import text_string_to_metric_families

from redbike.looking import metrics
from redbike.looking.rows import State
from redbike.store.counts import Counts

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
PROMETHEUS = ROOT / "examples" / "prometheus"
DASHBOARD = ROOT / "examples" / "grafana" / "redbike.json"
RULES = PROMETHEUS / "redbike.rules.yml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool (Debian: apt-get install prometheus)"
)


def exposition() -> str:
    """Return all metrics, with a sample of each."""
    counts = Counts.of({b"started 3 q": b"1", b"late_ms q": b"5", b"ended done q": b"1", b"retried q": b"1"})
    jobs = metrics.Jobs({state.value: 1 for state in State}, 1, 1, 1, 1.0)
    figures = metrics.Figures(counts, [metrics.Queue("q", 1)], {"worker": 1}, jobs=jobs)
    found = [*metrics.families(figures, metrics.Labels()), *metrics.of_the_exporter("1", "redbike", True, 0.1)]
    return metrics.written(found)[1].decode()


def written() -> dict[str, set[str]]:
    """Return the names of all samples that the exporter writes, and the labels of each."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return found


def expressions() -> dict[str, list[str]]:
    """Return the PromQL expressions of the dashboard and of the alerts."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    variables = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return {
        "dashboard": [target["expr"] for panel in panels() for target in panel["targets"]] + variables,
        "alerts": [rule["expr"] for group in groups for rule in group["rules"]],
    }


@pytest.mark.parametrize("place", ["dashboard", "alerts"])
def test_only_metrics_that_exist(place: str) -> None:
    """Each metric of the dashboard and of the alerts is one that the exporter writes, with the labels that it has."""
    known = written()
    used: set[str] = set()
    for expression in expressions()[place]:
        for name, _, matchers in re.findall(r"\b(redbike_\w+)(\{([^}]*)\})?", expression):
            assert name in known, expression
            labels = set(re.findall(r"(\w+)=", matchers)) - {"job", "instance"}
            assert labels <= known[name], expression
            used.add(name)
        grouped = {one for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for one in names.split(", ")}
        assert grouped <= {"job", "instance", "le", "queue", "outcome", "kind", "status"}, expression
    assert len(used) >= 8


def test_the_page_lists_all_metrics() -> None:
    """docs/metrics.md has a row for each metric with its type, its labels and its help text, and names each alert."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(redbike_\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", page, re.MULTILINE)
    expected = []
    for family in text_string_to_metric_families(exposition()):
        [name] = {re.sub("_(bucket|sum|count)$", "", sample.name) for sample in family.samples}
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        expected.append((name, family.type, labels, family.documentation))
    found = [(name, kind, set(re.findall(r"`(\w+)`", labels)), words) for name, kind, labels, words in rows]
    assert found == expected
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    assert set(re.findall(r"`(Redbike\w+)`", page)) == {rule["alert"] for group in groups for rule in group["rules"]}


def test_the_dashboard_can_be_imported() -> None:
    """The dashboard asks for its data source, and each panel has its id, its place and its question."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    [source] = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
    assert source["query"] == "prometheus"
    sources = [panel["datasource"] for panel in panels()] + [
        one["datasource"] for p in panels() for one in p["targets"]
    ]
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
    assert len({panel["id"] for panel in panels()}) == len(panels())
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells, panel["title"]
        cells |= own
        assert panel["title"]
        assert panel["targets"]


@needs_promtool
def test_expressions_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """promtool parses each expression of the dashboard."""
    found = [target["expr"].replace("$__rate_interval", "1m") for panel in panels() for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(found)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_conf_of_prometheus_is_valid() -> None:
    """promtool finds no fault with prometheus.yml and the alerts that it names."""
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_the_alerts_fire_when_they_should() -> None:
    """The tests of the alerts pass: a sound fleet raises none, and each trouble raises its own."""
    promtool("test", "rules", "redbike.tests.yml")


def test_each_alert_is_tested() -> None:
    """redbike.tests.yml has a case in which each alert fires, and a case in which it does not."""
    tests = yaml.safe_load((PROMETHEUS / "redbike.tests.yml").read_text("utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    [group] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for rule in group["rules"]}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts
