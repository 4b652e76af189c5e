"""pullgate as pods in a real cluster, from an image in its registry, with self-managed certificates: then things are broken.

Throughout, pods that would pull must be creatable; a watcher tries several times a second. Pods that would not pull are refused while the
gate is closed; how long it stood open after each breakage is written to target/chart/install.md."""
import base64
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import helm_python
import yaml

import chart
import image
from kube import get, kubectl, pod, takes_pods, wait
from rendering import expect, same

CLUSTER = Path(os.environ.get("PULLGATE_TEST_CLUSTER_DIR", "/tmp/pullgate-cluster"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", chart.ROOT / "target"))
BINARY = os.environ.get("PULLGATE_BIN") or str(TARGET / "debug/pullgate")
OUT = chart.ROOT / "target/chart"
NODE = "10.89.0.1"
REGISTRY = "127.0.0.1:5101"
OPEN, PRIVATE = f"{NODE}:5111", f"{NODE}:5112"
TENANT = "pullgate-install"

VALUES = {
    "image": {"repository": f"{REGISTRY}/pullgate", "tag": "test"},
    # The node's registry is on its loopback; pods reach the same content by the node's address.
    # A [host] table besides `server`: without one, containerd 1.x passes the file over, and pullgate denies nothing on its account.
    "hosts": {name: f'server = "http://{at}"\n[host."http://{at}"]\n' for name, at in ((REGISTRY, OPEN), (PRIVATE, PRIVATE))},
    "tests": {"image": f"{REGISTRY}/curl:test"},
}
notes = []


class Api:
    """One connection to the API server."""

    def __init__(self):
        config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = urlsplit(cluster["server"]).netloc
        self.context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        self.headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}
        self.connection = None

    def call(self, method, path, body=None):
        """Status and body; 0 where the API server itself does not answer."""
        try:
            if self.connection is None:
                self.connection = HTTPSConnection(self.host, context=self.context, timeout=30)
            self.connection.request(method, path, json.dumps(body) if body else None, self.headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException) as error:
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            return 0, str(error)


GOOD, BAD = f"{REGISTRY}/shop/api:v1", f"{REGISTRY}/shop/api:no-such-tag"


class Watcher:
    """Creates pods all the time (dry runs, which are judged like all others), good ones and bad ones."""

    def __init__(self, what, excused=()):
        """`excused`: words of refusals that are another's fault."""
        self.what, self.excused, self.stop = what, excused, threading.Event()
        self.good, self.bad = [], []
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def run(self):
        api = Api()
        while not self.stop.is_set():
            for into, reference in ((self.good, GOOD), (self.bad, BAD)):
                began = time.monotonic()
                status, said = api.call("POST", f"/api/v1/namespaces/{TENANT}/pods?dryRun=All", pod("watched", reference))
                into.append((began, status, time.monotonic() - began, said))
            self.stop.wait(0.1)

    def closed(self):
        """Whether the last bad pods were all refused by pullgate."""
        return len(self.bad) >= 3 and all(status == 403 and "images.pullgate.dev" in said for _, status, _, said in self.bad[-3:])

    def answered(self, more):
        """Waits until so many more bad pods have been answered."""
        seen = len(self.bad)
        wait(f"{self.what}: {more} more answers", lambda: len(self.bad) >= seen + more)

    def until_closed(self):
        seen = len(self.bad)
        wait(f"{self.what}: the gate is closed again", lambda: len(self.bad) >= seen + 3 and self.closed())

    def __exit__(self, kind, *_):
        self.stop.set()
        self.thread.join()
        if kind is not None:
            return
        # While the API server itself is away nothing can be said; it must be away in no other step.
        away = [at for at, status, *_ in self.good + self.bad if status == 0]
        excused = lambda said: any(words in said for words in self.excused)
        failed = [(status, said[:400]) for _, status, _, said in self.good if status not in (0, 201) and not excused(said)]
        expect(not failed, f"{self.what}: {len(failed)} of {len(self.good)} good pods could not be created: {failed[:3]}")
        wrong = [(status, said[:400]) for _, status, _, said in self.bad if status not in (0, 201, 403) and not excused(said)]
        expect(not wrong, f"{self.what}: {wrong[:3]}")
        let_in = [(at, took) for at, status, took, _ in self.bad if status == 201]
        opened = sum(1 for _ in let_in)
        spell = let_in[-1][0] + let_in[-1][1] - let_in[0][0] if let_in else 0
        slowest = max(took for _, status, took, _ in self.good + self.bad if status)
        notes.append((self.what, len(self.good), opened, spell, slowest, len(away)))
        print(f"        {self.what}: {len(self.good)} good pods, all creatable; {opened} of {len(self.bad)} bad ones let in, over {spell:.1f} s; "
              f"slowest answer {slowest:.2f} s", flush=True)
        self.opened, self.slowest, self.away = opened, slowest, len(away)


def registry(name, address, folder, extra=""):
    """A docker-registry on the node's address, where the cluster's programs run, so that tests/cluster/down ends it."""
    settings = CLUSTER / f"{name}.yml"
    settings.write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: '{address}'}}\nlog: {{level: warn}}\n{extra}")
    start(name, ["docker-registry", "serve", str(settings)])
    try:
        wait(f"the registry at {address}", lambda: subprocess.run(
            ["curl", "-so", "/dev/null", "--noproxy", "*", f"http://{address}/v2/"]).returncode == 0)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{end_of_log(name)}") from None


