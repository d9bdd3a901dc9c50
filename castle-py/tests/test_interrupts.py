"""Ctrl-C where a loop runs, and an interpreter that somebody holds."""

import asyncio
import ctypes
import subprocess
import sys
import time
from pathlib import Path

import pytest

from castle_py import Lab, Project

# What `main` does is the test's; `strike()` sends SIGINT half a second later.
FRAME = """
import asyncio, os, signal, sys, threading, time
import castle_py
from castle_py import sync

struck = []

def strike():
    def now():
        struck.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(0.5, now).start()

{main}

try:
    asyncio.run(main())
    print("ended")
except BaseException as error:
    print(type(error).__name__, time.monotonic() - struck[0])
lab = castle_py.Lab(sys.argv[1])
print(sync.Lab(sys.argv[1]).castle().create(until="machines_running").outcome)
"""

IN_THE_TASK = """
async def main():
    lab = sync.Lab(sys.argv[1], pace="60x")
    strike()
    lab.castle().create()
"""

# asyncio's handler cancels the main task, which is not the one that blocks.
IN_ANOTHER_TASK = """
async def block():
    sync.Lab(sys.argv[1], pace="60x").castle().create()

async def main():
    strike()
    await asyncio.create_task(block())
"""

# A handler that cancels and does not wake the loop, as ipykernel's.
AWAITED = """
async def main():
    lab = castle_py.Lab(sys.argv[1], pace="60x")
    task = asyncio.current_task()
    signal.signal(signal.SIGINT, lambda number, frame: task.cancel())
    strike()
    await lab.castle().create()
"""


@pytest.mark.parametrize(
    ("main", "raised"),
    [(IN_THE_TASK, "KeyboardInterrupt"), (IN_ANOTHER_TASK, "KeyboardInterrupt"), (AWAITED, "CancelledError")],
    ids=["in the task", "in another task", "awaited"],
)
def test_an_interrupt_is_heard_where_a_loop_runs(blue: Project, main: str, raised: str) -> None:
    # The create takes four seconds at this pace, so half a second is in its middle.
    command = [sys.executable, "-W", "ignore", "-c", FRAME.replace("{main}", main), str(blue.file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done
    [heard, then] = done.stdout.splitlines()
    assert then == "ok", done
    name, _, seconds = heard.partition(" ")
    assert name == raised and float(seconds) < 0.3, done


def test_a_handler_of_ones_own_is_put_back(blue: Project) -> None:
    import signal

    from castle_py import sync

    async def main() -> None:
        before = signal.getsignal(signal.SIGINT)
        with sync.Lab(blue) as lab:
            lab.castle().status()
        assert signal.getsignal(signal.SIGINT) is before

    asyncio.run(main())


def test_a_lab_goes_on_while_somebody_holds_the_interpreter(blue: Project) -> None:
    """No lab's thread takes it: one that did would stand still, and in virtual time its watchdog would end the process."""
    if not Path("/proc/self").is_dir():
        pytest.skip("a lab at 60x has loopback addresses of its own, which this system lacks")

    async def main() -> list[float]:
        async with Lab(blue, pace="60x") as lab:
            # At this pace a run goes on by itself.
            run = lab.castle().follow("create")
            await anext(run)
            looking = asyncio.create_task(lab.castle().status())
            await asyncio.sleep(0)
            began = lab.simulated_seconds
            ctypes.PyDLL(None).usleep(1_000_000)  # a call of C that keeps the interpreter
            assert lab.simulated_seconds - began > 50
            await looking
            return [row["seconds"] - began for row in lab.journal()]

    seconds = asyncio.run(main())
    late = [second for second in seconds if 20 < second < 55]
    assert late, f"the run stood still: {seconds}"


def test_without_a_loop_of_asyncio_nothing_begins(blue: Project) -> None:
    from castle_py import UnsupportedError

    lab = Lab(blue)
    before = time.monotonic()
    # As a framework with loops of its own drives it.
    with pytest.raises(UnsupportedError, match="no event loop of asyncio") as caught:
        lab.castle().status().send(None)
    assert caught.value.hint and "castle_py.sync" in caught.value.hint
    assert lab.journal() == [] and time.monotonic() - before < 5
    assert asyncio.run(lab.castle().status()).life is None, "the lab is free"
