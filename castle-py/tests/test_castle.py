"""The whole main job from asyncio, and what happens when it is dropped, watched or broken."""

import asyncio
import inspect
import json
import subprocess
import sys
import time
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

import castle_py
from castle_py import (
    CastleError,
    ConflictError,
    Event,
    EvidenceMissingError,
    Fault,
    InvalidSpecError,
    Lab,
    Project,
    RefusedError,
    UnreachableError,
    UnsupportedError,
    aio,
    sync,
)
from castle_py.exceptions import error_of

T = TypeVar("T")


def told(work: Coroutine[Any, Any, T]) -> T:
    """What a program of asyncio gets."""
    return asyncio.run(work)


def test_the_whole_main_job(blue: Project) -> None:
    async def main() -> None:
        async with Lab(blue, seed=7) as lab:
            castle = lab.castle()
            assert await castle.check() == []
            plan = await castle.plan()
            assert (plan.goal, plan.is_done, plan.is_refused) == ("create", False, False)
            assert plan.summary == "Plan: 3 to add, 3 to change, 0 to destroy."
            assert plan.summary in str(plan) and str(plan).count("+ machine") == 3

            machines = await castle.create(until="machines_running")
            assert machines.outcome == "ok" and (await castle.status()).nodes == []
            nodes = (await castle.create(until="nodes_ready")).raise_for_outcome()
            assert nodes.requests["proxmox"]["write"] == 0, "it went on with what it found"
            status = await castle.status()
            assert all(node["ready"] for node in status.nodes) and len(status.nodes) == 3
            assert status.handover is not None and not status.handover["handed_over"]

            handed = (await castle.handover()).raise_for_outcome()
            assert handed.goal == "handover" and "handover_ready" in handed.milestones
            assert (await castle.plan("handover")).is_done

            born = (await castle.rebirth(replaces=1)).raise_for_outcome()
            assert born.ideal_seconds is not None and born.ideal_seconds <= born.simulated_seconds < 400
            assert list(born.milestones)[-1] and born.milestones["apps_ready"] <= born.simulated_seconds
            # The same request once more finds the life that it began.
            again = await castle.rebirth(replaces=1)
            assert (again.outcome, again.steps, again.ideal_seconds) == ("ok", [], None)
            status = await castle.status()
            assert (status.life, status.life_state, status.answered) == (2, "whole", ["blog"])
            assert status.handover is not None and status.handover["handed_over"]
            assert (await castle.destroy()).raise_for_outcome().goal == "destroy"

    told(main())