def end_of_log(name):
    return (CLUSTER / f"logs/{name}.log").read_text(errors="replace")[-3000:]


def start(name, command, environment=os.environ):
    """Starts a program where the cluster's own run."""
    subprocess.run([str(chart.ROOT / "tests/cluster/start"), name, *command], check=True,
                   env={**environment, "PULLGATE_TEST_CLUSTER_DIR": str(CLUSTER)})


def pid(name):
    return int((CLUSTER / f"pids/{name}").read_text())


def all_pods():
    return get("pods", "-n", "pullgate", "-l", "app.kubernetes.io/name=pullgate")["items"]


def pods():
    return [p for p in all_pods() if "deletionTimestamp" not in p["metadata"]]


def rolled_out():
    """Once the new pods are ready, and the last of the old ones has drained and gone."""
    kubectl("-n", "pullgate", "rollout", "status", "deployment/pullgate", "--timeout=300s", "--request-timeout=0")
    wait("the old pods are gone", lambda: len(all_pods()) == len(pods()) == 2)


def restarts():
    return sum(status["restartCount"] for p in pods() for status in p["status"].get("containerStatuses", []))


def ready(count=2):
    def are():
        now = pods()
        conditions = [c["status"] for p in now for c in p["status"].get("conditions", []) if c["type"] == "Ready"]
        return len(now) == count and conditions == ["True"] * count
    try:
        return wait(f"{count} ready replicas", are)
    except AssertionError as error:
        logs = kubectl("-n", "pullgate", "logs", "-l", "app.kubernetes.io/name=pullgate", "--tail=30", check=False)
        raise AssertionError(f"{error}\n{kubectl('-n', 'pullgate', 'describe', 'pods')[-3000:]}\n{logs.stdout}{logs.stderr}") from None


def caches():
    return get("validatingwebhookconfiguration", "pullgate")["webhooks"][0]["clientConfig"].get("caBundle", "")


def really_runs(name):
    """A pod that is stored, pulled and started."""
    kubectl("-n", TENANT, "apply", "-f", "-", given=pod(name, GOOD))
    wait(f"pod {name} runs", lambda: get("pod", name, "-n", TENANT)["status"].get("phase") == "Running")
    kubectl("-n", TENANT, "delete", "pod", name, "--wait=false")


def plain_install():
    kubectl("apply", "-f", "-", given=chart.plain(VALUES))


def apply(file):
    """`tests/chart/run --apply`."""
    asked = json.loads(Path(file).read_text())
    reference = f"{REGISTRY}/pullgate:{asked['name']}"
    image.push_pullgate(reference, BINARY)
    values = chart.merged(asked["values"], {"image": {"repository": f"{REGISTRY}/pullgate", "tag": asked["name"]}})
    kubectl("apply", "-f", "-", given=chart.objects(values, name=asked["name"], namespace=asked["namespace"]))
    return 0


def test_the_image_is_pushed_and_runs():
    expect(os.path.exists(BINARY), f"{BINARY} is missing: cargo build, or set PULLGATE_BIN")
    print("        " + image.push_pullgate(f"{REGISTRY}/pullgate:test", BINARY))
    image.push_curl(f"{REGISTRY}/curl:test")
    subprocess.run([str(image.PUSH), GOOD], check=True, stdout=subprocess.DEVNULL)
    registry("registry-open", OPEN, CLUSTER / "registry")
    password = subprocess.run(["htpasswd", "-Bbn", "ci", "secret"], capture_output=True, text=True, check=True).stdout
    (CLUSTER / "htpasswd").write_text(password)
    registry("registry-private", PRIVATE, CLUSTER / "registry-private", f"auth: {{htpasswd: {{realm: x, path: {CLUSTER}/htpasswd}}}}\n")
    subprocess.run([str(image.PUSH), "--user", "ci:secret", f"{PRIVATE}/shop/private:v1"], check=True, stdout=subprocess.DEVNULL)
    kubectl("create", "namespace", TENANT)
    for namespace in ("kube-system", TENANT):
        takes_pods(namespace)


