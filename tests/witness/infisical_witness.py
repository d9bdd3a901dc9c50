"""Witness: curl asks the lab's Infisical as its documentation says.

usage: infisical_witness.py PATH_OF_CASTLE

It logs in with the machine identity that castle plants for external-secrets, lists
the names of secrets, and tries what such an identity may not do. Names are printed,
values never; they are compared with what reached the cluster by their digests. Prints
`witness infisical passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import time

from raised import Castle, raised_castle
from tally import Tally

HOST = "infisical.castle.internal"
FOLDER = {"environment": "prod", "secretPath": "/castle/blue/proxmox"}
NAMES = ["BLOG_TLS_CRT", "BLOG_TLS_KEY"]


class Infisical:
    """The server, by curl. What is secret is told by its standard input."""

    def __init__(self, castle: Castle) -> None:
        self.castle = castle
        self.token: str | None = None

    def ask(self, method: str, path: str, query: dict | None = None, body: object = None) -> tuple[str, dict]:
        """HTTP status and answer."""
        lines = [f'request = "{method}"']
        if self.token is not None:
            lines.append(f'header = "Authorization: Bearer {self.token}"')
        for name, value in (query or {}).items():
            lines += ["get", f'data-urlencode = "{name}={value}"']
        if body is not None:
            text = json.dumps(body).replace("\\", "\\\\").replace('"', '\\"')
            lines += ['header = "Content-Type: application/json"', f'data = "{text}"']
        config = "\n".join(lines) + "\n"
        code, status, text = self.castle.curl(
            f"https://{HOST}/api{path}", "--config", "-", at=f"{HOST}:443", input=config
        )  # fmt: skip
        try:
            return status, json.loads(text)
        except ValueError:
            return status, {"curl": code, "text": text[:200]}

    def log_in(self, client_id: str, secret: str) -> tuple[str, dict]:
        """The answer to universal authentication."""
        return self.ask("POST", "/v1/auth/universal-auth/login", body={"clientId": client_id, "clientSecret": secret})


def refused(name: str, seen: tuple[str, dict], status: str, error: str, tally: Tally) -> None:
    """A refusal has the server's form; it quotes no secret, so it may be told."""
    code, body = seen
    holds = code == status == str(body.get("statusCode")) and body.get("error") == error and "reqId" in body
    tally.check(name, holds, seen)


def logins(vault: Infisical, identity: dict[str, str], tally: Tally) -> bool:
    """Who is let in."""
    refused("who shows nothing", vault.ask("GET", "/v3/secrets/raw", {"workspaceSlug": "castle", **FOLDER}),
            "401", "UnauthorizedError", tally)  # fmt: skip
    refused("a wrong secret", vault.log_in(identity["client_id"], "wrong"), "401", "UnauthorizedError", tally)
    status, body = vault.ask("POST", "/v1/auth/universal-auth/login", body={"clientId": identity["client_id"]})
    tally.check("a secret is missing", status == "422" and body["error"] == "ValidationFailure", (status, body))
    status, body = vault.log_in(identity["client_id"], identity["client_secret"])
    is_in = status == "200" and body.get("tokenType") == "Bearer" and body.get("expiresIn", 0) > 0
    tally.check("the identity of external-secrets is let in", is_in, (status, sorted(body)))
    vault.token = "invented"
    refused("an invented token", vault.ask("GET", "/v3/secrets/raw", {"workspaceSlug": "castle", **FOLDER}),
            "403", "TokenError", tally)  # fmt: skip
    vault.token = body.get("accessToken")
    return is_in


