"""Witness: the official definitions of Flux, external-secrets and MetalLB.

usage: crds_witness.py PATH_OF_CASTLE PATH_OF_PROOFS FOLDER_OF_DEFINITIONS

A castle is raised in `castle lab serve` up to its ready nodes. Then kubectl applies
the manifest that the Flux project ships, and waits until its definitions are
established and its controllers are available; applies the other definitions; and
sends every object of a custom kind that castle plants, or that its repository holds,
through them in a dry run. Prints `witness crds passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import functools
import json
import pathlib
import re
import shutil
import sys
import time

from raised import raised_castle, run
from tally import Tally

GROUPS = ("fluxcd.io", "external-secrets.io", "metallb.io")


def documents(files: dict[str, str]) -> list[tuple[str, str]]:
    """The objects of custom kinds, with their places; variables are filled in."""
    variables = {}
    for path, text in files.items():
        if path.endswith("/cluster-vars.yaml"):
            data = text.split("\ndata:\n", 1)[1]
            variables = dict(re.findall(r"^  (\w+): (.+)$", data, re.M))
    found = []
    for path, text in sorted(files.items()):
        if not path.endswith((".yaml", ".yml")):
            continue
        for part in re.split(r"^---\s*$", text, flags=re.M):
            version = re.search(r"^apiVersion: (\S+)$", part, re.M)
            if version and version.group(1).split("/")[0].endswith(GROUPS):
                found.append((path, re.sub(r"\$\{(\w+)\}", lambda name: variables.get(name.group(1), name.group(0)), part)))
    return found


def main() -> int:
    castle, proofs, definitions = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    tally, began = Tally(), time.monotonic()
    if not definitions.is_dir():
        tally.skip("crds", "the official definitions are not beside the project")
        return tally.told("crds", 0)
    if not shutil.which("kubectl"):
        tally.skip("crds", "kubectl is not installed")
        return tally.told("crds", 0)
    with raised_castle(castle, tally, "--until", "nodes-ready") as raised:
        if raised is not None:
            judge(functools.partial(raised.kubectl, timeout=300), proofs, definitions, tally)
    return tally.told("crds", time.monotonic() - began)


def judge(kubectl, proofs: str, definitions: pathlib.Path, tally: Tally) -> None:
    manifest = next((definitions / "flux").glob("gotk-components-*.yaml"))
    applied = kubectl("apply", "--server-side", "-f", manifest)
    tally.check("the manifest of Flux is applied", applied.returncode == 0, applied.stderr)
    tally.check("all of it", applied.stdout.count("serverside-applied") >= 30, applied.stdout)
    flux = [line.split()[0] for line in applied.stdout.splitlines() if line.startswith("customresourcedefinition")]
    waited = kubectl("wait", "--for=condition=Established", "--timeout=60s", *flux)
    tally.check("its definitions are established", waited.returncode == 0 and len(flux) >= 10, waited.stderr)
    ready = kubectl("wait", "--for=condition=Available", "--timeout=120s", "-n", "flux-system", "deployment", "--all")
    tally.check("its controllers are available", ready.returncode == 0 and ready.stdout.count("condition met") == 4, ready)
    # Those of Flux stand in its manifest.
    for file in sorted(definitions.glob("*/*.yaml")):
        if file.parent.name == "flux":
            continue
        applied = kubectl("apply", "--server-side", "-f", file)
        tally.check(f"{file.name} is applied", applied.returncode == 0, applied.stderr)
        names = [line.split()[0] for line in applied.stdout.splitlines()]
        waited = kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
        tally.check(f"{file.name} is established", waited.returncode == 0 and names != [], waited.stderr)
    for namespace in ("external-secrets", "metallb-system", "traefik", "blog"):
        text = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n"
        made = kubectl("apply", "--server-side", "-f", "-", input=text)
        tally.check(f"namespace {namespace}", made.returncode == 0, made.stderr)
    files = json.loads(run(proofs, "repository").stdout)
    objects = documents(files)
    tally.check("there are objects of custom kinds", len(objects) >= 8, [path for path, _ in objects])
    for path, text in objects:
        name = re.search(r"^kind: (\S+)", text, re.M).group(1)
        sent = kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=text)
        tally.check(f"{name} of {path}", sent.returncode == 0, sent.stderr)
    # A definition that nobody can break proves nothing.
    broken = [text.replace("spec:", "spec:\n  castle: unknown", 1) for _, text in objects if re.search(r"^spec:$", text, re.M)]
    tally.check("every object can be broken", len(broken) == len(objects), len(broken))
    for text in broken:
        sent = kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", input=text)
        tally.check("an unknown field is refused", sent.returncode != 0 and "castle" in sent.stderr, sent.stdout)


if __name__ == "__main__":
    sys.exit(main())