def test_the_plain_manifest_installs():
    with Watcher("install") as watcher:
        began = time.monotonic()
        plain_install()
        ready()
        watcher.until_closed()
        print(f"        from `kubectl apply` to a closed gate: {time.monotonic() - began:.1f} s")
    really_runs("installed")
    for p in pods():
        same(p["spec"]["containers"][0]["image"], f"{REGISTRY}/pullgate:test")
        same(p["status"]["containerStatuses"][0]["restartCount"], 0)
    denied = kubectl("-n", TENANT, "create", "deployment", "typo", "--image", BAD, check=False)
    expect(denied.returncode != 0 and "TagNotFound" in denied.stderr and "closest: v1" in denied.stderr, denied.stderr)
    wait("an Event of it", lambda: [e for e in get("events", "-n", TENANT)["items"]
                                 if e["reportingComponent"] == "pullgate.dev/pullgate" and e["involvedObject"]["name"] == "typo"])


def test_applying_again_changes_nothing_that_is_served():
    before, pods_before = caches(), sorted(p["metadata"]["name"] for p in pods())
    expect(before, "no caBundle")
    with Watcher("apply again") as watcher:
        plain_install()
        watcher.answered(30)
        watcher.until_closed()
    same(caches(), before, "an apply must not take the caBundle away")
    same(sorted(p["metadata"]["name"] for p in pods()), pods_before)
    same(watcher.opened, 0)


def test_the_opt_out_label_and_the_own_namespace():
    bad = pod("x", BAD)
    expect("TagNotFound" in kubectl("-n", TENANT, "create", "--dry-run=server", "-f", "-", given=bad, check=False).stderr, "closed")
    kubectl("label", "namespace", TENANT, "pullgate.dev/ignore=true")
    wait("the label opens the gate", lambda: kubectl("-n", TENANT, "create", "--dry-run=server", "-f", "-", given=bad, check=False).returncode == 0)
    kubectl("label", "namespace", TENANT, "pullgate.dev/ignore-")
    wait("and closes it", lambda: kubectl("-n", TENANT, "create", "--dry-run=server", "-f", "-", given=bad, check=False).returncode)
    takes_pods("pullgate")
    for namespace in ("pullgate", "kube-system"):
        kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", given=bad)


def test_a_policy_of_the_cluster_holds_and_has_a_status():
    policy = {"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "install"}, "spec": {
        "match": {"namespaces": [TENANT]}, "registries": {"allow": ["registry.corp.example/**"]}}}
    good = lambda: kubectl("-n", TENANT, "create", "--dry-run=server", "-f", "-", given=pod("x", GOOD), check=False)
    # The kind is served a moment after it was accepted.
    wait("the policy is applied", lambda: kubectl("apply", "-f", "-", given=policy))
    wait("the policy denies", lambda: "RegistryNotAllowed" in good().stderr)
    conditions, _ = wait("its status", lambda: get("imagepolicy", "install").get("status", {}).get("conditions"))
    same([(c["type"], c["status"]) for c in conditions if c["type"] == "Accepted"], [("Accepted", "True")])
    kubectl("delete", "imagepolicy", "install")
    wait("and no more", lambda: good().returncode == 0)
    # That was one replica: until the others know as well, they would refuse what the next tests create.
    wait("all replicas know", lambda: all('pullgate_policies{source="cluster"} 0\n' in metrics(p) for p in pods()))


def metrics(p):
    return kubectl("get", "--raw", f"/api/v1/namespaces/pullgate/pods/{p['metadata']['name']}:8080/proxy/metrics")


def test_metrics_are_scraped_and_named_as_the_dashboard_has_them():
    import rules
    names, counted = set(), set()
    for p in pods():
        # Series are there from the start, at 0: what was counted is to be seen.
        lines = re.findall(r"(?m)^(pullgate_\w+)\S* (\S+)$", metrics(p))
        names |= {name for name, _ in lines}
        counted |= {name for name, value in lines if float(value)}
    expect({"pullgate_reviews_total", "pullgate_findings_total", "pullgate_registry_requests_total"} <= counted, f"{counted}")
    unknown = {name for name in names if name not in rules.metrics()}
    expect(not unknown, f"scraped, and not read out of the source: {unknown}")


