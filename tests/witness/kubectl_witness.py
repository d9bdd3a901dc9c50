"""Witness: kubectl, a client that nobody here wrote, against the lab's Kubernetes API.

usage: kubectl_witness.py PATH_OF_THE_CLUSTER_EXAMPLE

It serves a small cluster (castle-lab's example `cluster`), asks and changes it with
kubectl, and prints `witness kubectl passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tally import Tally

APPLIED = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: applied, namespace: default}
data: {a: "%s"}
"""


@contextlib.contextmanager
def served_cluster(example: str, folder: pathlib.Path):
    """Serves the cluster; yields the kubeconfig."""
    command = [example, folder]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if not server.stdout.readline():
            raise RuntimeError(f"the cluster did not start: exit {server.wait()}")
        yield folder / "kubeconfig"
    finally:
        server.stdin.close()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()


def testify(example: str, tally: Tally) -> None:
    with tempfile.TemporaryDirectory() as scratch, served_cluster(example, pathlib.Path(scratch)) as kubeconfig:
        cache = pathlib.Path(scratch) / "cache"

        def kubectl(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
            command = ["kubectl", f"--kubeconfig={kubeconfig}", f"--cache-dir={cache}", *arguments]
            return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)

        def says(name: str, wanted: str, *arguments: str, text: str | None = None, code: int = 0) -> str:
            seen = kubectl(*arguments, text=text)
            said = seen.stdout + seen.stderr
            tally.check(name, seen.returncode == code and wanted in said, said)
            return said

        # Opened first: it sees the node become ready.
        watch = subprocess.Popen(
            ["kubectl", f"--kubeconfig={kubeconfig}", f"--cache-dir={cache}", "get", "nodes", "--watch", "-o", "name"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            said = says("nodes, wide", "INTERNAL-IP", "get", "nodes", "-o", "wide")
            row = next((line.split() for line in said.splitlines() if line.startswith("cp-01")), [])
            tally.check("a row has its cells", row[1:3] == ["Ready", "control-plane"] and "192.168.1.211" in row, row)
            says("a condition is waited for", "condition met", "wait", "--for=condition=Ready", "node/w-02", "--timeout=30s")
            seen = [watch.stdout.readline().strip() for _ in range(4)]
            tally.check("a watch pushes", seen == ["node/cp-01", "node/w-01", "node/w-02", "node/w-02"], seen)
        finally:
            watch.terminate()
            watch.wait(timeout=10)
        says("the server's version", "Server Version: v1.", "version")
        says("all kinds", "deployments", "api-resources")
        says("readiness in detail", "readyz check passed", "get", "--raw", "/readyz?verbose")
        says("pods of all namespaces", "kube-system", "get", "pods", "--all-namespaces", "-o", "wide")
        says("a field selector", "flannel-cp-01", "-n", "kube-system", "get", "pods", "--field-selector=spec.nodeName=cp-01")
        said = says("a label selector", "w-01", "get", "nodes", "-l", "!node-role.kubernetes.io/control-plane")
        tally.check("which leaves the others out", "cp-01" not in said, said)
        says("pages", "w-02", "get", "nodes", "--chunk-size=1")
        says("a rollout", "successfully rolled out", "-n", "kube-system", "rollout", "status", "deploy/coredns")
        says("a description", "Talos (v1.", "describe", "node", "cp-01")
        says("a missing node", 'nodes "x" not found', "get", "node", "x", code=1)
        says("an unknown kind", "doesn't have a resource type", "get", "dragons", code=1)

        dry = ("apply", "--dry-run=server", "-f", "-")
        says("a dry run on the server", "configmap/applied created (server dry run)", *dry, text=APPLIED % 1)
        says("makes nothing", "not found", "get", "cm", "applied", code=1)
        says("apply makes", "configmap/applied created", "apply", "-f", "-", text=APPLIED % 1)
        says("apply leaves alone", "configmap/applied unchanged", "apply", "-f", "-", text=APPLIED % 1)
        says("diff shows", '+  a: "2"', "diff", "-f", "-", text=APPLIED % 2, code=1)
        says("apply changes", "configmap/applied configured", "apply", "-f", "-", text=APPLIED % 2)
        says("a dry run of a change", "configmap/applied configured (server dry run)", *dry, text=APPLIED % 3)
        owned = ("get", "cm", "applied", "-o", "yaml", "--show-managed-fields")
        says("owners", "manager: kubectl-client-side-apply\n    operation: Update", *owned)
        server_side = ("apply", "--server-side", "--field-manager=other", "-f", "-")
        said = says("a conflict", "conflict", *server_side, text=APPLIED % 4, code=1)
        tally.check("names owner and field", '"kubectl-client-side-apply"' in said and ".data.a" in said, said)
        says("which is forced", "serverside-applied", *server_side, "--force-conflicts", text=APPLIED % 2)
        says("patch, strategic", "patched", "patch", "cm", "applied", "-p", '{"data":{"b":"3"}}')
        says("patch, merge", "patched", "patch", "cm", "applied", "--type=merge", "-p", '{"data":{"c":"4"}}')
        remove = '[{"op":"remove","path":"/data/a"}]'
        says("patch, JSON", "patched", "patch", "cm", "applied", "--type=json", "-p", remove)
        data = json.loads(kubectl("get", "cm", "applied", "-o", "json").stdout)["data"]
        tally.check("the patches add up", data == {"b": "3", "c": "4"}, data)
        stale = kubectl("get", "cm", "applied", "-o", "yaml").stdout
        says("label", "labeled", "label", "cm", "applied", "x=y")
        says("a stale write is refused", "the object has been modified", "replace", "-f", "-", text=stale, code=1)
        says("cordon", "cordoned", "cordon", "w-01")
        says("which shows", "Ready,SchedulingDisabled", "get", "node", "w-01")
        waiting = ["kubectl", f"--kubeconfig={kubeconfig}", f"--cache-dir={cache}", "wait", "--for=delete", "cm/applied"]
        waiter = subprocess.Popen([*waiting, "--timeout=30s"], stdout=subprocess.PIPE, text=True)
        says("delete", 'configmap "applied" deleted', "delete", "cm", "applied")
        tally.check("who waits for it goes on", waiter.wait(timeout=40) == 0, waiter.communicate())
        says("gone is gone", "not found", "get", "cm", "applied", code=1)


def main() -> int:
    tally = Tally()
    began = time.monotonic()
    if shutil.which("kubectl") is None:
        print("witness kubectl passed=0 failed=0 skipped=1")
        return 0
    testify(sys.argv[1], tally)
    return tally.told("kubectl", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
