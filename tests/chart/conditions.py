"""The registration's matchConditions, by a CEL evaluator, so without a cluster; tests/e2e/apiserver.rs has a real API server evaluate them."""
import copy

import celpy

import chart
from rendering import expect, webhook

POD = {
    "metadata": {"name": "api", "labels": {"app": "api"}},
    "spec": {"containers": [{"name": "api", "image": "registry.example/api:v1"}], "priority": 0, "nodeSelector": {"a": "b"}},
}
TEMPLATE = {"metadata": {"name": "t"}, "template": POD}


def changed(o, **fields):
    """The object with other fields; `metadata` adds to what is there."""
    out = copy.deepcopy(o)
    for key, value in fields.items():
        out[key] = {**out.get(key, {}), **value}
    return out


def request(operation, group, resource, sub=""):
    return {"operation": operation, "resource": {"group": group, "version": "v1", "resource": resource}, "subResource": sub,
            "kind": {"group": group, "version": "v1", "kind": "Any"}, "userInfo": {"username": "someone"}}


IMAGE = changed(POD, spec={"containers": [{"name": "api", "image": "registry.example/api:v2"}]})
LABELS = changed(POD, metadata={"labels": {"app": "other"}, "annotations": {"touched": "now"}})
GOING = changed(POD, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": []})
MIRROR = changed(POD, metadata={"annotations": {"kubernetes.io/config.mirror": "x"}})

# name, request, object, oldObject, and which conditions say no.
CASES = [
    ("a pod comes", request("CREATE", "", "pods"), POD, None, []),
    ("a pod with annotations comes", request("CREATE", "", "pods"), LABELS, None, []),
    ("a mirror pod comes", request("CREATE", "", "pods"), MIRROR, None, ["not-a-mirror-pod"]),
    ("a deployment annotated like a mirror pod", request("CREATE", "apps", "deployments"), MIRROR, None, []),
    ("a pod gets another image", request("UPDATE", "", "pods"), IMAGE, POD, []),
    ("a pod gets other labels", request("UPDATE", "", "pods"), LABELS, POD, ["spec-changed"]),
    ("a pod gets an ephemeral container", request("UPDATE", "", "pods", "ephemeralcontainers"),
     changed(POD, spec={"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}), POD, []),
    ("a deployment gets another image", request("UPDATE", "apps", "deployments"), IMAGE, POD, []),
    ("a deployment is scaled", request("UPDATE", "apps", "deployments"), changed(POD, spec={"replicas": 3}), POD, []),
    ("a deployment gets other labels", request("UPDATE", "apps", "deployments"), LABELS, POD, ["spec-changed"]),
    ("a job's finalizer goes", request("UPDATE", "batch", "jobs"), GOING, POD, ["not-being-deleted", "spec-changed"]),
    ("a going pod gets another image", request("UPDATE", "", "pods"), changed(GOING, spec=IMAGE["spec"]), POD, ["not-being-deleted"]),
    ("a pod template gets another image", request("UPDATE", "", "podtemplates"), changed(TEMPLATE, template=IMAGE), TEMPLATE, []),
    ("a pod template gets other labels", request("UPDATE", "", "podtemplates"), changed(TEMPLATE, metadata={"labels": {}}), TEMPLATE, []),
    # A custom kind's images may lie anywhere.
    ("a custom object changes beside its spec", request("UPDATE", "corp.example", "apps"), changed(POD, pods={"image": "x"}), POD, []),
    ("a custom object goes", request("UPDATE", "corp.example", "apps"), GOING, POD, ["not-being-deleted"]),
]


def programs():
    environment = celpy.Environment()
    return {c["name"]: environment.program(environment.compile(c["expression"])) for c in webhook(chart.objects())["matchConditions"]}


def test_only_what_pullgate_would_allow_is_not_sent():
    known = programs()
    for name, asked, new, old, wanted in CASES:
        facts = {"request": celpy.json_to_cel(asked), "object": celpy.json_to_cel(new), "oldObject": celpy.json_to_cel(old)}
        no = [condition for condition, program in known.items() if not bool(program.evaluate(facts))]
        expect(no == wanted, f"{name}: {no} said no, expected {wanted}")


def test_every_condition_says_no_at_times():
    for condition in programs():
        expect(any(condition in wanted for *_, wanted in CASES), f"no case in which {condition} says no")


def test_conditions_hold_by_the_rules_for_their_names():
    conditions = webhook(chart.objects(values={"webhook": {"matchConditions": [{"name": "more", "expression": "true"}]}}))["matchConditions"]
    names = [c["name"] for c in conditions]
    expect(names[-1] == "more" and len(names) == len(set(names)) <= 64, f"{names}")