def test_the_tls_secret_is_deleted():
    uid = get("secret", "pullgate-tls", "-n", "pullgate")["metadata"]["uid"]
    with Watcher("TLS Secret deleted") as watcher:
        kubectl("-n", "pullgate", "delete", "secret", "pullgate-tls")
        _, took = wait("another Secret", lambda: [s for s in get("secret", "-n", "pullgate")["items"]
                                                      if s["metadata"]["name"] == "pullgate-tls" and s["metadata"]["uid"] != uid])
        print(f"        the Secret was back after {took:.1f} s")
        watcher.answered(50)
        watcher.until_closed()
    ready()
    really_runs("secret-deleted")


def test_the_tls_secret_is_corrupted():
    with Watcher("TLS Secret corrupted") as watcher:
        rubbish = {"data": {key: base64.b64encode(b"rubbish").decode() for key in get("secret", "pullgate-tls", "-n", "pullgate")["data"]}}
        kubectl("-n", "pullgate", "patch", "secret", "pullgate-tls", "--type=merge", "-p", json.dumps(rubbish))
        healthy = lambda: base64.b64decode(get("secret", "pullgate-tls", "-n", "pullgate")["data"]["tls.crt"]).startswith(b"-----BEGIN")
        _, took = wait("a sound Secret", healthy)
        print(f"        the Secret was sound after {took:.1f} s")
        watcher.answered(50)
        watcher.until_closed()
    ready()
    really_runs("secret-corrupted")


def test_the_ca_bundle_is_corrupted():
    stranger = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
                               "-subj", "/CN=stranger", "-days", "1"], capture_output=True, check=True).stdout
    with Watcher("caBundle of a stranger") as watcher:
        patch = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": base64.b64encode(stranger).decode()}]
        kubectl("patch", "validatingwebhookconfiguration", "pullgate", "--type=json", "-p", json.dumps(patch))
        _, took = wait("another caBundle", lambda: caches() != patch[0]["value"])
        print(f"        the caBundle was right after {took:.1f} s")
        watcher.until_closed()
    with Watcher("caBundle removed") as watcher:
        kubectl("patch", "validatingwebhookconfiguration", "pullgate", "--type=json", "-p",
                '[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]')
        _, took = wait("a caBundle", caches)
        print(f"        the caBundle was back after {took:.1f} s")
        watcher.until_closed()
    ready()
    really_runs("bundle-corrupted")


def test_one_replica_is_killed():
    with Watcher("one replica deleted without grace") as watcher:
        kubectl("-n", "pullgate", "delete", "pod", pods()[0]["metadata"]["name"], "--force", "--grace-period=0")
        ready()
        watcher.until_closed()
    # One may run into the webhook's timeout of ten seconds; none into two of them.
    expect(watcher.slowest < 20, "a call took longer than its timeout")
    with Watcher("one process killed (SIGKILL)") as watcher:
        before = restarts()
        os.kill(processes()[0], signal.SIGKILL)
        wait("its container is started again", lambda: restarts() > before)
        ready()
        watcher.until_closed()
    really_runs("killed")


def processes():
    """pullgate's processes in the pods of now: one that was deleted without grace is no pod any more, and its process drains on for a while."""
    containers = [status["containerID"].rsplit("/", 1)[-1] for p in pods() for status in p["status"].get("containerStatuses", [])
                  if "running" in status["state"]]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text()
            if any(container in groups for container in containers) and (folder / "comm").read_text().strip() == "pullgate":
                found.append(int(folder.name))
        except OSError:
            pass
    expect(found, f"no process of pullgate in {containers}")
    return sorted(found)


def test_a_rolling_restart_loses_no_review():
    with Watcher("rolling restart") as watcher:
        kubectl("-n", "pullgate", "rollout", "restart", "deployment/pullgate")
        rolled_out()
        watcher.until_closed()
    same(watcher.opened, 0, "reviews that nobody answered")
    expect(watcher.slowest < 10, f"slowest: {watcher.slowest}")
    really_runs("restarted")


def ended(process):
    """Whether a killed process is gone with all of its threads: a last one may hold the sockets while it frees the memory."""
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1][:3] and len(os.listdir(f"/proc/{process}/task")) == 1
    except OSError:
        return True


