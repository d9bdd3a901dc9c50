"""Witness: kubectl and curl look at a castle that was handed over.

usage: handover_witness.py PATH_OF_CASTLE

`blue` is raised in `castle lab serve` up to its applications. kubectl sees what Flux
made of the repository, tries writes, takes something away and sees Flux bring it
back; curl reads the blog at the load balancer's address. Prints
`witness handover passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time

from raised import Castle, raised_castle
from tally import Tally

HOST = "blog.blue.castle.internal"
FLUX = ("-n", "flux-system")
POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: seen, namespace: metallb-system}
spec: {addresses: [%s]}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: seen}\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seen, namespace: seen}\ndata: {a: '%s'}\n"
REPLICAS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: blog, namespace: blog}
spec: {replicas: %d}
"""


class Kubectl:
    """kubectl, whose answers are counted."""

    def __init__(self, castle: Castle, tally: Tally) -> None:
        self.castle = castle
        self.tally = tally

    def says(self, wanted: str, *arguments: object, text: str | None = None, code: int = 0) -> str:
        """What is said, which holds `wanted` and ends with that code."""
        seen = self.castle.kubectl(*arguments, input=text)
        said = seen.stdout + seen.stderr
        name = " ".join(str(argument) for argument in arguments)
        self.tally.check(f"kubectl {name}", seen.returncode == code and wanted in said, said[-2000:])
        return said

    def value(self, *arguments: object) -> object:
        """What is read as JSON; `None` if nothing is."""
        seen = self.castle.kubectl("get", *arguments, "-o", "json")
        return json.loads(seen.stdout) if seen.returncode == 0 else None


def graph(kubectl: Kubectl, tally: Tally) -> None:
    """Sources and Kustomizations, as kubectl tells of them."""
    said = kubectl.says("blog", "get", "kustomizations,gitrepositories", "--all-namespaces")
    print(said.rstrip())
    said = kubectl.says("condition met", "wait", "--for=condition=Ready", "kustomization", "--all", *FLUX, "--timeout=30s")
    tally.check("all Kustomizations are Ready", said.count("condition met") == 7, said)
    kubectl.says("condition met", "wait", "--for=condition=Ready", "gitrepository/flux-system", *FLUX, "--timeout=30s")
    kubectl.says("condition met", "wait", "--for=condition=Available", "deployment", "--all", *FLUX, "--timeout=30s")
    said = kubectl.says("ReconciliationSucceeded", "describe", "kustomization", "flux-system", *FLUX)
    wanted = (r"Kind: +Kustomization", r"Last Applied Revision: +main@sha1:", r"Inventory:\n +Entries:\n +Id: +_")
    tally.check("a Kustomization described", all(re.search(part, said) for part in wanted), said)
    said = kubectl.says("stored artifact for revision", "describe", "gitrepository", "flux-system", *FLUX)
    wanted = (r"Kind: +GitRepository", r"Artifact:\n +Digest: +sha256:", r"URL: +https://git.castle.internal/tazlab-k8s.git")
    tally.check("a GitRepository described", all(re.search(part, said) for part in wanted), said)
    source = kubectl.value("gitrepository", "flux-system", *FLUX)
    root = kubectl.value("kustomization", "flux-system", *FLUX)
    revisions = source["status"]["artifact"]["revision"], root["status"]["lastAppliedRevision"]
    tally.check("the root is where the source is", len(set(revisions)) == 1, revisions)
    kubectl.says("secret synced", "get", "externalsecrets", "-n", "blog", "-o", "jsonpath={..conditions[0].message}")
    kubectl.says("Valid", "describe", "clustersecretstore", "infisical")
    kubectl.says("kubernetes.io/tls", "get", "secret", "blog-tls", "-n", "blog")


def owners(kubectl: Kubectl, tally: Tally) -> None:
    """Who holds which fields, before and after somebody else writes."""
    said = kubectl.says("managedFields:", "get", "deployment", "blog", "-n", "blog", "-o", "yaml", "--show-managed-fields")
    # The last line of an entry's plain fields; who applies has no subresource.
    managers = set(re.findall(r"manager: (\S+)\n    operation: (\S+)", said))
    tally.check("Flux applies the blog", ("kustomize-controller", "Apply") in managers, managers)
    tally.check("castle holds nothing of it", not any("castle" in manager for manager, _ in managers), managers)
    plain = kubectl.says("kind: Deployment", "get", "deployment", "blog", "-n", "blog", "-o", "yaml")
    tally.check("they are hidden unless asked for", "managedFields" not in plain, plain)
    said = kubectl.says("conflict", "apply", "--server-side", "-f", "-", text=REPLICAS % 5, code=1)
    tally.check("a conflict names owner and field", '"kustomize-controller"' in said and ".spec.replicas" in said, said)
    kubectl.says("serverside-applied (server dry run)", "apply", "--server-side", "--dry-run=server",
                 "--force-conflicts", "-f", "-", text=REPLICAS % 5)  # fmt: skip
    seed = kubectl.value("namespace", "external-secrets", "--show-managed-fields")
    tally.check("a namespace of the seed", seed is not None and seed["status"]["phase"] == "Active", seed)


