"""A child that was forked off has the lab's memory, and none of its threads."""

import os
import subprocess
import sys

import pytest

from castle_py import Project

PROGRAM = """
import gc, os, signal, sys, threading, time
from castle_py import UnsupportedError, sync

lab = sync.Lab(sys.argv[1], pace=sys.argv[2])
castle = lab.castle()
run = castle.follow("create")
next(run)
home = lab._home
task = home.check() if sys.argv[2] == "60x" else None

def refused(call):
    try:
        call()
    except UnsupportedError as error:
        assert f"belongs to process {os.getppid()}" in str(error) and "spawn" in error.hint, error
    else:
        raise AssertionError(f"{call} was not refused")

sys.stdout.flush()
child = os.fork()
if child == 0:
    signal.alarm(20)
    for call in (castle.status, castle.create, lab.journal, run.report, lambda: next(run), lambda: lab.advance(1)):
        refused(call)
    if task is not None:
        refused(task.wait)
        task.cancel()
    assert lab.closed and "closed" in repr(lab)
    run.close()
    lab.close()
    lab.close()
    del lab, castle, run, home, task
    gc.collect()
    with sync.Lab(sys.argv[1]) as mine:
        print("child", mine.castle().create(until="machines_running").outcome, flush=True)
    sys.exit(0)
_, status = os.waitpid(child, 0)
print("ended", status)
print("parent", run.report().outcome, castle.status().life_state)
lab.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("pace", ["virtual", "60x"])
def test_a_child_is_refused_and_harms_nothing(blue: Project, pace: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(blue.file), pace]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["child ok", "ended 0", "parent ok whole"], done


AT_WORK = """
import os, signal, sys, threading, time
from castle_py import sync

lab = sync.Lab(sys.argv[1])
worker = threading.Thread(target=lambda: print(lab.castle().create().outcome, flush=True))
worker.start()
statuses = []
for _ in range(5):
    time.sleep(0.05)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        lab.close()
        sys.exit(0)
    statuses.append(os.waitpid(child, 0)[1])
worker.join()
print(statuses)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_ends_that_was_forked_off_while_a_lab_was_at_work(blue: Project) -> None:
    command = [sys.executable, "-W", "ignore", "-c", AT_WORK, str(blue.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert sorted(done.stdout.splitlines()) == ["[0, 0, 0, 0, 0]", "ok"], done
