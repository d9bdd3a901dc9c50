"""Witness: the whole GitOps loop with programs that nobody here wrote.

usage: git_witness.py PATH_OF_CASTLE

`blue` is raised in `castle lab serve`. git clones the lab's repository through its
door and pushes a commit that changes the blog's page; Flux brings it; curl reads the
new page at the load balancer's address, and the former one after a revert. Prints
`witness git passed=N failed=N skipped=N`.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from raised import Castle, raised_castle, run
from tally import Tally

HOST = "git.castle.internal"
PAGE = pathlib.Path("apps/blog/index.html")
BLOG = "https://blog.blue.castle.internal/"
# Flux looks for commits each minute of the lab: a second here.
BROUGHT_WITHIN = 60.0


class Git:
    """git in a folder, with nobody's settings but these."""

    def __init__(self, castle: Castle, password: str | None = None) -> None:
        ip, port = castle.document.listening(f"{HOST}:443")
        access = castle.document.section("git")
        self.url = f"https://{HOST}:{port}/tazlab-k8s.git"
        self.settings = [
            "-c", f"http.curloptResolve={HOST}:{port}:{ip}",
            "-c", f"http.sslCAInfo={castle.document.authority}",
        ]  # fmt: skip
        asked = castle.folder / "askpass"
        asked.write_text('#!/bin/sh\ncase "$1" in Username*) echo "$USERNAME";; *) echo "$PASSWORD";; esac\n')
        asked.chmod(0o700)
        who = {"NAME": "witness", "EMAIL": "witness@castle.internal"}
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(castle.folder),
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": str(asked),
            "USERNAME": access["username"],
            "PASSWORD": access["password"] if password is None else password,
            **{f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in who.items()},
        }

    def __call__(self, *arguments: object, at: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
        return run("git", *self.settings, *arguments, cwd=at, env=self.environment)


def fetched(git: Git, castle: Castle, tally: Tally) -> pathlib.Path:
    """Clones, whole and shallow, and who may not; returns the clone."""
    clone, shallow = castle.folder / "clone", castle.folder / "shallow"
    seen = git("clone", git.url, clone)
    tally.check("clone", seen.returncode == 0, seen)
    log = git("log", "--format=%H %s", at=clone).stdout
    print(log.rstrip())
    tally.check("log", log.splitlines()[-1:] != [] and log.splitlines()[-1].endswith("Begin with the template"), log)
    seen = git("fsck", "--strict", at=clone)
    tally.check("every object is sound", seen.returncode == 0, seen)
    tally.check("the blog's page is there", (clone / PAGE).is_file())
    seen = git("ls-remote", git.url, "refs/heads/main")
    tally.check("ls-remote", seen.stdout.split()[:1] == log.split()[:1], seen)
    for version in (0, 1, 2):
        seen = git("-c", f"protocol.version={version}", "clone", "--depth=1", git.url, shallow / str(version))
        tally.check(f"a shallow clone by protocol {version}", seen.returncode == 0, seen)
    seen = Git(castle, password="wrong")("ls-remote", git.url)
    tally.check("a wrong password", seen.returncode == 128 and "Authentication failed" in seen.stderr, seen)
    seen = git("ls-remote", git.url.replace("tazlab-k8s", "nothing"))
    tally.check("a repository that is not there", seen.returncode == 128 and "not found" in seen.stderr, seen)
    return clone


def brought(castle: Castle, tally: Tally, name: str, revision: str, is_new) -> None:
    """Waits until the page is so, and sees which revision the cluster has."""
    began = time.monotonic()
    while True:
        code, status, body = castle.curl(BLOG, at="192.168.1.240:443")
        if (code, status) == (0, "200") and is_new(body):
            break
        if time.monotonic() > began + BROUGHT_WITHIN:
            tally.check(name, False, (code, status, body))
            return
        time.sleep(0.1)
    tally.check(name, True)
    print(f"{name} after {60 * (time.monotonic() - began):.0f} s of the lab")
    if not shutil.which("kubectl"):
        tally.skip(f"the revision of {name}", "kubectl is not installed")
        return
    wanted = f"main@sha1:{revision}"
    for what, path in (
        ("gitrepository/flux-system", "{.status.artifact.revision}"),
        ("kustomization/blog", "{.status.lastAppliedRevision}"),
    ):
        told = castle.kubectl("get", what, "-n", "flux-system", "-o", f"jsonpath={path}").stdout
        tally.check(f"{what} is at the pushed commit", told == wanted, (told, wanted))
    seen = castle.kubectl("get", "configmap", "blog-page", "-n", "blog", "-o", "json", "--show-managed-fields")
    entries = json.loads(seen.stdout)["metadata"]["managedFields"]
    owners = [(entry["manager"], entry["operation"]) for entry in entries]
    tally.check("Flux alone wrote the page", owners == [("kustomize-controller", "Apply")], owners)


def pushed(git: Git, castle: Castle, clone: pathlib.Path, tally: Tally) -> None:
    """The loop: a commit, its page, and back."""
    words = "Somebody pushed this sentence."
    former = (clone / PAGE).read_text()
    (clone / PAGE).write_text(former.replace("</html>", f"<p>{words}</p>\n</html>"))
    seen = git("commit", "--all", "--message=Say more on the blog", at=clone)
    tally.check("commit", seen.returncode == 0, seen)
    seen = git("push", "origin", "main", at=clone)
    tally.check("push", seen.returncode == 0 and "main -> main" in seen.stderr, seen)
    head = lambda: git("rev-parse", "HEAD", at=clone).stdout.strip()
    tally.check("the branch is there", git("ls-remote", git.url, "refs/heads/main").stdout.split()[:1] == [head()], head())
    brought(castle, tally, "the new page is brought", head(), lambda body: words in body)

    # Somebody else was faster.
    late = castle.folder / "late"
    git("clone", git.url, late)
    (late / "README.md").write_text("Theirs.\n")
    git("commit", "--all", "--message=Theirs", at=late)
    (clone / "notes.md").write_text("Ours.\n")
    git("add", "notes.md", at=clone)
    git("commit", "--message=Ours", at=clone)
    tally.check("a second push", git("push", "origin", "main", at=clone).returncode == 0)
    seen = git("push", "origin", "main", at=late)
    tally.check("who is behind is refused", seen.returncode == 1 and "[rejected]" in seen.stderr, seen)
    seen = git("pull", "--rebase", "origin", "main", at=late)
    tally.check("fetches the rest", seen.returncode == 0 and (late / "notes.md").is_file(), seen)
    tally.check("and is let in", git("push", "origin", "main", at=late).returncode == 0)

    seen = git("pull", "--ff-only", "origin", "main", at=clone)
    tally.check("pull", seen.returncode == 0 and (clone / "README.md").read_text() == "Theirs.\n", seen)
    seen = git("revert", "--no-edit", "HEAD~2", at=clone)
    tally.check("revert", seen.returncode == 0 and (clone / PAGE).read_text() == former, seen)
    tally.check("is pushed", git("push", "origin", "main", at=clone).returncode == 0)
    brought(castle, tally, "the former page is brought", head(), lambda body: words not in body)
    # Written by others, git's objects are still sound to git.
    again = castle.folder / "again"
    tally.check("a clone of everything", git("clone", git.url, again).returncode == 0)
    subjects = git("log", "--format=%s", at=again).stdout.splitlines()
    wanted = ['Revert "Say more on the blog"', "Theirs", "Ours", "Say more on the blog", "Begin with the template"]
    tally.check("every commit once", subjects == wanted, subjects)
    seen = git("fsck", "--strict", at=again)
    tally.check("and sound", seen.returncode == 0, seen)


def testify(program: str, tally: Tally) -> None:
    with raised_castle(program, tally) as castle:
        if castle is None:
            return
        git = Git(castle)
        clone = fetched(git, castle, tally)
        if not (clone / PAGE).is_file():
            return
        if shutil.which("curl"):
            pushed(git, castle, clone, tally)
        else:
            tally.skip("the loop", "curl is not installed")


def main() -> int:
    tally = Tally()
    began = time.monotonic()
    if shutil.which("git"):
        testify(sys.argv[1], tally)
    else:
        tally.skip("git", "not installed")
    return tally.told("git", time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
