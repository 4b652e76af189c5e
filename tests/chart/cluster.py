"""The chart against a real API server: its validation, its admission, and its RBAC authoriser. Nothing is left there."""
import json
import re

import chart
from kube import get, kubectl, ours, takes_pods, wait
from rendering import SETS, expect, hooks, objects, same

# Kinds that this cluster has no definition of.
ELSEWHERE = ("monitoring.coreos.com", "cert-manager.io")


def known(found):
    return [o for o in found if o["apiVersion"].split("/")[0] not in ELSEWHERE]


def dry_run(found):
    """A server-side dry run: the status, what was said, and the warnings. What a kind does not know is refused, as `kubectl apply` asks for."""
    done = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=found, check=False)
    return done.returncode, done.stdout + done.stderr, [line for line in done.stderr.splitlines() if line.startswith("Warning: ")]


def test_the_server_takes_every_set():
    """Defaulting, validation and admission of the real thing, Pod Security and CEL included; nothing is stored but the namespaces."""
    names = [ours(), f"{ours()}-shop", f"{ours()}-ci"]
    made = list(names)
    try:
        for name in names:
            kubectl("create", "namespace", name)
        # OpenShift alone has it, and one of the sets has a role there.
        if kubectl("get", "namespace", "openshift-config", check=False).returncode:
            kubectl("create", "namespace", "openshift-config")
            made.append("openshift-config")
        # It enforces this on pods, and warns about what would make such pods.
        kubectl("label", "namespace", names[0], "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
        takes_pods(names[0])  # the sets hold one, of `helm test`
        for name, values in SETS.items():
            values = chart.merged(values, {"fullnameOverride": ours()})
            if values.get("secrets", {}).get("namespaces"):
                values["secrets"]["namespaces"] = names[1:]
            found = known(objects(values, namespace=names[0]) + hooks(values, namespace=names[0]))
            # A dry run remembers no priority class.
            for o in found:
                if o["kind"] == "Deployment":
                    expect(o["spec"]["template"]["spec"].pop("priorityClassName", ours()) == ours(), name)
            status, said, warnings = dry_run(found)
            expect(status == 0 and said.count("(server dry run)") == len(found), f"{name}: {said}")
            host = [line for line in warnings if 'violate PodSecurity "restricted' in line and "hostNetwork=true" in line]
            same(len(warnings), len(host), f"{name}: {warnings}")
            same(len(host), 1 if values.get("hostNetwork") else 0, f"{name}: {warnings}")
    finally:
        kubectl("delete", "namespace", *made, "--wait=false", check=False)


def test_the_server_refuses_what_it_does_not_know():
    """Else the test above proves less than it says."""
    registration = chart.the(objects({"fullnameOverride": ours()}), "ValidatingWebhookConfiguration")
    expect(dry_run([registration])[0] == 0, "as it is")
    [it] = registration["webhooks"]
    it["matchCondition"] = it.pop("matchConditions")
    status, said, _ = dry_run([registration])
    expect(status and "matchCondition" in said, said)
    it["matchConditions"] = [{**condition, "expression": condition["expression"] + " +"} for condition in it.pop("matchCondition")]
    status, said, _ = dry_run([registration])
    expect(status and "Syntax error" in said, said)


# Who may what: verb, resource, namespace ("" is everywhere), name; then whether get, cluster, namespaces and none allow it.
# `shop` is listed in secrets.namespaces, `other` is not.
TABLE = """
list    nodes            -      -     yes yes yes yes
watch   nodes            -      -     yes yes yes yes
get     nodes            -      n1    no  no  no  no
list    namespaces       -      -     yes yes yes yes
watch   serviceaccounts  -      -     yes yes yes yes
get     serviceaccounts  shop   ci    yes yes yes yes
get     namespaces       -      shop  yes yes yes yes
get     secrets          shop   pull  yes yes yes no
get     secrets          other  pull  yes yes no  no
list    secrets          -      -     no  yes no  no
watch   secrets          -      -     no  yes no  no
list    secrets          shop   -     no  yes no  no
list    secrets          pullgate -   no  yes no  no
create  secrets          shop   -     no  no  no  no
update  secrets          shop   pull  no  no  no  no
delete  secrets          shop   pull  no  no  no  no
get     secrets          pullgate pullgate-tls  yes yes yes yes
update  secrets          pullgate pullgate-tls  yes yes yes yes
create  secrets          pullgate -   yes yes yes yes
update  secrets          pullgate another  no no no no
delete  secrets          pullgate pullgate-tls  no no no no
get     pods             shop   p     no  no  no  no
create  pods             shop   -     no  no  no  no
create  pods/exec        shop   p     no  no  no  no
create  serviceaccounts/token  shop ci  no no no no
get     configmaps       shop   c     no  no  no  no
get     configmaps       pullgate pullgate  no no no no
list    deployments.apps -      -     no  no  no  no
get     validatingwebhookconfigurations.admissionregistration.k8s.io  -  pullgate  yes yes yes yes
patch   validatingwebhookconfigurations.admissionregistration.k8s.io  -  pullgate  yes yes yes yes
patch   validatingwebhookconfigurations.admissionregistration.k8s.io  -  another   no  no  no  no
delete  validatingwebhookconfigurations.admissionregistration.k8s.io  -  pullgate  no  no  no  no
create  validatingwebhookconfigurations.admissionregistration.k8s.io  -  -         no  no  no  no
patch   mutatingwebhookconfigurations.admissionregistration.k8s.io    -  pullgate  no  no  no  no
bind    clusterroles.rbac.authorization.k8s.io     -  pullgate  no no no no
escalate clusterroles.rbac.authorization.k8s.io    -  pullgate  no no no no
create  events.events.k8s.io shop   -     yes yes yes yes
patch   events.events.k8s.io shop   e     yes yes yes yes
delete  events.events.k8s.io shop   e     no  no  no  no
list    events.events.k8s.io -      -     no  no  no  no
create  events                shop  -     no  no  no  no
impersonate users        -      admin no  no  no  no
get     imagepolicies.pullgate.dev        - p  no  no  no  no
list    imagepolicies.pullgate.dev        - -  yes yes yes yes
watch   imagepolicies.pullgate.dev        - -  yes yes yes yes
patch   imagepolicies.pullgate.dev/status - p  yes yes yes yes
patch   imagepolicies.pullgate.dev        - p  no  no  no  no
create  imagepolicies.pullgate.dev        - -  no  no  no  no
"""
ACCESSES = ("get", "cluster", "namespaces", "none")


def may(account, rows):
    """What the real authoriser says to each row."""
    reviews = []
    for verb, resource, namespace, name in rows:
        resource, _, sub = resource.partition("/")
        resource, _, group = resource.partition(".")
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": sub,
                 "namespace": "" if namespace == "-" else namespace, "name": "" if name == "-" else name}
        reviews.append({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": account, "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {key: value for key, value in asked.items() if value}}})
    said = kubectl("create", "-f", "-", "-o", "json", given=reviews)
    decoder, out, at = json.JSONDecoder(), [], 0
    while (start := said.find("{", at)) >= 0:
        answer, at = decoder.raw_decode(said, start)
        out += [item["status"]["allowed"] for item in answer.get("items", [answer])]
    same(len(out), len(rows))
    return out


