"""The dashboard and the alerts: every query holds, and asks for what pullgate (or the API server) really counts."""
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

import chart
from rendering import expect, same

TELEMETRY = chart.ROOT / "src/telemetry/families.rs"
DASHBOARD = chart.CHART / "dashboards/pullgate-dashboard.json"
ALERTS = chart.CHART / "files/alerts.yaml"
OPERATIONS = chart.ROOT / "docs/operations.md"
# The API server's, not ours: name -> labels.
FOREIGN = {"apiserver_admission_webhook_fail_open_count": {"name", "type"}}
# The process's own, by the names that every client library has for it (src/telemetry/process.rs).
PROCESS = {name: set() for name in re.findall(r'"(process_\w+?)"', (chart.ROOT / "src/telemetry/process.rs").read_text())}
PROCESS = {{"process_start_time": "process_start_time_seconds", "process_cpu": "process_cpu_seconds_total",
            "process_resident_memory": "process_resident_memory_bytes", "process_virtual_memory": "process_virtual_memory_bytes"}.get(name, name):
           labels for name, labels in PROCESS.items()}
# What Prometheus itself puts on whatever it scrapes.
TARGET = {"job", "instance", "namespace", "pod", "service", "endpoint", "container"}


def metrics():
    """Name as it is scraped -> labels, from the registrations in the source."""
    source = TELEMETRY.read_text()
    structs = {name: re.findall(r"(?m)^\s+(?:pub\(super\) )?(\w+): ", body) for name, body in re.findall(r"(?s)struct (\w+Labels) \{(.*?)\n\}", source)}
    [families] = re.findall(r"(?s)struct Families \{(.*?)\n\}", source)
    fields = dict(re.findall(r"(?m)^\s+(?:pub\(super\) )?(\w+): (.+),$", families))
    out = {}
    registrations = re.findall(r'(?s)registry\.register(_with_unit)?\(\s*"(\w+)",\s*"((?:[^"\\]|\\.)*)",(.*?)families\.(\w+)\.clone\(\)', source)
    expect(len(registrations) == len(re.findall(r"registry\.register", source)), "src/telemetry/families.rs registers in a way that is not read here")
    for unit, name, _, between, field in registrations:
        kind = fields[field]
        labels = set(structs[re.search(r"Family<(\w+)", kind).group(1)]) if "Family<" in kind else set()
        full = f"pullgate_{name}" + ("_" + re.search(r"Unit::(\w+)", between).group(1).lower() if unit else "")
        if "Histogram" in kind:
            out |= {f"{full}_bucket": labels | {"le"}, f"{full}_sum": labels, f"{full}_count": labels}
        elif "Counter" in kind:
            out[f"{full}_total"] = labels
        else:
            out[full] = labels
    expect(len(out) > 10, f"{out}")
    return out


def queries():
    """(where, expression) of every panel, every variable and every alert."""
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for alert in alerts():
        yield f"alert {alert['alert']}", alert["expr"]


def alerts():
    return yaml.safe_load(ALERTS.read_text())["rules"]


