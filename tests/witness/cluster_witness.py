"""Witness: kubectl and curl against a cluster that castle raised in `castle lab serve`.

usage: cluster_witness.py PATH_OF_CASTLE

One process serves the lab, another raises `blue` in it, and a third prints the
kubeconfig, which is used as it is. It shows `kubectl get nodes -o wide` and prints
`witness cluster passed=N failed=N skipped=N`. What is not installed (kubectl, curl,
openssl) is skipped by its name.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import sys
import time

from raised import PROJECT, Castle, Kubeconfig, raised_castle, run
from tally import Tally

VIP = "192.168.1.210"
NODES = {"blue-cp-01": "192.168.1.211", "blue-wk-01": "192.168.1.214", "blue-wk-02": "192.168.1.215"}
SYSTEM = ("kube-apiserver-blue-cp-01", "kube-controller-manager-blue-cp-01", "kube-scheduler-blue-cp-01")


def release(name: str) -> str:
    """A release that the declaration asks for."""
    return re.search(rf"\b{name}: (v[\d.]+)", (PROJECT / "castle.yaml").read_text()).group(1)


def kubectl_sees(castle: Castle, tally: Tally) -> None:
    def kubectl(*arguments: str) -> str:
        seen = castle.kubectl(*arguments)
        tally.check(f"kubectl {' '.join(arguments)}", seen.returncode == 0, seen.stdout + seen.stderr)
        return seen.stdout

    # A column ends where two spaces are: `Talos (v1.13.9)` is one cell.
    table = kubectl("get", "nodes", "-o", "wide")
    print(table.rstrip())
    head, *rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()] or [[]]
    cells = {row[0]: dict(zip(head, row)) for row in rows}
    tally.check("it lists exactly our nodes", cells.keys() == NODES.keys(), table)
    for name, address in NODES.items():
        cell = cells.get(name, {})
        wanted = {
            "STATUS": "Ready",
            "ROLES": "control-plane" if "-cp-" in name else "<none>",
            "VERSION": release("kubernetes"),
            "INTERNAL-IP": address,
            "OS-IMAGE": f"Talos ({release('talos')})",
        }
        tally.check(f"{name} is as declared", {key: cell.get(key) for key in wanted} == wanted, cell)
        # A world that runs ahead of the client's clock is `<invalid>` here.
        tally.check(f"{name} has an age", re.fullmatch(r"(\d+[dhms])+", cell.get("AGE", "")) is not None, cell)

    said = kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=30s")
    tally.check("each node's condition is met", said.count("condition met") == len(NODES), said)

    pods = {
        line.split()[1]: line.split()[2:4]
        for line in kubectl("get", "pods", "--all-namespaces", "--no-headers").splitlines()
    }
    tally.check("every pod runs and is ready", set(map(tuple, pods.values())) == {("1/1", "Running")}, pods)
    for prefix, count in (("kube-flannel-", 3), ("kube-proxy-", 3), ("coredns-", 2)):
        found = [name for name in pods if name.startswith(prefix)]
        tally.check(f"{count} pods {prefix}*", len(found) == count, pods)
    tally.check("the control plane's own pods", pods.keys() >= set(SYSTEM), pods)

    for name, address in NODES.items():
        said = kubectl("describe", "node", name)
        wanted = (f"InternalIP:  {address}", "KubeletReady", "cpu:", "memory:", "kube-flannel-")
        tally.check(f"{name} described", all(text in said for text in wanted) and "-9223372036854775808" not in said, said)
    uuids = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    uuids = {node["status"]["nodeInfo"]["systemUUID"] for node in uuids}
    tally.check("each node has a uuid of its own", len(uuids) == len(NODES), uuids)

    said = kubectl("version")
    tally.check("the server's version", f"Server Version: {release('kubernetes')}" in said, said)


def curl_sees(config: Kubeconfig, folder: pathlib.Path, tally: Tally) -> None:
    def curl(*arguments: object) -> tuple[int, str, str]:
        """Exit code, HTTP status, body."""
        seen = run("curl", "--silent", "--max-time", "30", "--write-out", r"\n%{http_code}", *arguments)
        body, _, status = seen.stdout.rpartition("\n")
        return seen.returncode, status, body

    known = ["--cacert", config.authority, *config.client]
    seen = curl(*known, f"{config.server}/readyz")
    tally.check("curl /readyz", seen == (0, "200", "ok"), seen)
    code, status, body = curl(*known, f"{config.server}/version")
    is_json = code == 0 and status == "200"
    version = json.loads(body).get("gitVersion") if is_json else None
    tally.check("curl /version", version == release("kubernetes"), (code, status, body))
    code, status, body = curl(*known, f"{config.server}/api/v1/nodes")
    listed = {item["metadata"]["name"] for item in json.loads(body)["items"]} if status == "200" else body
    tally.check("curl lists the nodes", listed == NODES.keys(), (code, status, listed))

    # Who shows nothing may ask for health and version, and for nothing else.
    anonymous = ["--cacert", config.authority]
    code, status, body = curl(*anonymous, f"{config.server}/readyz")
    tally.check("anonymous: /readyz", (code, status) == (0, "200"), (code, status, body))
    code, status, body = curl(*anonymous, f"{config.server}/api/v1/nodes")
    told = status == "403" and json.loads(body).get("reason") == "Forbidden" and "system:anonymous" in body
    tally.check("anonymous: no nodes", told, (code, status, body))
    code, status, _ = curl(*config.client, f"{config.server}/readyz")
    tally.check("without the authority nobody is believed", (code, status) == (60, "000"), (code, status))

    if shutil.which("openssl") is None:
        tally.skip("a stranger's certificate", "openssl is not installed")
        return
    certificate, key = folder / "stranger.pem", folder / "stranger.key"
    subject = "/O=system:masters/CN=admin"
    made = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", subject, "-days", "1", "-out", certificate, "-keyout", key,
    )  # fmt: skip
    tally.check("a stranger's certificate is made", made.returncode == 0, made.stderr)
    stranger = ["--cert", certificate, "--key", key]
    code, status, body = curl("--cacert", config.authority, *stranger, f"{config.server}/api/v1/nodes")
    tally.check("a stranger's administrator is nobody", (code, status) == (0, "401"), (code, status, body))


def testify(program: str, tally: Tally) -> None:
    with raised_castle(program, tally) as castle:
        if castle is None:
            return
        config, folder = castle.config, castle.folder
        tally.check("it has the lab's address", "https://127." in config.server, config.server)
        kept = list((folder / "lab" / "secrets").rglob("*kubeconfig*"))
        tally.check("the store keeps the house's", [VIP in file.read_text() for file in kept] == [True], kept)
        # Clocks that drift apart would show now: three minutes of the lab.
        time.sleep(3)
        if shutil.which("kubectl"):
            kubectl_sees(castle, tally)
        else:
            tally.skip("kubectl", "not installed; Debian has it as kubernetes-client")
        if shutil.which("curl"):
            curl_sees(config, folder, tally)
        else:
            tally.skip("curl", "not installed")


def main() -> int:
    tally = Tally()
    began = time.monotonic()
    testify(sys.argv[1], tally)
    return tally.told("cluster", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
