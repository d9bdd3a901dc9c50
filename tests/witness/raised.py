"""A castle that was raised in a served lab, and foreign programs that look at it."""

from __future__ import annotations

import base64
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

from lab import Document, served_lab
from tally import Tally

PROJECT = pathlib.Path(__file__).parents[2] / "examples" / "projects" / "blue" / "proxmox"


def run(*command: object, **keys) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end and keeps what it says."""
    keys = {"timeout": 120, **keys}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **keys)


class Kubeconfig:
    """The parts of the printed text that curl wants as files."""

    def __init__(self, text: str, folder: pathlib.Path) -> None:
        self.path = folder / "kubeconfig"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        field = lambda name: re.search(rf"\b{name}: (\S+)", text).group(1)
        self.server = field("server")
        self.files = {}
        for name in ("certificate-authority-data", "client-certificate-data", "client-key-data"):
            self.files[name] = folder / name
            self.files[name].write_bytes(base64.b64decode(field(name)))
        self.authority = self.files["certificate-authority-data"]
        self.client = ["--cert", self.files["client-certificate-data"], "--key", self.files["client-key-data"]]


class Castle:
    """A castle that stands, as others see it."""

    def __init__(self, folder: pathlib.Path, document: Document, config: Kubeconfig) -> None:
        self.folder = folder
        self.document = document
        self.config = config

    def kubectl(self, *arguments: object, **keys) -> subprocess.CompletedProcess[str]:
        """kubectl with the kubeconfig that castle printed."""
        cache = self.folder / "cache"
        return run("kubectl", f"--kubeconfig={self.config.path}", f"--cache-dir={cache}", *arguments, **keys)

    def curl(self, url: str, *arguments: object, at: str, **keys) -> tuple[int, str, str]:
        """Exit code, HTTP status and body of a URL of the house. `at` says which
        server of the house is asked (`192.168.1.240:443`), as its resolver would;
        only the house's authority is believed."""
        ip, port = self.document.listening(at)
        way = ["--connect-to", f"::{ip}:{port}", "--cacert", self.document.authority, "--max-time", "30"]
        seen = run("curl", "--silent", *way, "--write-out", r"\n%{http_code}", *arguments, url, **keys)
        body, _, status = seen.stdout.rpartition("\n")
        return seen.returncode, status, body


@contextlib.contextmanager
def raised_castle(castle: str, tally: Tally, *until: str):
    """Raises `blue` in a served lab. Yields `None` if it does not stand; that is
    counted."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        with served_lab(castle, PROJECT, folder / "lab"):
            document = Document(folder / "lab" / "lab.yaml")
            access = ["--project", PROJECT, "--endpoints", document.path]
            created = run(castle, "create", *access, "--yes", *until, timeout=300)
            tally.check("castle raises the cluster", created.returncode == 0, created.stderr[-2000:])
            printed = run(castle, "kubeconfig", *access)
            tally.check("castle prints a kubeconfig", printed.returncode == 0, printed.stderr)
            stands = created.returncode == printed.returncode == 0
            yield Castle(folder, document, Kubeconfig(printed.stdout, folder)) if stands else None
