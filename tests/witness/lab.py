"""A lab that another process serves."""

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
