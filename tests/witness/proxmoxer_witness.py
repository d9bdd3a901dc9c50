"""Witness: proxmoxer, a client that nobody here wrote, against `castle lab serve`.

usage: proxmoxer_witness.py PATH_OF_CASTLE

It raises `blue` with castle in one process, then logs in, lists, reads, stops and
deletes with proxmoxer, and prints `witness proxmoxer passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

from lab import served_lab
from tally import Tally

PROJECT = pathlib.Path(__file__).parents[2] / "examples" / "projects" / "blue" / "proxmox"
MACHINES = {421, 431, 432}
STRANGER = 100


def testify(castle: str, tally: Tally) -> None:
    import proxmoxer
    from proxmoxer.core import ResourceException
    from proxmoxer.tools import Tasks

    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "lab"
        with served_lab(castle, PROJECT, folder) as (host, port):
            document = folder / "lab.yaml"
            create = [castle, "create", "--project", PROJECT, "--endpoints", document, "--yes"]
            created = subprocess.run(create, capture_output=True, text=True)
            tally.check("castle raises the cluster", created.returncode == 0, created.stderr[-2000:])

            password = (folder / "administrator.txt").read_text().strip()
            ca = str(folder / "ca.pem")
            api = proxmoxer.ProxmoxAPI(host, port=int(port), user="root@pam", password=password, verify_ssl=ca)
            tally.check("login and version", api.version.get()["version"].startswith("9."))
            try:
                proxmoxer.ProxmoxAPI(host, port=int(port), user="root@pam", password="wrong", verify_ssl=ca)
                tally.check("a wrong password is refused", False, "logged in")
            except proxmoxer.AuthenticationError:
                tally.check("a wrong password is refused", True)

            node = api.nodes.get()[0]["node"]
            qemu = api.nodes(node).qemu
            seen = {int(vm["vmid"]) for vm in qemu.get()}
            tally.check("it lists exactly ours and the stranger", seen == MACHINES | {STRANGER}, seen)
            listed = {int(vm["vmid"]) for vm in api.cluster.resources.get(type="vm")}
            tally.check("so does the cluster's list", listed == MACHINES | {STRANGER}, listed)

            for vmid in sorted(MACHINES):
                config = qemu(vmid).config.get()
                tally.check(f"{vmid} carries its mark", "castle/1" in config["description"], config)
                tally.check(f"{vmid} is protected", int(config["protection"]) == 1, config)
                tally.check(f"{vmid} runs", qemu(vmid).status.current.get()["status"] == "running")
            tasks = api.nodes(node).tasks.get(source="all")
            births = {int(task["id"]) for task in tasks if task["type"] == "qmcreate"}
            tally.check("three creations are in the task list", births == MACHINES, births)

            stop = qemu(432).status.stop.post()
            ended = Tasks.blocking_status(api, stop, timeout=60)
            tally.check("the stop task ends well", ended and ended.get("exitstatus") == "OK", ended)
            tally.check("432 is off", qemu(432).status.current.get()["status"] == "stopped")
            try:
                qemu(432).delete()
                tally.check("protection is honoured", False, "deleted")
            except ResourceException as refusal:
                tally.check("protection is honoured", "protection" in str(refusal), str(refusal))
            qemu(432).config.put(protection=0)
            gone = Tasks.blocking_status(api, qemu(432).delete(), timeout=60)
            tally.check("the delete task ends well", gone and gone.get("exitstatus") == "OK", gone)
            seen = {int(vm["vmid"]) for vm in qemu.get()}
            tally.check("432 is gone, the others stay", seen == (MACHINES - {432}) | {STRANGER}, seen)
            try:
                qemu(432).config.get()
                tally.check("a missing machine is a 500 with Proxmox's text", False, "found")
            except ResourceException as refusal:
                text = str(refusal)
                tally.check("a missing machine is a 500 with Proxmox's text", "does not exist" in text, text)


def main() -> int:
    tally = Tally()
    warnings.simplefilter("error")
    began = time.monotonic()
    try:
        import proxmoxer  # noqa: F401
    except ImportError:
        print("witness proxmoxer passed=0 failed=0 skipped=1")
        return 0
    testify(sys.argv[1], tally)
    return tally.told("proxmoxer", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