def test_the_api_server_is_restarted():
    old = pid("kube-apiserver")
    command = [part.decode() for part in Path(f"/proc/{old}/cmdline").read_bytes().split(b"\0")[:-1]]
    environment = dict(part.decode().split("=", 1) for part in Path(f"/proc/{old}/environ").read_bytes().split(b"\0")[:-1])
    before = caches()
    # Its own admission is not ready at once: it waits for its caches, ten seconds at most.
    with Watcher("API server restarted", excused=("not yet ready to handle request",)) as watcher:
        # Without the minute that it would give its watchers.
        os.kill(old, signal.SIGKILL)
        wait("the API server ends", lambda: ended(old))
        start("kube-apiserver", command, environment)

        def serves():
            if ended(pid("kube-apiserver")):  # as a static pod's container is: begun again
                start("kube-apiserver", command, environment)
            return kubectl("get", "--raw", "/readyz", check=False).returncode == 0
        try:
            wait("the API server", serves)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{end_of_log('kube-apiserver')}") from None
        watcher.until_closed()
    expect(watcher.away > 0, "it was never away")
    ready()
    same(caches(), before)
    really_runs("restarted-api")


def test_with_no_replica_at_all_pods_are_creatable():
    with Watcher("no replica") as watcher:
        kubectl("-n", "pullgate", "scale", "deployment/pullgate", "--replicas=0")
        wait("no pod", lambda: not all_pods())
        wait("the gate is open", lambda: watcher.bad and watcher.bad[-1][1] == 201)
        really_runs("alone")
        kubectl("-n", "pullgate", "scale", "deployment/pullgate", "--replicas=2")
        ready()
        watcher.until_closed()
    expect(watcher.opened > 0, "who refused it?")


def test_memory_under_load():
    """Thousands of reviews of ever new names; what the processes then hold is for docs/operations.md."""
    api, began, count = Api(), time.monotonic(), 1000
    for number in range(count):
        status, said = api.call("POST", f"/api/v1/namespaces/{TENANT}/pods?dryRun=All", pod("load", f"{REGISTRY}/shop/api:load-{number}"))
        expect(status == 403, f"{status} {said[:300]}")
    took = time.monotonic() - began
    for process in processes():
        held = dict(re.findall(r"(?m)^(VmHWM|VmRSS|RssAnon|RssFile):\s+(\d+) kB", Path(f"/proc/{process}/status").read_text()))
        print("        after " + f"{count} reviews in {took:.0f} s: " + ", ".join(f"{k} {int(v) / 1024:.0f} MiB" for k, v in held.items()))
        expect(int(held["VmHWM"]) < 200 * 1024, f"{held}: the chart's limit is 256 MiB")


def test_the_way_out_and_back():
    with Watcher("registration deleted") as watcher:
        kubectl("delete", "validatingwebhookconfiguration", "pullgate")
        wait("the gate is open", lambda: watcher.bad and watcher.bad[-1][1] == 201)
        # Every replica has noticed, and none puts it back: only an admin may.
        ready_now = lambda p: [c["status"] for c in p["status"].get("conditions", []) if c["type"] == "Ready"]
        wait("no replica is ready", lambda: all(ready_now(p) == ["False"] for p in pods()))
        expect(kubectl("get", "validatingwebhookconfiguration", "pullgate", check=False).returncode != 0, "it came back by itself")
        plain_install()
        watcher.until_closed()
        ready()


def test_the_namespace_is_deleted_and_pullgate_installed_again():
    before = caches()
    with Watcher("namespace deleted, installed again") as watcher:
        kubectl("delete", "namespace", "pullgate", "--timeout=300s", "--request-timeout=0")
        really_runs("orphaned")
        plain_install()
        ready()
        watcher.until_closed()
    expect(caches() != before, "the old CA's key went with the namespace")
    really_runs("reinstalled")


def test_the_plain_manifest_is_removed_again():
    text = chart.plain(VALUES)
    # What lies in the namespace may have gone with it before its own turn comes.
    kubectl("delete", "-f", "-", "--ignore-not-found", "--request-timeout=300s", given=text)
    left = [f"{kind}/{o['metadata']['name']}" for kind in ("clusterrole", "clusterrolebinding", "validatingwebhookconfiguration", "priorityclass",
            "namespace", "crd") for o in get(kind)["items"] if "pullgate" in o["metadata"]["name"] and o["metadata"]["name"] != TENANT]
    same(left, [])
    really_runs("gone")


