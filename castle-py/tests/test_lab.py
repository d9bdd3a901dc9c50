"""A castle in the simulated home: born, looked at, removed; one seed, one story."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from castle_py import CastleError, InvalidSpecError, NotFoundError, Project, Report, aio, sync


def test_a_castle_is_born_seen_and_removed(blue: Project) -> None:
    with sync.Lab(blue, seed=7) as lab:
        assert [machine.state for machine in lab.castle().status().machines] == ["absent"] * 3
        assert lab.castle().status().life is None

        born = lab.castle().create()
        assert (born.goal, born.outcome, born.error, born.left) == ("create", "ok", None, [])
        assert born.raise_for_outcome() == born
        assert born.ideal_seconds is not None and 0 < born.ideal_seconds <= born.simulated_seconds
        assert born.milestones["machines_running"] <= born.simulated_seconds
        assert born.requests["proxmox"]["write"] > 0
        assert {step["id"] for step in born.steps if step["critical"]} == set(born.critical_path)
        assert all(step["outcome"] == "done" and step["end"] >= step["start"] for step in born.steps)

        status = lab.castle().status()
        assert (status.cluster, status.life, status.life_state, status.unknown) == ("blue", 1, "whole", {})
        assert [(m.name, m.id) for m in status.machines] == [(m.name, m.id) for m in blue.machines]
        assert [m.address for m in status.machines] == [m.address for m in blue.machines]
        assert {machine.state for machine in status.machines} == {"running"}
        assert len({machine.uuid for machine in status.machines}) == 3
        assert status.requests["proxmox"] == {"read": status.requests["proxmox"]["read"], "write": 0}

        gone = lab.castle().destroy()
        assert (gone.goal, gone.outcome) == ("destroy", "ok")
        assert gone.ideal_seconds is not None and 0 < gone.ideal_seconds <= gone.simulated_seconds
        status = lab.castle().status()
        assert {machine.state for machine in status.machines} == {"absent"}
        assert (status.life, status.life_state) == (1, "ended")


def test_a_second_create_and_a_second_destroy_write_nothing(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        castle = lab.castle()
        for verb in (castle.create, castle.destroy):
            assert sum(count["write"] for count in verb().requests.values()) > 0
            again = verb()
            assert again.outcome == "ok"
            assert {count["write"] for count in again.requests.values()} == {0}
            assert again.ideal_seconds is None  # there was no way to go


def story(project: Project, seed: int) -> list[object]:
    with sync.Lab(project, seed=seed) as lab:
        return [lab.castle().create().to_dict(), lab.castle().status().to_dict(), lab.castle().destroy().to_dict(), lab.simulated_seconds]


def test_one_seed_is_one_story(blue: Project) -> None:
    stories = [story(blue, seed) for seed in (1, 2)]
    assert stories == [story(blue, seed) for seed in (1, 2)]
    assert len({json.dumps(told) for told in stories}) == 2
    with sync.Lab(blue, seed=2) as one, sync.Lab(blue, seed=2) as other, sync.Lab(blue, seed=3) as third:
        reports = [lab.castle().create(until="machines_running") for lab in (one, other, third)]
    assert reports[0] == reports[1] != reports[2]


def test_the_home_stands_still_between_calls(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        assert lab.simulated_seconds == 0
        took = lab.castle().create().simulated_seconds
        before = lab.simulated_seconds
        # A paused clock that is driven with nothing to do runs hours in this time.
        threading.Event().wait(0.2)
        lab.castle().status()
        assert lab.simulated_seconds - before < 5
        assert before == pytest.approx(took, abs=1)


def test_a_run_that_fails_says_why(tmp_path: Path, blue_text: str) -> None:
    file = tmp_path / "castle.yaml"
    assert "import: 15m" in blue_text
    file.write_text(blue_text.replace("import: 15m", "import: 1s"), encoding="utf-8")
    with sync.Lab(Project.load(file)) as lab:
        report = lab.castle().create()
        assert report.outcome == "failed"
        assert report.error is not None and report.error.code == "deadline_exceeded"
        with pytest.raises(CastleError) as caught:
            report.raise_for_outcome()
        assert str(caught.value) == str(report.error)
        assert caught.value.message in report.to_dict()["error"]["message"]
        assert "failed" in report._repr_html_() and "failed" in repr(report)
        # What was begun is the castle's, and goes.
        assert lab.castle().destroy().raise_for_outcome().outcome == "ok"


def test_a_closed_lab_says_so(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        assert not lab.closed
    lab.close()
    assert lab.closed and "closed" in repr(lab)
    castle = lab.castle()
    for verb in (castle.create, castle.destroy, castle.status):
        with pytest.raises(CastleError, match="the lab is closed"):
            verb()


def test_an_exception_in_the_block_is_not_swallowed(blue: Project) -> None:
    with pytest.raises(ZeroDivisionError), sync.Lab(blue) as lab:
        _ = 1 / 0
    assert lab.closed


def test_options_are_named_and_checked(blue: Project) -> None:
    with pytest.raises(TypeError):
        sync.Lab(blue, 7)  # type: ignore[call-arg]
    with pytest.raises(NotFoundError):
        sync.Lab("no/such/folder")
    with pytest.raises(InvalidSpecError, match="pace"):
        sync.Lab(blue, pace="soon")
    with pytest.raises(InvalidSpecError, match="a fault is not understood"):
        sync.Lab(blue, faults=[{"kind": "POST qemu"}])  # type: ignore[typeddict-item]
    with pytest.raises(TypeError):
        sync.Lab(blue, seed="seven")  # type: ignore[arg-type]
    for seed in (-1, 2**64):
        with pytest.raises(InvalidSpecError, match=f"seed {seed}") as caught:
            sync.Lab(blue, seed=seed)
        assert caught.value.hint and "from 0" in caught.value.hint
    for pace in (1e30, "1e30x", 1e-30, 0, float("nan")):
        with pytest.raises(InvalidSpecError, match="pace") as caught:
            sync.Lab(blue, pace=pace)
        assert caught.value.hint


def test_a_lab_that_never_opened_can_be_shown() -> None:
    for kind in (sync.Lab, aio.Lab):
        assert repr(object.__new__(kind)) == "<Lab, never opened>"


def test_other_threads_run_and_one_lab_does_one_thing(blue: Project) -> None:
    lab = sync.Lab(blue)
    reports: list[Report] = []
    worker = threading.Thread(target=lambda: reports.append(lab.castle().create()))
    ticks = 0
    refusals: list[CastleError] = []
    worker.start()
    while worker.is_alive():
        worker.join(0.01)
        ticks += 1
        if not refusals and ticks > 5:
            with pytest.raises(CastleError) as caught:
                lab.castle().status()
            refusals.append(caught.value)
    assert ticks > 10, "the interpreter was held while the lab was at work"
    assert [(error.code, error.retryable) for error in refusals] == [("conflict", True)]
    assert reports[0].outcome == "ok"
    assert lab.castle().status().life_state == "whole"
    lab.close()


INTERRUPT = """
import os, signal, sys, threading, time
from castle_py import Project, sync