def writes(kubectl: Kubectl, tally: Tally) -> None:
    """Dry runs, differences, deletions; a webhook that has its say."""
    kubectl.says("created (server dry run)", "apply", "--dry-run=server", "-f", "-", text=POOL % "192.0.2.0/32")
    kubectl.says("denied the request", "apply", "--dry-run=server", "-f", "-", text=POOL % "nowhere", code=1)
    kubectl.says("NotFound", "get", "ipaddresspool", "seen", "-n", "metallb-system", code=1)
    kubectl.says('unknown field "spec.castle"', "apply", "--dry-run=server", "--validate=strict", "-f", "-",
                 text=(POOL % "192.0.2.0/32").replace("spec: {", "spec: {castle: 1, "), code=1)  # fmt: skip
    # `create` of kinds that kubectl knows by heart speaks protobuf, which the lab's
    # API server refuses, as its answer says.
    kubectl.says("UnsupportedMediaType", "create", "namespace", "seen", code=1)
    kubectl.says("namespace/seen created", "apply", "-f", "-", text=NAMESPACE)
    kubectl.says("configmap/seen created", "apply", "-f", "-", text=MAP % 1)
    kubectl.says('+  a: "2"', "diff", "-f", "-", text=MAP % 2, code=1)
    kubectl.says("", "diff", "-f", "-", text=MAP % 1)
    kubectl.says("configmap/seen configured", "apply", "-f", "-", text=MAP % 2)
    kubectl.says("+  replicas: 5", "diff", "--server-side", "--force-conflicts", "-f", "-", text=REPLICAS % 5, code=1)
    tally.check("a difference changes nothing", kubectl.value("deployment", "blog", "-n", "blog")["spec"]["replicas"] == 2)
    kubectl.says('namespace "seen" deleted', "delete", "namespace", "seen", "--timeout=60s")
    kubectl.says("NotFound", "get", "configmap", "seen", "-n", "seen", code=1)


def healing(kubectl: Kubectl, tally: Tally) -> None:
    """What is taken away by hand, Flux brings back when it is asked to look."""
    before = kubectl.value("ingress", "blog", "-n", "blog")["metadata"]["uid"]
    kubectl.says('"blog" deleted', "delete", "ingress", "blog", "-n", "blog", "--timeout=30s")
    asked = f"reconcile.fluxcd.io/requestedAt={time.time_ns()}"
    kubectl.says("annotated", "annotate", "--overwrite", "kustomization/blog", *FLUX, asked)
    again = asked.partition("=")[2]
    kubectl.says("condition met", "wait", f"--for=jsonpath={{.status.lastHandledReconcileAt}}={again}",
                 "kustomization/blog", *FLUX, "--timeout=60s")  # fmt: skip
    found = kubectl.value("ingress", "blog", "-n", "blog")
    tally.check("Flux brings it back", found is not None and found["metadata"]["uid"] != before, found)
    pods = [item["metadata"]["name"] for item in kubectl.value("pods", "-n", "blog")["items"]]
    tally.check("two pods", len(pods) == 2, pods)
    kubectl.says("deleted", "delete", "pod", pods[0], "-n", "blog", "--timeout=60s")
    kubectl.says("successfully rolled out", "rollout", "status", "deployment/blog", "-n", "blog", "--timeout=60s")
    left = [item["metadata"]["name"] for item in kubectl.value("pods", "-n", "blog")["items"]]
    tally.check("another pod takes its place", len(left) == 2 and pods[0] not in left and pods[1] in left, (pods, left))


def blog(castle: Castle, kubectl: Kubectl, tally: Tally) -> None:
    """The blog at the load balancer's address, by name and certificate."""
    address = kubectl.value("service", "traefik", "-n", "traefik")["status"]["loadBalancer"]["ingress"][0]["ip"]
    tally.check("the load balancer has an address", address.startswith("192.168.1.24"), address)
    plain, secure = f"{address}:80", f"{address}:443"
    seen = castle.curl(f"https://{HOST}/", at=secure)
    print(seen[2].strip()[:400])
    tally.check("HTTPS, and the certificate is the host's", seen[:2] == (0, "200") and "The blog of blue" in seen[2], seen)
    tally.check("HTTP", castle.curl(f"http://{HOST}/", at=plain) == seen, castle.curl(f"http://{HOST}/", at=plain))
    seen = castle.curl(f"https://{HOST}/", "--head", at=secure)
    tally.check("HEAD", seen[:2] == (0, "200") and "text/html" in seen[2], seen)
    seen = castle.curl(f"https://{HOST}/missing", at=secure)
    tally.check("a page that is not there", seen[:2] == (0, "404"), seen)
    seen = castle.curl("http://nobody.castle.internal/", at=plain)
    tally.check("a host that is not there", seen[:2] == (0, "404"), seen)
    seen = castle.curl("https://nobody.castle.internal/", at=secure)
    tally.check("has no certificate to believe", seen[:2] == (60, "000"), seen)
    # Nobody announces the next address of the pool. The lab keeps its port and hangs
    # up without a byte when a client's kernel would have given up.
    ip, _, last = address.rpartition(".")
    seen = castle.curl(f"http://{HOST}/", at=f"{ip}.{int(last) + 1}:80")
    tally.check("an address that is not announced says nothing", seen[0] in (52, 56) and seen[1:] == ("000", ""), seen)


def testify(program: str, tally: Tally) -> None:
    with raised_castle(program, tally) as castle:
        if castle is None:
            return
        kubectl = Kubectl(castle, tally)
        graph(kubectl, tally)
        owners(kubectl, tally)
        writes(kubectl, tally)
        if shutil.which("curl"):
            blog(castle, kubectl, tally)
        else:
            tally.skip("the blog", "curl is not installed")
        healing(kubectl, tally)


def main() -> int:
    tally = Tally()
    began = time.monotonic()
    if shutil.which("kubectl"):
        testify(sys.argv[1], tally)
    else:
        tally.skip("handover", "kubectl is not installed; Debian has it as kubernetes-client")
    return tally.told("handover", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