def secret():
    docker = {"auths": {f"http://{PRIVATE}": {"username": "ci", "password": "secret"}}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(docker)}}


def test_helm_installs_tests_upgrades_and_uninstalls():
    """Helm's own engine against the real API server, and what each secrets.access can judge."""
    private = pod("private", f"{PRIVATE}/shop/private:v1", imagePullSecrets=[{"name": "pull"}])
    kubectl("-n", TENANT, "apply", "-f", "-", given=secret())

    def judged():
        done = kubectl("-n", TENANT, "create", "--dry-run=server", "-f", "-", given=private, check=False)
        return "denied" if done.returncode else "warned" if "Warning" in done.stderr else "allowed", done.stderr

    def came(verdict):
        got, said = judged()
        same(got, verdict, said)
        return True

    values = chart.merged(VALUES, {"namespace": {"create": False}})
    kubectl("create", "namespace", "pullgate")
    # As in the plain manifest: the pods of the chart, and that of `helm test`, hold by the strictest level that there is.
    kubectl("label", "namespace", "pullgate", "pod-security.kubernetes.io/enforce=restricted")
    with helm_python.Config(kubeconfig_path=os.environ["KUBECONFIG"], namespace="pullgate") as helm:
        helm.install(chart.CHART, "pullgate", values)
        ready()
        with Watcher("helm test") as watcher:
            watcher.until_closed()
            try:
                helm.test("pullgate", timeout=300)
            except helm_python.HelmError as error:
                log = kubectl("-n", "pullgate", "logs", "pullgate-test", check=False)
                raise AssertionError(f"{error}\n{log.stdout}{log.stderr}") from None
        log = kubectl("-n", "pullgate", "logs", "pullgate-test")
        expect("pullgate answers, and denies an image that cannot be pulled" in log, log)
        wait("access get: allowed", lambda: judged()[0] == "allowed")
        bundle = caches()
        for access, listed, verdict in (("none", [], "warned"), ("namespaces", ["default"], "warned"), ("namespaces", ["default", TENANT], "allowed"),
                                        ("cluster", [], "allowed"), ("get", [], "allowed")):
            with Watcher(f"helm upgrade to secrets.access {access} {' '.join(listed)}".strip()) as watcher:
                helm.upgrade(chart.CHART, "pullgate", chart.merged(values, {"secrets": {"access": access, "namespaces": listed}}))
                rolled_out()
                # Where only rights changed no pod is new.
                wait(f"{access} {listed}: {verdict}", lambda: came(verdict))
                watcher.until_closed()
            same(watcher.opened, 0, f"{access}: an upgrade let bad pods in")
            same(caches(), bundle, "an upgrade must leave the caBundle")
        policy = {"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "files"}, "spec": {
            "match": {"namespaces": [TENANT]}, "registries": {"deny": [f"{PRIVATE}/**"]}}}
        helm.upgrade(chart.CHART, "pullgate", chart.merged(values, {"policies": {"files": {"files.yaml": json.dumps(policy)}}}))
        kubectl("-n", "pullgate", "rollout", "status", "deployment/pullgate", "--timeout=300s", "--request-timeout=0")
        wait("a policy of a file denies", lambda: "RegistryNotAllowed" in judged()[1])
        helm.uninstall("pullgate")
    # Helm deletes the Deployment; what it owns is the garbage collector's affair, which takes its time where kinds have just come or gone.
    wait("its pods are gone", lambda: not all_pods())
    same(get("crd", "imagepolicies.pullgate.dev")["metadata"]["name"], "imagepolicies.pullgate.dev", "policies outlive an uninstall")
    kubectl("delete", "crd", "imagepolicies.pullgate.dev", "--request-timeout=300s")
    left = [f"{kind}/{o['metadata']['name']}" for kind in ("clusterrole", "clusterrolebinding", "validatingwebhookconfiguration", "priorityclass")
            for o in get(kind)["items"] if "pullgate" in o["metadata"]["name"]]
    same(left, [])


def finish():
    """The table, for people."""
    OUT.mkdir(parents=True, exist_ok=True)
    lines = ["| what was done | good pods tried | of them refused | bad pods let in | over | slowest answer |", "|---|---|---|---|---|---|"]
    lines += [f"| {what} | {good} | 0 | {opened} | {spell:.1f} s | {slowest:.2f} s |" for what, good, opened, spell, slowest, _ in notes]
    (OUT / "install.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    kubectl("delete", "namespace", TENANT, "--wait=false", check=False)
    expect(shutil.which("kubectl"), "kubectl")
