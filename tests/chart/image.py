"""Images without a container engine: the files that a program needs, as layers, pushed by our own hand.

The Dockerfile says how the image is built; what is assembled here holds the same: one binary, the libraries that it is linked against, the
roots that registries are checked against, and users by name. Nothing else: no shell, no package manager."""
import gzip
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import types
from pathlib import Path

import chart

PUSH = chart.ROOT / "tests/cluster/push-image"


def pusher():
    """The script that pushes test images, as a module."""
    loader = importlib.machinery.SourceFileLoader("push_image", str(PUSH))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("push_image", loader))
    loader.exec_module(module)
    return module


def libraries(program):
    """What the program is linked against: path in the image -> file here."""
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {path: Path(path).resolve() for path in re.findall(r"(/\S+) \(0x", said)}


def base(*programs):
    """Files of a base image: libraries, roots, users."""
    files = {path: (0o755, source.read_bytes()) for program in programs for path, source in libraries(program).items()}
    files["/etc/ssl/certs/ca-certificates.crt"] = (0o644, Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    files["/etc/passwd"] = (0o644, b"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    files["/etc/group"] = (0o644, b"root:x:0:\nnonroot:x:65532:\n")
    files["/etc/nsswitch.conf"] = (0o644, b"hosts: files dns\n")
    return files


def push(reference, layers, config):
    """Layers of {path: (mode, bytes)}, lowest first; returns REFERENCE@DIGEST."""
    tool = pusher()
    host, _, path = reference.partition("/")
    repository, _, tag = path.rpartition(":")
    registry = tool.Registry(host, types.SimpleNamespace(https=False, ca=None, user=None))
    kinds, descriptors, diffs = tool.TYPES["oci"], [], []
    for files in layers:
        tar = tool.tar_of([(name.lstrip("/"), mode, data) for name, (mode, data) in sorted(files.items())])
        layer = gzip.compress(tar, 1, mtime=0)
        registry.put_blob(repository, layer)
        diffs.append(tool.digest(tar))
        descriptors.append({"mediaType": kinds["layer"], "digest": tool.digest(layer), "size": len(layer)})
    about = tool.compact({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": diffs}})
    registry.put_blob(repository, about)
    manifest = tool.compact({"schemaVersion": 2, "mediaType": kinds["manifest"], "layers": descriptors, "config": {
        "mediaType": kinds["config"], "digest": tool.digest(about), "size": len(about)}})
    registry.put_manifest(repository, tag, manifest, kinds["manifest"])
    return f"{reference}@{tool.digest(manifest)}"


def dockerfile():
    """What the Dockerfile says of the image that it makes."""
    lines = (chart.ROOT / "Dockerfile").read_text().split("\nFROM ")[-1].splitlines()
    said = dict(line.split(" ", 1) for line in lines if line.split(" ", 1)[0] in ("USER", "ENTRYPOINT", "CMD"))
    return {"User": said["USER"], "Entrypoint": json.loads(said["ENTRYPOINT"]), "Cmd": json.loads(said["CMD"])}


def push_pullgate(reference, binary):
    config = dockerfile()
    return push(reference, [base(binary), {config["Entrypoint"][0]: (0o755, Path(binary).read_bytes())}],
                {**config, "Env": ["PATH=/usr/local/bin"]})


def push_curl(reference):
    """What `helm test` needs: a shell and curl."""
    programs = {"/bin/sh": Path("/bin/sh").resolve(), "/usr/bin/curl": Path("/usr/bin/curl").resolve()}
    files = {path: (0o755, source.read_bytes()) for path, source in programs.items()}
    return push(reference, [base(*map(str, programs.values())), files], {"User": "65532:65532", "Env": ["PATH=/usr/bin:/bin"]})