def check_names(where, expression, known):
    """Every metric is known, every label of a selector is one of its own, and what is grouped by is a label of one of the metrics."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    names = re.findall(r"\b(?:pullgate|apiserver|process)_\w+", bare)
    expect(names, f"{where}: asks for nothing: {expression}")
    for name in names:
        expect(name in known, f"{where}: there is no metric {name}")
    for name, selector in re.findall(r"\b((?:pullgate|apiserver|process)_\w+)\{([^}]*)\}", bare):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
            expect(label in known[name] | TARGET, f"{where}: {name} has no label {label}")
    possible = set().union(*(known[name] for name in names)) | TARGET
    for labels in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare):
        for label in filter(None, re.split(r"\s*,\s*", labels.strip())):
            expect(label in possible, f"{where}: grouped by {label}, which none of its metrics has")


def test_every_query_asks_for_what_is_there():
    known = metrics() | FOREIGN | PROCESS
    for where, expression in queries():
        check_names(where, expression, known)
    board = json.loads(DASHBOARD.read_text())
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            expect(name in known and label in known[name] | TARGET, f"variable {variable['name']}: {name} has no label {label}")


def test_the_check_itself_finds_wrong_names():
    for wrong in ("sum(pullgate_reviews)", 'pullgate_reviews_total{outlook="x"}', "sum by (cause) (pullgate_reviews_total)", "up"):
        try:
            check_names("here", wrong, metrics())
        except AssertionError:
            continue
        raise AssertionError(f"{wrong} was not refused")


def test_metrics_are_named_by_convention():
    # https://prometheus.io/docs/practices/naming/
    for name, labels in metrics().items():
        expect(re.fullmatch(r"[a-z][a-z0-9_]*", name) and "__" not in name, name)
        expect(not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent|counter|gauge|histogram)(_|$)", name), f"{name}: base units only")
        for label in labels - {"le"}:
            expect(label not in TARGET, f"{name}: the label {label} is the scraper's")


def test_the_dashboard_can_be_imported():
    board = json.loads(DASHBOARD.read_text())
    same(board["uid"], "pullgate")
    ids = [panel["id"] for panel in board["panels"]]
    expect(len(ids) == len(set(ids)), f"{ids}")
    expect("id" not in board, "an id belongs to one Grafana")
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        expect(at["x"] + at["w"] <= 24, f"{panel['title']} is too wide")
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        expect(not cells & taken, f"{panel['title']} lies over another")
        taken |= cells
        if panel["type"] != "row":
            expect(panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"])
            refs = [target["refId"] for target in panel["targets"]]
            expect(len(refs) == len(set(refs)), panel["title"])


def anchors(path):
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in re.findall(r"(?m)^#+ (.+)$", path.read_text())}


def test_every_alert_has_a_section_and_every_section_an_alert():
    names = [alert["alert"] for alert in alerts()]
    expect(len(names) == len(set(names)), f"{names}")
    for alert in alerts():
        same(alert["annotations"]["runbook_url"], f"docs/operations.md#{alert['alert'].lower()}")
        expect(alert["alert"].lower() in anchors(OPERATIONS), f"docs/operations.md has no section {alert['alert']}")
        same(set(alert["annotations"]), {"summary", "description", "runbook_url"})
        expect(alert["labels"]["severity"] in ("info", "warning", "critical"), alert["alert"])
    sections = re.findall(r"(?m)^#+ (Pullgate\w+)$", OPERATIONS.read_text())
    same(sorted(sections), sorted(names), "sections about alerts that are not")


def test_the_rule_is_rendered_from_the_alerts():
    rule = chart.the(chart.objects(values={"prometheusRule": {
        "enabled": True, "disabled": ["PullgateAbsent"], "runbook": "https://wiki.example/pullgate", "labels": {"release": "prometheus"}}}),
        "PrometheusRule")
    same(rule["metadata"]["labels"]["release"], "prometheus")
    [group] = rule["spec"]["groups"]
    same([r["alert"] for r in group["rules"]], [a["alert"] for a in alerts() if a["alert"] != "PullgateAbsent"])
    for rendered in group["rules"]:
        [written] = [a for a in alerts() if a["alert"] == rendered["alert"]]
        same(rendered["expr"], written["expr"])
        same(rendered["annotations"]["description"], written["annotations"]["description"], "Prometheus' own templates must survive Helm's")
        same(rendered["annotations"]["runbook_url"], f"https://wiki.example/pullgate#{rendered['alert'].lower()}")


def promtool(*arguments):
    done = subprocess.run([shutil.which("promtool") or "promtool", *arguments], capture_output=True, text=True)
    expect(done.returncode == 0, done.stdout + done.stderr)


def test_alerts_fire_when_they_should_and_only_then():
    """By promtool, from series written in tests/chart/alerts.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rule = chart.the(chart.objects(values={"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]
        (folder / "rules.yaml").write_text(yaml.safe_dump(rule, sort_keys=False))
        promtool("check", "rules", str(folder / "rules.yaml"))
        tests = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
        tested = {(t["alertname"], bool(t.get("exp_alerts"))) for test in tests["tests"] for t in test["alert_rule_test"]}
        for alert in alerts():
            for fires in (True, False):
                expect((alert["alert"], fires) in tested, f"no test in which {alert['alert']} {'fires' if fires else 'stays quiet'}")
        # Its texts are for people; names and labels are told here.
        for group in rule["groups"]:
            for alert in group["rules"]:
                del alert["annotations"]
        (folder / "bare.yaml").write_text(yaml.safe_dump(rule, sort_keys=False))
        (folder / "tests.yaml").write_text(yaml.safe_dump(tests | {"rule_files": ["bare.yaml"]}, sort_keys=False))
        promtool("test", "rules", str(folder / "tests.yaml"))


def test_dashboard_queries_parse():
    """As recording rules, so that promtool reads them; Grafana's own variables are given values."""
    rules = []
    for number, (_, expression) in enumerate(queries()):
        expression = expression.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$host_class", ".*")
        rules.append({"record": f"dashboard:query:{number}", "expr": expression})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, sort_keys=False))
        promtool("check", "rules", str(path))