def secrets(vault: Infisical, tally: Tally) -> dict[str, str]:
    """Lists names in both interfaces; returns the digests of the values."""
    status, project = vault.ask("GET", "/v1/workspace/slug/castle")
    tally.check("the project", status == "200" and project.get("slug") == "castle", status)
    found = {}
    for name, path, query in (
        ("the older list", "/v3/secrets/raw", {"workspaceSlug": "castle"}),
        ("the present list", "/v4/secrets", {"projectId": project.get("id", "")}),
    ):
        status, body = vault.ask("GET", path, {**query, **FOLDER, "viewSecretValue": "false"})
        names = [secret["secretKey"] for secret in body.get("secrets", [])]
        print(f"{name}: {' '.join(names)}")
        tally.check(f"{name} has the names", (status, names) == ("200", NAMES), (status, names))
        is_hidden = all(secret["secretValue"] == "<hidden-by-infisical>" for secret in body.get("secrets", []))
        tally.check(f"{name} hides the values", is_hidden and names != [], names)
    for name in NAMES:
        status, body = vault.ask("GET", f"/v3/secrets/raw/{name}", {"workspaceSlug": "castle", **FOLDER})
        secret = body.get("secret", {})
        tally.check(f"{name} alone", (status, secret.get("secretKey")) == ("200", name), status)
        found[name] = hashlib.sha256(secret.get("secretValue", "").encode()).hexdigest()
    status, body = vault.ask("GET", "/v3/secrets/raw", {"workspaceSlug": "castle", **FOLDER, "secretPath": "/nowhere"})
    tally.check("an empty folder", (status, body.get("secrets")) == ("200", []), (status, sorted(body)))
    missing = vault.ask("GET", "/v3/secrets/raw/MISSING", {"workspaceSlug": "castle", **FOLDER})
    refused("a secret that is not there", missing, "404", "NotFound", tally)
    missing = vault.ask("GET", "/v3/secrets/raw", {"workspaceSlug": "nobody", **FOLDER})
    refused("a project that is not there", missing, "404", "NotFound", tally)
    refused("a route that is not there", vault.ask("GET", "/v9/secrets"), "404", "NotFound", tally)
    return found


def writes(vault: Infisical, tally: Tally) -> None:
    """The identity may read, and nothing else."""
    place = {"workspaceSlug": "castle", **FOLDER}
    new = {**place, "secretValue": "x"}
    refused("it makes nothing", vault.ask("POST", "/v3/secrets/raw/NEW", body=new), "403", "PermissionDenied", tally)
    seen = vault.ask("PATCH", f"/v3/secrets/raw/{NAMES[0]}", body=new)
    refused("it changes nothing", seen, "403", "PermissionDenied", tally)
    seen = vault.ask("DELETE", f"/v3/secrets/raw/{NAMES[0]}", body=place)
    refused("it removes nothing", seen, "403", "PermissionDenied", tally)
    status, body = vault.ask("GET", "/v3/secrets/raw", {**place, "viewSecretValue": "false"})
    left = [(secret["secretKey"], secret["version"]) for secret in body.get("secrets", [])]
    tally.check("everything is as it was", (status, left) == ("200", [(name, 1) for name in NAMES]), (status, left))


def cluster_has(castle: Castle, digests: dict[str, str], tally: Tally) -> None:
    """external-secrets brought the same values into the cluster."""
    if not shutil.which("kubectl"):
        tally.skip("what reached the cluster", "kubectl is not installed")
        return
    seen = castle.kubectl("get", "secret", "blog-tls", "-n", "blog", "-o", "json")
    data = json.loads(seen.stdout)["data"] if seen.returncode == 0 else {}
    brought = {key: hashlib.sha256(base64.b64decode(value)).hexdigest() for key, value in data.items()}
    wanted = {"tls.crt": digests["BLOG_TLS_CRT"], "tls.key": digests["BLOG_TLS_KEY"]}
    tally.check("the cluster has the vault's values", brought == wanted, (sorted(brought), brought == wanted))


def locked(vault: Infisical, identity: dict[str, str], tally: Tally) -> None:
    """Three wrong secrets in a row lock the identity; the right one does not help
    then. They are forgotten after half a second, which a busy machine may need."""
    vault.token = None
    for _ in range(10):
        for _ in range(3):
            seen = vault.log_in(identity["client_id"], "wrong")
        status, body = vault.log_in(identity["client_id"], identity["client_secret"])
        if status == "401":
            break
    refused("the third wrong secret", seen, "401", "UnauthorizedError", tally)
    tally.check("the identity is locked", status == "401" and "locked" in str(body.get("message")), status)


def testify(program: str, tally: Tally) -> None:
    with raised_castle(program, tally) as castle:
        if castle is None:
            return
        vault, identity = Infisical(castle), castle.document.section("identity")
        if not logins(vault, identity, tally):
            return
        digests = secrets(vault, tally)
        writes(vault, tally)
        cluster_has(castle, digests, tally)
        locked(vault, identity, tally)


def main() -> int:
    tally = Tally()
    began = time.monotonic()
    if shutil.which("curl"):
        testify(sys.argv[1], tally)
    else:
        tally.skip("infisical", "curl is not installed")
    return tally.told("infisical", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
