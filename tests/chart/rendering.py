"""What the chart renders for several sets of values, held against the schemas of several versions of Kubernetes."""
import difflib
import json
import pprint
import re
import warnings

import helm_python
import kubernetes_validate

import chart
from chart import NEWEST, OLDEST, VERSIONS, hooks, objects, the

CA = "-----BEGIN CERTIFICATE-----\nbm90IHJlYWxseQ==\n-----END CERTIFICATE-----\n"
EVERYTHING = {
    "networkPolicy": {"enabled": True}, "serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True}, "webhook": {"customKinds": ["*"]},
    "hosts": {"docker.io": 'server = "https://docker.io"\n\n[host."https://mirror.corp"]\n', "registry.corp:5000": "# none\n"},
    "policies": {"files": {"start.yaml": "# later\n"}}, "podLabels": {"team": "platform"}, "podAnnotations": {"a": "b"},
    "nodeSelector": {"kubernetes.io/os": "linux"}, "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
    "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/corp/ca.crt"}], "extraArgs": ["--drain-delay=5s"],
    "extraVolumes": [{"name": "corp", "configMap": {"name": "corp"}}],
    "extraVolumeMounts": [{"name": "corp", "mountPath": "/etc/corp"}], "imagePullSecrets": [{"name": "registry"}],
}
PLUGINS = {"config": {"registries": {"credentialProviders": {"config": "/etc/providers/config.yaml", "binDir": "/opt/providers"}}}}
SETS = {
    "as it comes": {},
    "everything on": EVERYTHING,
    "secrets cluster": {"secrets": {"access": "cluster"}},
    "secrets namespaces": {"secrets": {"access": "namespaces", "namespaces": ["shop", "ci"]}},
    "secrets none": {"secrets": {"access": "none"}},
    "cert-manager": {"tls": {"mode": "cert-manager"}},
    "cert-manager, own issuer": {"tls": {"mode": "cert-manager", "certManager": {"issuerRef": {"kind": "ClusterIssuer", "name": "corp"}}}},
    "own secret": {"tls": {"mode": "secret", "caBundle": CA, "secretName": "corp-tls"}},
    "host network": {"hostNetwork": True, "ports": {"webhook": 10443}},
    "only the API server may ask": {"tls": {"clientCA": CA}},
    "one replica": {"replicas": 1},
    "the cluster chooses the user": {"runAsUser": None},
    "refuses when away": {"webhook": {"failurePolicy": "Fail", "optOut": "review"}, "replicas": 3},
    "plugins": PLUGINS,
    "OpenShift": {"openshift": {"enabled": True}},
    "OpenShift, with the pull secret": {"openshift": {"enabled": True, "pullSecret": True}, "secrets": {"access": "namespaces", "namespaces": ["shop"]}},
    "bare": {"priorityClass": {"create": False}, "podDisruptionBudget": {"enabled": False}, "topologySpread": {"hostname": "", "zone": ""},
             "policies": {"crd": False}, "tests": {"enabled": False}},
}


def deployment(found):
    return the(found, "Deployment")["spec"]["template"]["spec"]


def webhook(found):
    [only] = the(found, "ValidatingWebhookConfiguration")["webhooks"]
    return only


def pods(found):
    """Every pod spec, by name."""
    for o in found:
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["spec"]
        elif "template" in o.get("spec", {}):
            yield o["metadata"]["name"], o["spec"]["template"]["spec"]


def expect(condition, said):
    if not condition:
        raise AssertionError(said)


def same(got, wanted, what=""):
    if got != wanted:
        lines = difflib.unified_diff(*(pprint.pformat(value, width=120).splitlines() for value in (wanted, got)), "expected", "got", lineterm="")
        raise AssertionError("\n".join([what, *list(lines)[:60]]))


def refused(values, *words):
    """The chart refuses these values, with these words."""
    try:
        objects(values=values)
    except helm_python.HelmError as error:
        for word in words:
            expect(word in str(error), f"{values}: expected {word!r} in: {error}")
        return
    raise AssertionError(f"{values} was not refused")


def test_lint_finds_nothing():
    for name, values in SETS.items():
        report = helm_python.lint(chart.CHART, chart.merged(chart.IMAGE, values), strict=True, kube_version=f"v{NEWEST}")
        found = [m for m in report["messages"] if m["severity"] > 1]
        expect(not found and not report["errors"], f"{name}: {report}")


