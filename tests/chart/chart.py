"""The chart through Helm's own engine, and what is generated from and for it."""
import copy
import functools
import json
import re
from pathlib import Path

import helm_python
import yaml
from helm_python import _native

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/chart/pullgate"
PLAIN = ROOT / "deploy/pullgate.yaml"
KINDS = CHART / "files/kinds.yaml"
ROWS = ROOT / "src/workload/kinds/table/rows.rs"

# The oldest that the chart installs on, those that we test with, and the newest that the pinned schemas know.
VERSIONS = ("1.30.14", "1.35.4", "1.36.3", "1.37.2")
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]
# What every rendering needs.
IMAGE = {"image": {"repository": "registry.example/pullgate"}}

# The order in which Helm installs kinds, as far as we have them.
ORDER = (
    "Namespace", "PriorityClass", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "ConfigMap", "CustomResourceDefinition",
    "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service", "Deployment", "Issuer", "Certificate", "ServiceMonitor",
    "PrometheusRule", "ValidatingWebhookConfiguration",
)


class Strings(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a date is a string, a key stands once."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"written twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


Strings.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def documents(text):
    return [document for document in yaml.load_all(text, Loader=Strings) if document is not None]


def merged(*values):
    """Values on top of each other, as `-f a -f b`."""
    out = {}
    for layer in values:
        for key, value in (layer or {}).items():
            out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def templates(values=None, version=NEWEST, namespace="pullgate", name="pullgate", chart=CHART):
    """Template path -> rendered text. Values go through the chart's schema first, as `helm install` has it."""
    with helm_python.Chart.load(chart) as loaded:
        values = merged(IMAGE, values)
        loaded.validate_schema(loaded.merge_values(values))
        options = {"name": name, "namespace": namespace, "kube_version": version}
        return json.loads(_native.call_string("helm_render", loaded._raw(), json.dumps(values), json.dumps(options)))


def rendered(values=None, **where):
    """(text, object) of the manifests, in Helm's order, and the objects of the hooks of `helm test`."""
    found, hooked = [], []
    for path, text in sorted(templates(values, **where).items()):
        if not path.endswith(".yaml"):
            continue
        for document in re.split(r"(?m)^---\s*$", text):
            for parsed in documents(document):
                if "/templates/tests/" in path:
                    hooked.append(parsed)
                else:
                    found.append((document.strip("\n") + "\n", parsed))
    return sorted(found, key=lambda one: ORDER.index(one[1]["kind"])), hooked


@functools.cache
def parsed(values, where):
    """The same of the checkout's own chart, once for each set of values: most tests look at the same few."""
    return rendered(json.loads(values), **json.loads(where))


def again(values, where):
    """What was rendered, for a caller that may change it."""
    return rendered(values, **where) if "chart" in where else copy.deepcopy(parsed(json.dumps(values), json.dumps(where)))


def objects(values=None, **where):
    return [o for _, o in again(values, where)[0]]


def hooks(values=None, **where):
    return again(values, where)[1]


def the(found, kind, name=None):
    fitting = [o for o in found if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    if len(fitting) != 1:
        raise AssertionError(f"{len(fitting)} of kind {kind}{f' and name {name}' if name else ''}, expected one")
    return fitting[0]


HEAD = """\
# Written by `tests/chart/run --write` from deploy/chart/pullgate, with the chart's default values; do not edit. Kubernetes 1.30 or later.
# Fill in the registry of the image:
#
#   sed 's|registry.example/pullgate|REGISTRY/pullgate|' deploy/pullgate.yaml | kubectl apply -f -
#
# To turn it off: kubectl delete validatingwebhookconfiguration pullgate
"""


def plain(values=None):
    """deploy/pullgate.yaml."""
    out = [HEAD]
    for text, parsed in rendered(merged({"namespace": {"create": True}}, values))[0]:
        # Blank lines are what the templates' own directives left.
        lines = [line.rstrip() for line in text.splitlines()]
        shorter = "".join(f"{line}\n" for line in lines if line)
        if documents(shorter) != [parsed]:
            raise AssertionError(f"a blank line means something here:\n{text}")
        out.append(f"---\n{shorter}")
    return "".join(out)


PLURALS = {"Prometheus": "prometheuses", "Elasticsearch": "elasticsearches", "EnterpriseSearch": "enterprisesearches",
           "Logstash": "logstashes", "MonoVertex": "monovertices", "Vertex": "vertices"}


def kinds():
    """deploy/chart/pullgate/files/kinds.yaml, from the binary's own table of kinds."""
    source = re.sub(r"//.*", "", ROWS.read_text())
    table = source[source.index("const ROWS: &[Row]"):]
    rows = re.findall(r'(cluster_wide\(\s*)?\bcustom\(\s*"([^"]+)",\s*&\[([^\]]+)\]', table)
    if len(rows) != len(re.findall(r"\bcustom\(", table)) or not rows:
        raise AssertionError(f"{ROWS} is written in a way that this script does not read")
    lines, seen = [], set()
    for wide, group, names in rows:
        for kind in re.findall(r'"([^"]+)"', names):
            if (group, kind) not in seen:
                seen.add((group, kind))
                scope = "Cluster" if wide else "Namespaced"
                resource = PLURALS.get(kind, kind.lower() + "s")
                lines.append(f"- {{group: {group}, kind: {kind}, resource: {resource}, scope: {scope}}}\n")
    return ("# Custom kinds that pullgate knows; written by `tests/chart/run --write` from the binary's table, do not edit.\n"
            + "".join(lines))


def write():
    # In this order: the second is made with the first.
    for path, make in ((KINDS, kinds), (PLAIN, plain)):
        text = make()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
