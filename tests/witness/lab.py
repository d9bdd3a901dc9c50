"""A lab that another process serves, and what its document says."""

from __future__ import annotations

import contextlib
import pathlib
import re
import signal
import subprocess


@contextlib.contextmanager
def served_lab(castle: str, project: pathlib.Path, folder: pathlib.Path):
    """Serves the lab at pace 60x; yields address and port of its Proxmox."""
    command = [castle, "lab", "serve", "--project", project, "--dir", folder, "--pace", "60x"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        at = None
        for line in server.stderr:
            if found := re.search(r"is at https://([\d.]+):(\d+)", line):
                at = found.groups()
                break
        if at is None:
            raise RuntimeError(f"the lab did not start: exit {server.wait()}")
        yield at
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
        server.stderr.close()


class Document:
    """`lab.yaml`: where everything listens, and with which credentials."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.authority = path.parent / "ca.pem"
        self.text = path.read_text()
        self.dialled = dict(re.findall(r"^- from: (\S+)\n  to: (\S+)$", self.text, re.M))

    def section(self, name: str) -> dict[str, str]:
        """The plain fields of a part."""
        part = re.search(rf"^{name}:\n((?:  .*\n)+)", self.text, re.M)
        return dict(re.findall(r"^  (\w+): (\S+)$", part.group(1), re.M)) if part else {}

    def listening(self, house: str) -> tuple[str, str]:
        """Address and port of this machine for those of the house, or of a name."""
        ip, _, port = self.dialled[house].rpartition(":")
        return ip, port