def test_values_are_rows_and_plain_data(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        plan = lab.castle().plan()
        report = lab.castle().create(until="machines_running")
        status = lab.castle().status()
        journal = lab.journal()
    for value in (plan, report, status):
        assert json.loads(json.dumps(value.to_dict())) == value.to_dict()
    rows = report.records()
    assert [row["id"] for row in rows] == [step["id"] for step in report.steps]
    assert all(row["seconds"] == pytest.approx(row["end"] - row["start"], abs=0.002) for row in rows)
    assert {row["id"] for row in plan.records()} >= {row["id"] for row in rows}
    # A part that is asked for alone says the same as the whole.
    assert plan.to_dict()["steps"] == plan.records() and plan.to_dict()["changes"] == plan.changes
    assert {change["symbol"] for change in plan.changes} == {"+", "~"}
    assert all(step["because"] and step["deadline"] > 0 and "limit" in step for step in plan.to_dict()["steps"])
    assert [row["name"] for row in status.records()] == [machine.name for machine in blue.machines]
    writes = sum(count["write"] for count in report.requests.values())
    assert sum(1 for row in journal if row["write"] and row["backend"] == "proxmox") <= writes
    assert {row["backend"] for row in journal} >= {"proxmox", "secrets"} and journal[0]["seconds"] >= 0


def test_time_stands_still_while_an_event_is_looked_at(blue: Project) -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []
        async with Lab(blue) as lab, lab.castle().follow("create", until="machines_running") as run:
            async for event in run:
                # A clock that ran on would have passed the whole run meanwhile.
                await asyncio.sleep(0.005)
                assert lab.simulated_seconds == pytest.approx(event.seconds, abs=0.01), event
                seen.append((event.kind, event.seconds))
            report = await run.report()
            assert report.outcome == "ok" and report.simulated_seconds == pytest.approx(seen[-1][1], abs=0.01)
        return seen

    seen = told(main())
    assert len(seen) > 20 and seen == sorted(seen, key=lambda one: one[1])
    # And watching changes nothing.
    with sync.Lab(blue) as lab:
        assert [(event.kind, event.seconds) for event in lab.castle().follow("create", until="machines_running")] == seen


def test_a_fault_can_be_thrown_between_two_events(blue: Project) -> None:
    broken: Fault = {"backend": "proxmox", "kind": "POST qemu/status/start", "effect": "answer_lost"}
    with sync.Lab(blue) as lab:
        run = lab.castle().follow("create", until="machines_running")
        assert isinstance(event := next(run), Event) and event.kind == "round_started"
        lab.add_faults(broken)
        events = [event, *run]
        report = run.report()
    assert report.outcome == "ok"
    ended = [event for event in events if event.kind == "step_ended" and str(event.step).endswith("/start")]
    assert [event.data["outcome"] for event in ended] == ["done"] * 3, "a lost answer is borne"
    assert [row["fault"] for row in lab.journal() if row["fault"]] == ["answer_lost"]
    assert lab.faults[0]["times"] == 0, "it struck"
    assert "step ended" in str(ended[0]) and ended[0].to_dict()["seconds"] == ended[0].seconds


def test_a_timeout_drops_the_work_and_the_next_create_finishes_it(blue: Project) -> None:
    async def main() -> None:
        async with Lab(blue) as lab:
            castle = lab.castle()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await castle.create()
            half = await castle.status()
            assert (half.life, half.life_state) == (1, "being born")
            # Dropped is dropped: nothing goes on behind our back.
            requests = len(lab.journal())
            await asyncio.sleep(0.1)
            assert len(lab.journal()) == requests

            task = asyncio.create_task(castle.create())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await castle.create()).outcome == "ok"
            assert ((await castle.status()).life, (await castle.status()).life_state) == (1, "whole")

    told(main())


INTERRUPT = """
import asyncio, os, signal, sys, threading, time
import castle_py

struck = []

def strike():
    struck.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

lab = castle_py.Lab(sys.argv[1])
threading.Timer(float(sys.argv[2]), strike).start()
try:
    asyncio.run(lab.castle().create())
except KeyboardInterrupt:
    print("heard", time.monotonic() - struck[0])

async def go_on():
    half = await lab.castle().status()
    return half.life_state, (await lab.castle().create()).outcome

print("then", *asyncio.run(go_on()))
"""