lab = sync.Lab(Project.load(sys.argv[1]))
struck = []

def strike():
    struck.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(float(sys.argv[2]), strike).start()
try:
    lab.castle().create()
except KeyboardInterrupt:
    print("heard", time.monotonic() - struck[0])
half = lab.castle().status()
print("states", *sorted({machine.state for machine in half.machines}))
print("life", half.life, half.life_state)
print("then", lab.castle().create().outcome, lab.castle().status().life, lab.castle().status().life_state)
print("end", lab.castle().destroy().outcome)
"""


def test_an_interrupt_is_heard_and_the_next_call_goes_on(blue: Project) -> None:
    def struck_after(delay: float) -> dict[str, str]:
        command = [sys.executable, "-c", INTERRUPT, str(blue.file), str(delay)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done
        return {key: value for key, _, value in (line.partition(" ") for line in done.stdout.splitlines())}

    # How fast this machine is, nobody knows: strike earlier until it is in the middle.
    tries = []
    for delay in (0.5, 0.2, 0.1, 0.05):
        told = struck_after(delay)
        tries.append(told)
        if "heard" in told and told["life"] == "1 being born" and float(told["heard"]) < 0.3:
            break
    else:
        pytest.fail(f"no create was struck in the middle and heard it within 0.3 s: {tries}")
    assert told["then"] == "ok 1 whole"
    assert told["end"] == "ok"


def test_a_forgotten_lab_takes_its_thread_along(blue: Project) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    if not Path("/proc/self/task").is_dir():
        pytest.skip("threads are counted in /proc, which this system lacks")
    before = threads()
    for _ in range(3):
        sync.Lab(blue).castle().create()
    deadline = time.monotonic() + 5
    while threads() > before and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert threads() <= before


SECRETS = {
    "a token": re.compile(r"castle@pve!|PVEAPIToken"),
    "a key": re.compile(r"PRIVATE KEY|BEGIN "),
    "key bytes": re.compile(r"\b[0-9a-fA-F]{64}\b|[A-Za-z0-9+/]{40,}={0,2}"),
    "a uuid": re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
}


def secrets_in(text: str, known: set[str]) -> list[tuple[str, str]]:
    """What looks like a secret, apart from values that are known to be none."""
    found = [(what, hit) for what, pattern in SECRETS.items() for hit in pattern.findall(text)]
    return [(what, hit) for what, hit in found if hit not in known]


def test_no_secret_is_shown(blue: Project, tmp_path: Path, blue_text: str) -> None:
    failing = tmp_path / "castle.yaml"
    failing.write_text(blue_text.replace("import: 15m", "import: 1s"), encoding="utf-8")
    shown, known = [], set()
    for project in (blue, Project.load(failing)):
        with sync.Lab(project, seed=5) as lab:
            report, status = lab.castle().create(), lab.castle().status()
            # The machines' uuids are shown on purpose; any other would be a token's.
            known |= {machine.uuid for machine in status.machines if machine.uuid}
            plan = lab.castle().plan("rebirth")
            for value in (project, lab, plan, report, status, lab.castle().destroy(), *status.machines):
                shown += [repr(value), str(value)]
                for form in ("to_dict", "_repr_html_"):
                    if hasattr(value, form):
                        shown.append(str(getattr(value, form)()))
            if report.error:
                shown += [repr(report.error), str(report.error), str(vars(report.error))]
    # A long path looks like base64.
    text = "\n".join(shown).replace(str(blue.file), "FILE").replace(str(failing), "FILE")
    text = re.sub(r"sha1:[0-9a-f]{40}", "COMMIT", text)  # where the branch stands is no secret
    assert "ours (life 1" in text and "deadline_exceeded" in text
    assert secrets_in(text, known) == []
    # And the search finds what it looks for.
    for planted in ("castle@pve!main=x", "0" * 64, "00000000-0000-4000-8000-000000000000", "-----BEGIN X"):
        assert secrets_in(f"{text} {planted}", known), planted
