"""The cluster of $KUBECONFIG, by kubectl."""
import json
import os
import subprocess
import time

from rendering import expect


def kubectl(*arguments, given=None, check=True):
    """Runs kubectl; `given` is what it reads (objects, or text). Returns what it printed, standard error too where it may fail."""
    if isinstance(given, list):
        given = "".join(f"---\n{json.dumps(o)}\n" for o in given)
    elif isinstance(given, dict):
        given = json.dumps(given)
    done = subprocess.run(["kubectl", "--request-timeout=30s", *arguments], input=given, capture_output=True, text=True)
    if check:
        expect(done.returncode == 0, f"kubectl {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
        return done.stdout
    return done


def get(*arguments):
    return json.loads(kubectl("get", *arguments, "-o", "json"))


# More seconds than a busy machine needs for what otherwise takes a few.
LONG = 300


def wait(what, ask):
    """Asks again until there is an answer that is true; returns it and the seconds that it took. A question that fails is one without
    an answer yet: its words are told when none comes."""
    began, told = time.monotonic(), False
    while True:
        said = ""
        try:
            answer = ask()
        except AssertionError as error:
            answer, said = None, f"; last: {error}"
        took = time.monotonic() - began
        if answer:
            return answer, took
        expect(took < LONG, f"{what}: not within {LONG} s{said}")
        if took > 30 and not told:
            told = True
            print(f"        still waiting: {what}{said}", flush=True)
        time.sleep(0.2)


def pod(name, reference, **spec):
    """A pod that the Pod Security level `restricted` lets pass."""
    app = {"name": "app", "image": reference, "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [app],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}, **spec}}


def takes_pods(namespace):
    """Waits until pods can be created in a namespace that is new: admission refuses them until a controller has made its default service
    account."""
    wait(f"pods can be created in {namespace}",
         lambda: "dry run" in kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", given=pod("first", "127.0.0.1:1/none")))


def ours():
    """A name of this run's own."""
    return f"pullgate-chart-{os.getpid()}"