def test_rights_by_the_real_authoriser():
    rows = [line.split() for line in TABLE.strip().splitlines()]
    expect(all(len(row) == 8 for row in rows), "a row is written wrongly")
    here, shop, other = (f"{ours()}-{what}" for what in ("rights", "listed", "other"))
    real = {"pullgate": here, "shop": shop, "other": other, "-": "-"}
    cluster_roles = ["clusterrole", "clusterrolebinding"]
    try:
        for name in (here, shop, other):
            kubectl("create", "namespace", name)
        for at, access in enumerate(ACCESSES):
            values = {"fullnameOverride": here, "tls": {"secretName": "pullgate-tls"}, "secrets": {"access": access}}
            if access == "namespaces":
                values["secrets"]["namespaces"] = [shop]
            kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
            given = [o for o in objects(values, namespace=here) if o["kind"] in kinds]
            kubectl("apply", "-f", "-", given=given)
            asked = [[verb, resource, real[namespace] if namespace in real else namespace,
                      # The registration has the name of the installation, which is this run's own here.
                      here if name == "pullgate" and resource.startswith("validating") else name]
                     for verb, resource, namespace, name, *_ in rows]

            def holds():
                said = may(f"system:serviceaccount:{here}:{here}", asked)
                wrong = [f"{' '.join(row[:4])}: {'allowed' if answer else 'refused'}, expected {row[4 + at]}"
                         for row, answer in zip(rows, said) if answer != (row[4 + at] == "yes")]
                expect(not wrong, "\n".join(wrong))
                return True
            # The authoriser learns of roles by a watch, in its own time.
            wait(f"the table holds with secrets.access {access}", holds)
            kubectl("delete", "-f", "-", given=given)
        stranger = may(f"system:serviceaccount:{here}:default", [row[:4] for row in rows])
        expect(not any(stranger), "everybody may do some of that: the table proves nothing")
    finally:
        for kind in cluster_roles:
            kubectl("delete", kind, here, "--ignore-not-found", check=False)
        kubectl("delete", "namespace", here, shop, other, "--wait=false", check=False)


def test_every_access_is_documented():
    text = (chart.ROOT / "docs/install.md").read_text()
    for access in ACCESSES:
        expect(re.search(rf"(?m)^\| `{access}`", text), f"docs/install.md has no row on secrets.access {access}")


def test_nothing_is_left():
    left = [o["metadata"]["name"] for kind in ("clusterroles", "clusterrolebindings", "validatingwebhookconfigurations", "priorityclasses")
            for o in get(kind)["items"] if o["metadata"]["name"].startswith(ours())]
    same(left, [])