def test_an_interrupt_of_asyncio_is_heard_and_another_loop_goes_on(blue: Project) -> None:
    # How fast this machine is, nobody knows: strike at several moments until one is in the middle.
    tries = []
    for delay in (0.15, 0.3, 0.6, 0.1, 0.05):
        command = [sys.executable, "-c", INTERRUPT, str(blue.file), str(delay)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done
        tries.append(done.stdout.splitlines())
        heard, then = tries[-1][0], tries[-1][-1]
        if then == "then being born ok" and float(heard.removeprefix("heard ")) < 0.3:
            return
    pytest.fail(f"no create was struck in the middle and heard it within 0.3 s: {tries}")


def test_a_run_that_is_left_is_dropped(blue: Project) -> None:
    async def main() -> None:
        async with Lab(blue) as lab:
            castle = lab.castle()
            async with castle.follow("create") as run:
                async for event in run:
                    if event.kind == "step_started" and event.step == "machine/blue-cp-01/start":
                        break
            with pytest.raises(ConflictError, match="dropped"):
                await run.report()
            assert (await castle.status()).life_state == "being born"
            assert (await castle.create()).outcome == "ok"

    told(main())


def test_a_run_that_ended_keeps_its_report_when_it_is_left(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        with lab.castle().follow("create", until="machines_running") as run:
            for _ in run:
                pass
        assert run.report().outcome == "ok"
        run.close()
        assert run.report() == run.report()
        # One that was never asked for is dropped, and so is one on its way.
        with lab.castle().follow("create") as idle:
            pass
        with pytest.raises(ConflictError, match="dropped"):
            idle.report()


def test_a_virtual_lab_does_one_thing_at_a_time_and_two_labs_do_two(blue: Project) -> None:
    async def main() -> None:
        async with Lab(blue) as lab, Lab(blue, seed=2) as other:
            castle = lab.castle()
            first, second = await asyncio.gather(castle.create(), castle.status(), return_exceptions=True)
            assert isinstance(second, ConflictError) and second.retryable and second.hint
            assert not isinstance(first, BaseException) and first.outcome == "ok"
            reports = await asyncio.gather(lab.castle().destroy(), other.castle().create(until="machines_running"))
            assert [report.outcome for report in reports] == ["ok", "ok"]

    told(main())


def test_the_loop_runs_on_while_castle_works(blue: Project) -> None:
    async def main() -> int:
        ticks = 0
        async with Lab(blue) as lab:
            task = asyncio.create_task(lab.castle().create())
            while not task.done():
                await asyncio.sleep(0.005)
                ticks += 1
            assert (await task).outcome == "ok"
        return ticks

    assert told(main()) > 20


def test_the_blocking_names_work_inside_a_running_loop(blue: Project) -> None:
    async def main() -> str:
        with sync.Lab(blue) as lab:
            return lab.castle().create(until="machines_running").outcome

    assert told(main()) == "ok"


def test_time_is_moved_by_hand(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        lab.advance(3600)
        lab.advance(timedelta(minutes=1))
        assert lab.simulated_seconds == pytest.approx(3660, abs=1)
        for wrong in (-1, float("nan"), float("inf"), 1e300):
            with pytest.raises(CastleError, match=f"{wrong!r}.* is no number of seconds|NaN is no number") as caught:
                lab.advance(wrong)
            assert len(str(caught.value)) < 300
        for word in ("60", None, True):
            with pytest.raises(InvalidSpecError, match=f"{word!r} is no span of time"):
                lab.advance(word)  # type: ignore[arg-type]
        # Farther than a timer of the runtime reaches.
        lab.advance(timedelta(days=365 * 100))
        assert lab.simulated_seconds == pytest.approx(3660 + 365 * 100 * 86400, abs=1)
        with pytest.raises(InvalidSpecError, match="thousand years"):
            lab.advance(1e12)


def test_virtual_time_is_not_mixed_with_foreign_clients(blue: Project, tmp_path: Path) -> None:
    with sync.Lab(blue) as lab:
        for call in (lab.kubeconfig, lab.castle().kubeconfig, lab.castle().talosconfig, lambda: lab.serve(tmp_path)):
            with pytest.raises(UnsupportedError) as caught:
                call()
            assert "virtual time" in caught.value.message
            assert caught.value.hint and 'Lab(project, pace="60x")' in caught.value.hint
        assert list(tmp_path.iterdir()) == []


def test_a_served_lab_is_found_by_others(blue: Project, tmp_path: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("a served lab has loopback addresses of its own, which this system lacks")
    with sync.Lab(blue, pace=60) as lab:
        mine = lab.castle()
        assert mine.create(until="machines_running").outcome == "ok"
        document = lab.serve(tmp_path / "lab")
        assert document.stat().st_mode & 0o077 == 0
        theirs = sync.Castle.open(blue.file.parent, document)
        # What this process made is theirs as well: the secrets moved with the document.
        status = theirs.status()
        assert (status.life, {machine.state for machine in status.machines}) == (1, {"running"})
        assert theirs.create(until="machines_running").requests["proxmox"]["write"] == 0
        secret = theirs.kubeconfig()
        assert "127." in secret.reveal() and "192.168.1.210" not in secret.reveal()
        assert secret.reveal()[:20] not in f"{secret} {secret!r}"
        file = secret.write(tmp_path / "kubeconfig")
        assert file.read_text() == secret.reveal() and file.stat().st_mode & 0o077 == 0
        with pytest.raises(UnsupportedError, match="advanced by hand"):
            lab.advance(1)
        # Real time goes on while nobody asks.
        run = theirs.follow("destroy")
        next(run)
        deadline = time.monotonic() + 20
        while {machine.state for machine in mine.status().machines} != {"absent"}:
            assert time.monotonic() < deadline, "the run waits for who follows it"
            time.sleep(0.05)
        assert run.report().outcome == "ok"


def test_a_house_asks_for_its_name(blue: Project, tmp_path: Path) -> None:
    options = tmp_path / "options.yaml"
    options.write_text("proxmox: {adress: 'https://127.0.0.1:9'}\n", encoding="utf-8")
    with pytest.raises(InvalidSpecError) as wrong:
        sync.Castle.open(blue, options)
    assert str(options) in wrong.value.message and "line 1" in wrong.value.message
    with pytest.raises(CastleError, match="cannot be read"):
        sync.Castle.open(blue, tmp_path / "nowhere.yaml")

    (tmp_path / "token").write_text("castle@pve!main=5ec2e700-0000-4000-8000-00000badcafe", encoding="utf-8")
    pin = ":".join(["AB"] * 32)
    options.write_text(
        f"proxmox: {{url: 'https://127.0.0.1:9', token_file: token, fingerprints: ['{pin}']}}\n"
        "secrets: {files: secrets}\npace: real\nlab: false\n",
        encoding="utf-8",
    )
    house = sync.Castle.open(blue, options)
    for removal in (house.destroy, house.rebirth):
        for confirm in (None, "fortress"):
            with pytest.raises(EvidenceMissingError) as caught:
                removal(confirm=confirm)
            assert caught.value.hint and 'confirm="blue"' in caught.value.hint
    # Nothing listens there, which a house's castle says as any other's does; and no secret with it.
    with pytest.raises(UnreachableError) as silent:
        house.check()
    told = f"{silent.value} {silent.value!r} {vars(silent.value)} {house!r} {house.status()._repr_html_()}"
    assert silent.value.retryable and "badcafe" not in told


def test_a_refused_run_raises_with_its_report(blue: Project, tmp_path: Path, blue_text: str) -> None:
    file = tmp_path / "castle.yaml"
    file.write_text(blue_text.replace("datasets: []", "datasets: [{name: photos, what: the album}]"), encoding="utf-8")
    with sync.Lab(file) as lab:
        castle = lab.castle()
        assert castle.create(until="machines_running").outcome == "ok"
        report = castle.destroy()
        assert report.outcome == "refused"
        with pytest.raises(RefusedError) as caught:
            report.raise_for_outcome()
        assert caught.value.report == report and "photos" in caught.value.message
        assert castle.destroy(waive_data="blue").outcome == "ok"


def test_every_code_has_a_class() -> None:
    codes = castle_py._castle.error_codes()
    classes = {code: type(error_of(code, "said")) for code in codes}
    assert len(set(classes.values())) == len(codes) and CastleError not in classes.values()
    assert all(known.__name__ in castle_py.__all__ for known in classes.values())
    assert type(error_of("of_tomorrow", "said")) is CastleError
    error = error_of("unreachable", "no answer", "look", True, {"step": "cluster/api", "host": "pve"})
    assert (error.step, error.resource, error.retryable) == ("cluster/api", "pve", True)


def names_of(kind: type) -> dict[str, str]:
    """The public methods of a class, with their parameters."""
    return {
        name: str(inspect.signature(member)).replace("Async", "")
        for name, member in inspect.getmembers(kind, callable)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("name", aio.__all__)
def test_the_blocking_classes_mirror_those_of_asyncio(name: str) -> None:
    mine, theirs = names_of(getattr(aio, name)), names_of(getattr(sync, name))
    assert mine == theirs and len(mine) >= 2