def test_every_set_renders_the_same_for_every_version():
    for name, values in SETS.items():
        same(objects(values, version=OLDEST), objects(values), f"{name}: {OLDEST} and {NEWEST}")
        found = objects(values) + hooks(values)
        names = [(o["apiVersion"], o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in found]
        expect(len(names) == len(set(names)), f"{name}: rendered twice: {names}")
        for o in found:
            scoped = o["kind"] not in ("Namespace", "PriorityClass", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding",
                                       "ValidatingWebhookConfiguration")
            same(o["metadata"].get("namespace") is not None, scoped, f"{name}: the namespace of {o['kind']}")


def every_object():
    """The objects of all sets, each once, with the first set that it is of; without those whose kinds are another project's."""
    found = {}
    for name, values in SETS.items():
        for o in objects(values) + hooks(values):
            if o["apiVersion"].split("/")[0] not in ("monitoring.coreos.com", "cert-manager.io"):
                found.setdefault(json.dumps(o, sort_keys=True), (name, o))
    return found.values()


def invalid(o, version):
    """What the schemas of this version of Kubernetes say against an object; nothing where they say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kubernetes_validate.validate(o, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    except kubernetes_validate.ValidationError as error:
        return f"{error.message} at {list(error.path)}"


def test_every_object_holds_by_the_schemas_of_every_version():
    found = every_object()
    kinds = {o["kind"] for _, o in found}
    expect({"Deployment", "ValidatingWebhookConfiguration", "PodDisruptionBudget", "CustomResourceDefinition", "Pod"} <= kinds, f"{kinds}")
    for version in VERSIONS:
        for name, o in found:
            said = invalid(o, version)
            expect(said is None, f"{version}, {name}, {o['kind']} {o['metadata']['name']}: {said}")


def test_the_schemas_find_what_is_too_new():
    same(invalid(the(objects(), "PodDisruptionBudget"), OLDEST), None)
    for kind in ("PodDisruptionBudget", "ValidatingWebhookConfiguration"):
        expect(invalid(the(objects(), kind), "1.25"), f"{kind} would have passed as one of Kubernetes 1.25")


def test_what_the_oldest_version_brought_is_used():
    """Each of these is why no older one is supported."""
    found = objects({"namespace": {"create": True}})
    expect("matchConditions" in webhook(found), "matchConditions, in 1.30")
    same(the(found, "PodDisruptionBudget")["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow")
    same(deployment(found)["topologySpreadConstraints"][0]["matchLabelKeys"], ["pod-template-hash"])
    expect("x-kubernetes-validations" in json.dumps(crds(found)), "CEL rules in the definition of policies")
    # Helm holds a cluster against it; with -0, versions with a provider's suffix pass too.
    same(chart.documents((chart.CHART / "Chart.yaml").read_text())[0]["kubeVersion"], ">=1.30.0-0")


def test_the_registration_covers_what_pulls_images_and_nothing_else():
    rules = [(g, r, tuple(rule["operations"])) for rule in webhook(objects())["rules"] for g in rule["apiGroups"] for r in rule["resources"]]
    both = ("CREATE", "UPDATE")
    same(sorted(rules), sorted([
        ("", "pods", both), ("", "pods/ephemeralcontainers", ("UPDATE",)), ("", "podtemplates", both), ("", "replicationcontrollers", both),
        ("apps", "deployments", both), ("apps", "replicasets", both), ("apps", "statefulsets", both), ("apps", "daemonsets", both),
        ("batch", "jobs", both), ("batch", "cronjobs", both)]))


def test_the_registration_cannot_hurt_a_cluster():
    it = webhook(objects(namespace="gate"))
    same({key: it[key] for key in ("name", "failurePolicy", "timeoutSeconds", "sideEffects", "matchPolicy", "admissionReviewVersions")},
         {"name": "images.pullgate.dev", "failurePolicy": "Ignore", "timeoutSeconds": 10, "sideEffects": "None",
          "matchPolicy": "Equivalent", "admissionReviewVersions": ["v1"]})
    names = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "gate"]}
    label = {"key": "pullgate.dev/ignore", "operator": "NotIn", "values": ["true"]}
    # The way out while pullgate is down is needed where requests are refused then; elsewhere the exemption shows in the review.
    for policy, opt_out, expected in [("Ignore", "", [names]), ("Fail", "", [names, label]), ("Ignore", "selector", [names, label]),
                                      ("Fail", "review", [names])]:
        found = objects(values={"webhook": {"failurePolicy": policy, "optOut": opt_out}}, namespace="gate")
        same(webhook(found)["namespaceSelector"]["matchExpressions"], expected, f"{policy} {opt_out}")
    expect("objectSelector" not in it, "an objectSelector lets everybody label themselves out")
    same(it["clientConfig"]["service"], {"namespace": "gate", "name": "pullgate", "path": "/validate", "port": 443})


def test_custom_kinds_are_registered_and_said_to_be():
    found = objects(values={"webhook": {"customKinds": [
        "argoproj.io", "tekton.dev/PipelineRun", {"group": "corp.example", "kind": "App", "resource": "apps", "podSpecs": ["spec.pod"]},
        {"group": "corp.example", "kind": "Fleet", "resource": "fleets", "scope": "Cluster", "podSpecs": ["spec.pod"]}]},
        "config": {"workloads": [{"group": "argoproj.io", "kind": "Rollout", "podSpecs": ["spec.template.spec"]}]}})
    custom = {(rule["apiGroups"][0], rule["scope"]): rule["resources"] for rule in webhook(found)["rules"][4:]}
    same(custom, {("argoproj.io", "Namespaced"): ["rollouts", "experiments", "workflows", "cronworkflows", "workflowtemplates",
                                                 "analysistemplates", "analysisruns", "executorplugins"],
                  ("argoproj.io", "Cluster"): ["clusterworkflowtemplates", "clusteranalysistemplates"], ("tekton.dev", "Namespaced"): ["pipelineruns"],
                  ("corp.example", "Namespaced"): ["apps"], ("corp.example", "Cluster"): ["fleets"]})
    [settings] = chart.documents(the(found, "ConfigMap", "pullgate")["data"]["config.yaml"])
    same(settings["workloads"][0], {"group": "argoproj.io", "kind": "Rollout", "podSpecs": ["spec.template.spec"]}, "what was written stays")
    same([w["kind"] for w in settings["workloads"]],
         ["Rollout", "Experiment", "Workflow", "CronWorkflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "AnalysisTemplate", "AnalysisRun",
          "ClusterAnalysisTemplate", "ExecutorPlugin", "PipelineRun", "App", "Fleet"])
    same(settings["workloads"][-2:], [
        {"group": "corp.example", "kind": "App", "podSpecs": ["spec.pod"]},
        {"group": "corp.example", "kind": "Fleet", "podSpecs": ["spec.pod"], "scope": "Cluster"}], "what has no namespace is said")
    every = objects(values={"webhook": {"customKinds": ["*", "tekton.dev"]}})
    registered = sum(len(rule["resources"]) for rule in webhook(every)["rules"][4:])
    same(registered, len(chart.documents(chart.KINDS.read_text())[0]), "all of them, each once")


def test_pods_pass_pod_security_restricted():
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, rule by rule.
    volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for name, values in SETS.items():
        for pod, spec in pods(objects(values) + hooks(values)):
            at = f"{name}, {pod}"
            host = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
            same(host, ["hostNetwork"] if values.get("hostNetwork") and pod == "pullgate" else [], at)
            security = spec["securityContext"]
            same([security.get(key) for key in ("runAsUser", "runAsGroup")], [values.get("runAsUser", 65532)] * 2, at)
            expect(security["runAsNonRoot"] is True, at)
            same(security["seccompProfile"], {"type": "RuntimeDefault"}, at)
            for volume in spec["volumes"]:
                expect(set(volume) - {"name"} <= volumes, f"{at}: {volume}")
            for container in spec["containers"] + spec.get("initContainers", []):
                same(container["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                    "capabilities": {"drop": ["ALL"]}}, at)
                expect(not any("hostPort" in port for port in container.get("ports", [])), at)


def test_what_is_mounted_is_there_and_what_is_there_is_mounted():
    for name, values in SETS.items():
        for pod, spec in pods(objects(values=values) + hooks(values=values)):
            mounted = [mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]]
            same(sorted(mounted), sorted(volume["name"] for volume in spec["volumes"]), f"{name}, {pod}")
            expect(not any("subPath" in mount for container in spec["containers"] for mount in container["volumeMounts"]), f"{name}, {pod}")


def test_plugins_of_credential_providers_have_a_home_to_write_to():
    for values in (PLUGINS, {**EVERYTHING, **PLUGINS}):
        pod = deployment(objects(values=values))
        [container] = pod["containers"]
        expect(container["securityContext"]["readOnlyRootFilesystem"], "the rest of it is read-only")
        [home] = [variable["value"] for variable in container["env"] if variable["name"] == "HOME"]
        [mount] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == home]
        expect(not mount.get("readOnly"), mount)
        expect(any(volume["name"] == mount["name"] and "emptyDir" in volume for volume in pod["volumes"]), mount)
    [container] = deployment(objects(values={}))["containers"]
    expect("env" not in container, container.get("env"))


def test_only_certificates_of_a_client_ca_are_asked_for_when_it_is_given():
    asks = lambda found: [a for a in deployment(found)["containers"][0]["args"] if "client-ca" in a]
    same(asks(objects()), [])
    found = objects(values={"tls": {"clientCA": CA}})
    same(asks(found), ["--tls-client-ca=/etc/pullgate/client-ca/ca.crt"])
    same(the(found, "ConfigMap", "pullgate-client-ca")["data"], {"ca.crt": CA})
    [test] = [o for o in hooks(values={"tls": {"clientCA": CA}}) if o["kind"] == "Pod"]
    expect("refuses clients without a certificate" in test["spec"]["containers"][0]["args"][0], "helm test has no certificate either")
    expect("refuses clients" not in json.dumps(hooks()), "without it, the test expects a denial")


def test_pods_have_the_time_that_a_review_may_take():
    for given, grace in ((None, 30), (5, 30), (30, 50)):
        found = objects(values={"webhook": {"timeoutSeconds": given}} if given else {})
        same(deployment(found)["terminationGracePeriodSeconds"], grace, f"{given}")


def test_a_single_replica_has_no_budget():
    same([o for o in objects(values={"replicas": 1}) if o["kind"] == "PodDisruptionBudget"], [])
    the(objects(values={"replicas": 2}), "PodDisruptionBudget")


def test_the_service_and_the_budget_reach_the_replicas_and_nothing_else():
    for name, values in SETS.items():
        found = objects(values=values)
        labels = the(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
        selectors = [the(found, "Service")["spec"]["selector"], the(found, "Deployment")["spec"]["selector"]["matchLabels"]]
        selectors += [o["spec"]["selector"]["matchLabels"] for o in found if o["kind"] == "PodDisruptionBudget"]
        selectors += [o["spec"]["podSelector"]["matchLabels"] for o in found if o["kind"] == "NetworkPolicy"]
        for selector in selectors:
            expect(selector.items() <= labels.items(), f"{name}: {selector} does not select {labels}")
            for hook in hooks(values=values):
                expect(not selector.items() <= hook["metadata"]["labels"].items(), f"{name}: the test's pod counts as a replica")
        monitors = [o for o in found if o["kind"] == "ServiceMonitor"]
        for monitor in monitors:
            expect(monitor["spec"]["selector"]["matchLabels"].items() <= the(found, "Service")["metadata"]["labels"].items(), name)


def rights(found):
    """Role (or ClusterRole) name and namespace -> set of (group, resource, name, verb)."""
    out = {}
    for o in found:
        if o["kind"] in ("ClusterRole", "Role"):
            out[(o["metadata"]["name"], o["metadata"].get("namespace"))] = {
                (group, resource, name, verb) for rule in o["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
                for name in rule.get("resourceNames", [None]) for verb in rule["verbs"]}
    return out


def test_rights_are_those_that_are_used():
    watched = {("", "nodes", None, verb) for verb in ("list", "watch")} | {
        (group, kind, None, verb) for group, kind in (("", "namespaces"), ("", "serviceaccounts"), ("node.k8s.io", "runtimeclasses"))
        for verb in ("get", "list", "watch")} | {
        (group, kind, None, "get") for group, kinds in (("", ["replicationcontrollers"]), ("apps", ["daemonsets", "deployments", "replicasets", "statefulsets"]),
                                                        ("batch", ["cronjobs", "jobs"])) for kind in kinds}
    files = {"tls": {"mode": "secret", "caBundle": CA}, "policies": {"crd": False}, "config": {"events": "none"}}
    secret = {("", "secrets", None, "get")}
    for access, everywhere in (("get", secret), ("cluster", secret | {("", "secrets", None, v) for v in ("list", "watch")}), ("none", set())):
        same(rights(objects(values=chart.merged(files, {"secrets": {"access": access}}))) ==
             {("pullgate", None): watched | everywhere}, True, access)
    found = objects(values=chart.merged(files, {"secrets": {"access": "namespaces", "namespaces": ["shop", "ci"]}}))
    expect(rights(found) == {("pullgate", None): watched, ("pullgate-pull-secrets", "shop"): secret, ("pullgate-pull-secrets", "ci"): secret},
           f"{rights(found)}")
    for binding in (o for o in found if o["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        same(binding["subjects"], [{"kind": "ServiceAccount", "name": "pullgate", "namespace": "pullgate"}])
    # Wildcards, escalation and writing: nowhere but where a certificate of its own is kept.
    for name, values in SETS.items():
        for (role, namespace), given in rights(objects(values=values)).items():
            for group, resource, only, verb in given:
                expect("*" not in (group, resource, verb), f"{name}: {role} holds a wildcard")
                reads = verb in ("get", "list", "watch")
                own = role.endswith("-tls") and namespace == "pullgate" and resource == "secrets" and (only == "pullgate-tls" or verb == "create")
                bundle = resource == "validatingwebhookconfigurations" and only == "pullgate"
                status = (resource, verb) == ("imagepolicies/status", "patch")
                event = group == "events.k8s.io" and resource == "events" and verb in ("create", "patch")
                expect(reads or own or bundle or status or event, f"{name}: {role} may {verb} {resource} {only or ''}")


def test_openshift_is_read_where_it_is_enabled():
    reads = {("config.openshift.io", "imagedigestmirrorsets", None, "list"), ("config.openshift.io", "imagetagmirrorsets", None, "list"),
             ("config.openshift.io", "images", "cluster", "get"), ("operator.openshift.io", "imagecontentsourcepolicies", None, "list"),
             ("image.openshift.io", "imagestreams", None, "get")}
    authorities, secret = ("", "configmaps", None, "get"), ("", "secrets", "pull-secret", "get")
    place = ("pullgate-openshift", "openshift-config")
    plain = rights(objects())
    expect(place not in plain and not plain[("pullgate", None)] & reads, "no rights for nothing")
    for values, role in (({"enabled": True}, {authorities}), ({"enabled": True, "pullSecret": True}, {authorities, secret})):
        found = objects(values={"openshift": values})
        given = rights(found)
        same(given[place], role, f"{values}")
        same(given[("pullgate", None)] - plain[("pullgate", None)], reads, f"{values}")
        same({at: what for at, what in given.items() if at not in (place, ("pullgate", None))},
             {at: what for at, what in plain.items() if at != ("pullgate", None)}, "and nothing else")
        [binding] = [o for o in found if o["kind"] == "RoleBinding" and o["metadata"].get("namespace") == "openshift-config"]
        same(binding["roleRef"], {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pullgate-openshift"})
        same(binding["subjects"], [{"kind": "ServiceAccount", "name": "pullgate", "namespace": "pullgate"}])
    # The secret is nobody's to read unless both are asked for.
    given = rights(objects(values={"openshift": {"pullSecret": True}}))
    expect(place not in given, f"{given}")
    refused({"openshift": {"enabled": True, "pullSecret": True}, "secrets": {"access": "none"}}, "openshift.pullSecret", "secrets.access none")
    given = rights(objects(values={"openshift": {"enabled": True}, "secrets": {"access": "none"}}))
    expect(not any("secrets" in right for what, right in ((at, r) for at, rs in given.items() for r in rs) if what[0] != "pullgate-tls"), f"{given}")


def crds(found):
    return [o for o in found if o["kind"] == "CustomResourceDefinition"]


def test_the_definition_of_policies_is_the_binarys_and_outlives_an_uninstall():
    [crd] = crds(objects())
    same(crd["metadata"].pop("annotations"), {"helm.sh/resource-policy": "keep"}, "an uninstall must leave everybody's policies")
    same([crd], chart.documents((chart.CHART / "files/imagepolicies.yaml").read_text()), "as the binary writes it, numbers and all")
    policies = lambda found: {(resource, verb) for group, resource, _, verb in rights(found)[("pullgate", None)] if group == "pullgate.dev"}
    same(policies(objects()), {("imagepolicies", "list"), ("imagepolicies", "watch"), ("imagepolicies/status", "patch")},
         "policies are watched, never read one by one")
    without = objects(values={"policies": {"crd": False}})
    same((crds(without), policies(without)), ([], set()), "no rights for nothing")


def test_certificates_come_three_ways():
    managed = objects()
    expect("--tls-self-managed" in deployment(managed)["containers"][0]["args"], "self-managed")
    expect("caBundle" not in webhook(managed)["clientConfig"], "an empty caBundle would be written over pullgate's at every upgrade")
    same([o for o in managed if o["kind"] == "Secret"], [], "no key in the manifests")
    managed = objects(values={"tls": {"mode": "cert-manager"}})
    certificate = the(managed, "Certificate")
    same(certificate["spec"]["dnsNames"][0], "pullgate.pullgate.svc")
    same(certificate["spec"]["secretName"], "pullgate-tls")
    same(certificate["spec"]["issuerRef"], {"kind": "Issuer", "name": the(managed, "Issuer")["metadata"]["name"]})
    same(the(managed, "ValidatingWebhookConfiguration")["metadata"]["annotations"], {"cert-manager.io/inject-ca-from": "pullgate/pullgate"})
    own = objects(values=SETS["cert-manager, own issuer"])
    same(the(own, "Certificate")["spec"]["issuerRef"], {"kind": "ClusterIssuer", "name": "corp"})
    same([o for o in own if o["kind"] == "Issuer"], [])
    given = objects(values=SETS["own secret"])
    import base64
    same(base64.b64decode(webhook(given)["clientConfig"]["caBundle"]).decode(), CA)
    [tls] = [v for v in deployment(given)["volumes"] if v["name"] == "tls"]
    same(tls["secret"], {"secretName": "corp-tls", "defaultMode": 0o440})
    for found in (managed, own, given):
        arguments = deployment(found)["containers"][0]["args"]
        expect("--tls-self-managed" not in arguments and "--tls-cert=/etc/pullgate/tls/tls.crt" in arguments, str(arguments))


def test_mirrors_are_laid_out_as_containerd_has_them():
    found = objects(values=EVERYTHING)
    [hosts] = [v for v in deployment(found)["volumes"] if v["name"] == "hosts"]
    data = the(found, "ConfigMap", "pullgate-hosts")["data"]
    laid = {item["path"]: data[item["key"]] for item in hosts["configMap"]["items"]}
    same(laid, {"docker.io/hosts.toml": EVERYTHING["hosts"]["docker.io"], "registry.corp_5000_/hosts.toml": "# none\n"})
    [settings] = chart.documents(the(found, "ConfigMap", "pullgate")["data"]["config.yaml"])
    same(settings["registries"], {"hostsDir": "/etc/pullgate/hosts"})
    for key in list(data) + list(the(found, "ConfigMap", "pullgate-policies")["data"]):
        expect(re.fullmatch(r"[-._a-zA-Z0-9]+", key), f"a ConfigMap takes no key {key}")


def test_bad_values_are_refused_with_a_sentence():
    # By the schema: the value's path, and what it should be.
    for values, *words in (
        ({"replicas": 0}, "replicas", "minimum"),
        ({"replicas": "two"}, "replicas", "want integer"),
        ({"replica": 2}, "additional properties 'replica' not allowed"),
        ({"webhook": {"failurePolicy": "ignore"}}, "webhook/failurePolicy", "'Ignore'"),
        ({"webhook": {"timeoutSeconds": 31}}, "webhook/timeoutSeconds", "maximum"),
        ({"webhook": {"timeout": 5}}, "'timeout' not allowed"),
        ({"tls": {"mode": "auto"}}, "tls/mode", "'cert-manager'"),
        ({"secrets": {"access": "list"}}, "secrets/access", "'namespaces'"),
        ({"deadline": "8"}, "deadline"),
        ({"deadline": "0s"}, "deadline"),
        ({"runAsUser": 0}, "runAsUser", "minimum"),
        ({"image": {"digest": "sha256:abc"}}, "image/digest"),
        ({"ports": {"webhook": 443}}, "ports/webhook", "minimum"),
        ({"policies": {"files": {"a b.yaml": "x"}}}, "'a b.yaml' does not match"),
        ({"config": ["a"]}, "config", "want object"),
        ({"priorityClass": {"value": 2000000000}}, "priorityClass/value"),
        ({"fullnameOverride": "Pull.Gate"}, "fullnameOverride"),
        ({"fullnameOverride": "true"}, "fullnameOverride"),
        ({"podLabels": {"team": "a b"}}, "podLabels/team"),
        ({"webhook": None}, "missing property 'webhook'"),
        ({"podDisruptionBudget": {"maxUnavailable": None}}, "missing property 'maxUnavailable'"),
    ):
        refused(values, *words)
    # By the chart: what to do instead.
    for values, *words in (
        ({"image": {"repository": ""}}, "image.repository: say where pullgate's image was pushed"),
        ({"image": {"repository": "registry.example/pullgate:v1"}}, "image.repository: ", "tag and digest have values of their own"),
        ({"webhook": {"failurePolicy": "Fail"}, "replicas": 1}, "set replicas to 2 or more"),
        ({"webhook": {"failurePolicy": "Fail", "excludedNamespaces": ["other"]}}, "kube-system must stay excluded"),
        ({"webhook": {"failurePolicy": "Fail"}, "podDisruptionBudget": {"enabled": False}}, "podDisruptionBudget.enabled", "leave it on"),
        ({"webhook": {"failurePolicy": "Fail"}, "podDisruptionBudget": {"maxUnavailable": 2}}, "2 of 2 replicas must not be evicted at once"),
        ({"webhook": {"failurePolicy": "Fail"}, "podDisruptionBudget": {"maxUnavailable": "51%"}}, "51% of 2 replicas must not be evicted at once"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels", "the Service selects by it"),
        ({"tls": {"clientCA": "ca.crt"}}, "--set-file tls.clientCA=webhook-ca.crt"),
        ({"tls": {"clientCA": CA + "-----BEGIN EC PRIVATE KEY-----"}}, "tls.clientCA: it contains a private key"),
        ({"tls": {"mode": "secret", "caBundle": CA + "-----BEGIN PRIVATE KEY-----"}}, "tls.caBundle: it contains a private key"),
        ({"secrets": {"access": "namespaces"}}, "secrets.namespaces: access namespaces needs the list"),
        ({"secrets": {"namespaces": ["a"]}}, "only secrets.access namespaces uses this list"),
        ({"config": {"secrets": {"access": "get"}}}, "set secrets.access instead"),
        ({"hosts": {"a.b": ""}, "config": {"registries": {"hostsDir": "/x"}}}, "set only one of the two"),
        ({"tls": {"mode": "secret"}}, "--set-file tls.caBundle=ca.crt"),
        ({"tls": {"caBundle": CA}}, "leave it empty or set tls.mode to secret"),
        ({"image": {"repository": "https://registry.example/pullgate"}}, "is a URL"),
        ({"ports": {"webhook": 9000, "metrics": 9000}}, "webhook and metrics cannot both be 9000"),
        ({"webhook": {"matchConditions": [{"name": "spec-changed", "expression": "true"}]}}, '"spec-changed" is already the name of a condition'),
        ({"webhook": {"customKinds": ["argoproj"]}}, 'no group and no group/Kind', "argoproj.io"),
    ):
        refused(values, *words)
    # What is near, and holds.
    objects(values={"webhook": {"failurePolicy": "Fail"}, "replicas": 3, "podDisruptionBudget": {"maxUnavailable": "50%"}})
    # A registry with a port is no tag.
    objects(values={"image": {"repository": "registry.example:5000/pullgate"}})


def test_images_go_by_tag_or_digest():
    same(deployment(objects())["containers"][0]["image"], "registry.example/pullgate:" + chart.documents((chart.CHART / "Chart.yaml").read_text())[0]["appVersion"])
    same(deployment(objects(values={"image": {"tag": "v9"}}))["containers"][0]["image"], "registry.example/pullgate:v9")
    digest = "sha256:" + "a" * 64
    same(deployment(objects(values={"image": {"tag": "v9", "digest": digest}}))["containers"][0]["image"], f"registry.example/pullgate@{digest}")


def test_names_follow_the_release():
    found = objects(name="gate")
    same(the(found, "Deployment")["metadata"]["name"], "gate-pullgate")
    same(the(found, "ValidatingWebhookConfiguration")["webhooks"][0]["clientConfig"]["service"]["name"], the(found, "Service")["metadata"]["name"])
    same(the(objects(values={"fullnameOverride": "other"}), "Service")["metadata"]["name"], "other")
    same(the(objects(name="a" * 53), "Service")["metadata"]["name"], "a" * 52)


def test_what_looks_like_a_number_is_a_name_too():
    values = {"secrets": {"access": "namespaces", "namespaces": ["456"]}, "webhook": {"excludedNamespaces": ["kube-system", "789"]},
              "serviceAccount": {"name": "1"}, "tls": {"secretName": "2"}, "priorityClass": {"name": "3"}, "namespace": {"create": True}}
    found = objects(values=values, name="123", namespace="456") + hooks(values=values, name="123", namespace="456")
    same(webhook(found)["namespaceSelector"]["matchExpressions"][0]["values"], ["kube-system", "789", "456"])
    for o in found:
        where = f"{o['kind']} {o['metadata']['name']}"
        same(invalid(o, NEWEST), None, where)
        expect(isinstance(o["metadata"]["name"], str) and o["metadata"].get("namespace", "456") == "456", where)
        same(o["metadata"].get("labels", {}).get("app.kubernetes.io/instance", "123"), "123", where)
    spec = deployment(found)
    same((spec["serviceAccountName"], spec["priorityClassName"]), ("1", "3"))


def test_annotations_of_its_own_stand_once_and_those_of_others_beside_them():
    values = {"tls": {"mode": "cert-manager"}, "podAnnotations": {"pullgate.dev/secrets-access": "x", "a": "b"},
              "webhook": {"annotations": {"cert-manager.io/inject-ca-from": "x/y", "c": "d"}}}
    found = objects(values=values)
    same(the(found, "Deployment")["spec"]["template"]["metadata"]["annotations"],
         {"kubectl.kubernetes.io/default-container": "pullgate", "pullgate.dev/secrets-access": "get", "a": "b"})
    same(the(found, "ValidatingWebhookConfiguration")["metadata"]["annotations"], {"cert-manager.io/inject-ca-from": "pullgate/pullgate", "c": "d"})


def test_the_metrics_port_is_open_to_those_who_are_named():
    def metrics(policy):
        rules = the(objects(values={"networkPolicy": {"enabled": True} | policy}), "NetworkPolicy")["spec"]["ingress"]
        return [rule.get("from") for rule in rules if rule["ports"] == [{"port": "metrics"}]]
    same(metrics({}), [[{"namespaceSelector": {}}]])
    same(metrics({"metricsFrom": [{"podSelector": {}}]}), [[{"podSelector": {}}]])
    same(metrics({"metricsFrom": []}), [], "nobody, not everybody")


def test_what_is_written_and_left_empty_is_as_it_comes():
    same(objects(values={"config": None, "hosts": None, "podLabels": None, "tolerations": None, "tls": {"caBundle": None, "clientCA": None}}), objects())
    same(webhook(objects(values={"webhook": {"excludedNamespaces": None}}))["namespaceSelector"]["matchExpressions"][0]["values"], ["pullgate"])


def test_the_versions_agree():
    cargo = re.search(r'(?m)^version = "(.+)"$', (chart.ROOT / "Cargo.toml").read_text()).group(1)
    with helm_python.Chart.load(chart.CHART) as loaded:
        same(loaded.metadata["appVersion"], cargo, "appVersion and the crate's version")


def test_values_are_all_in_the_schema_and_say_what_they_are_for():
    with helm_python.Chart.load(chart.CHART) as loaded:
        schema, values = loaded.schema, loaded.values
    def walk(values, schema, at):
        for key, value in values.items():
            expect(key in schema["properties"], f"values.yaml: {at}{key} is not in the schema")
            if isinstance(value, dict) and "properties" in schema["properties"][key]:
                walk(value, schema["properties"][key], f"{at}{key}.")
        unwritten = set(schema["properties"]) - set(values) - {"global"}
        if at.count(".") < 2 and not at.startswith(("resources", "webhook.customKinds")):
            expect(not unwritten, f"{at}{unwritten} is in the schema and not in values.yaml")
    walk(values, schema, "")


def test_notes_name_the_way_out():
    for values, word in (({}, "objects are stored unchecked"), ({"webhook": {"failurePolicy": "Fail"}}, "no pods are created outside of kube-system")):
        notes = chart.templates(values)["pullgate/templates/NOTES.txt"]
        expect("kubectl delete validatingwebhookconfiguration pullgate" in notes and word in notes, notes)


def test_generated_files_are_fresh():
    for path, make in ((chart.KINDS, chart.kinds), (chart.PLAIN, chart.plain)):
        expect(path.read_text() == make(), f"{path.relative_to(chart.ROOT)} is stale: tests/chart/run --write")


def test_the_plain_manifest_is_whole():
    found = chart.documents(chart.PLAIN.read_text())
    same(found[0]["kind"], "Namespace", "first of all")
    same(found[-1]["kind"], "ValidatingWebhookConfiguration", "last of all: until pullgate answers, it is only asked in vain")
    same(the(found, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
    same(the(found, "Deployment")["spec"]["replicas"], 2)
    expect("registry.example/pullgate:" in the(found, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"], "the image")
    expect(not any("helm.sh/hook" in json.dumps(o) for o in found), "hooks are Helm's alone")
    same(chart.documents(chart.plain()), objects(values={"namespace": {"create": True}}))
    same(len(crds(found)), 1, "it holds the CRD too")
