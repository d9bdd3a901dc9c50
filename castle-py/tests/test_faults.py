"""Faults as data: what cannot strike is refused, with the words that can."""

from datetime import timedelta
from typing import Any

import pytest

from castle_py import Fault, InvalidSpecError, Project, sync

GOOD: dict[str, Any] = {"backend": "proxmox", "kind": "POST qemu", "effect": "answer_lost"}


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        ({"tiems": 2}, "tiems"),
        ({"backend": "proxmoxx"}, "one of git, infisical, kubernetes, proxmox"),
        ({"kind": "POST qmeu"}, "POST qemu, "),
        ({"effect": "answer-lost"}, "'answer_lost'"),
        ({"effect": "cut"}, "{'cut': {'after': False}}"),
        ({"effect": {"status": {"status": 500, "atfer": True}}}, "atfer"),
        ({"effect": {"status": {"status": 77}}}, "from 100 to 599"),
        ({"effect": {"status": {"status": 99999}}}, "99999"),
        ({"effect": {"delay": {"seconds": -1}}}, "no number of seconds"),
        ({"effect": {"delay": {"seconds": 1e300}}}, "1e300 is no number of seconds"),
        ({"effect": {"delay": {"seconds": float("nan")}}}, "not finite"),
        ({"effect": {"delay": timedelta(seconds=3)}}, "{'delay': {'seconds': 30}}"),
        ({"entity": object()}, "no plain value"),
        ({"times": -1}, "-1"),
    ],
    ids=str,
)
def test_a_slip_is_told(blue: Project, slip: dict[str, Any], told: str) -> None:
    wrong: Any = {**GOOD, **slip}
    with sync.Lab(blue) as lab:
        with pytest.raises(InvalidSpecError) as caught:
            lab.add_faults(GOOD, wrong)  # type: ignore[arg-type]
        assert told in str(caught.value) and caught.value.hint, caught.value
        assert lab.faults == [], "all of them or none"


def test_what_is_no_list_of_faults_is_told(blue: Project) -> None:
    wrongs: list[Any] = [GOOD, "answer_lost", None, [[GOOD]], [1]]
    for wrong in wrongs:
        with pytest.raises(InvalidSpecError, match="wanted") as caught:
            sync.Lab(blue, faults=wrong)
        assert caught.value.hint and "add_faults(" in caught.value.hint
    with sync.Lab(blue) as lab, pytest.raises(InvalidSpecError, match="fault 1: a dictionary is wanted"):
        lab.add_faults([GOOD])  # type: ignore[arg-type]


def test_a_delay_can_be_a_span(blue: Project) -> None:
    late: Fault = {"kind": "POST qemu", "effect": {"delay": {"seconds": timedelta(minutes=0.1)}}}
    with sync.Lab(blue, faults=[late]) as lab:
        assert lab.faults[0]["effect"] == {"delay": {"seconds": 6.0}}
        assert lab.castle().create(until="machines_running").outcome == "ok"
        [row] = [row for row in lab.journal() if row["fault"]]
        assert row["took"] is not None and row["took"] > 6


def test_every_request_of_a_run_can_be_hit_by_name(blue: Project) -> None:
    """What the journal names is never refused as a slip."""
    with sync.Lab(blue) as lab:
        assert lab.castle().create().outcome == "ok"
        assert lab.castle().destroy().outcome == "ok"
        seen = {(row["backend"], row["kind"]) for row in lab.journal()}
        assert {backend for backend, _ in seen} >= {"git", "kubernetes", "proxmox", "secrets", "talos"}
        for backend, kind in sorted(seen):
            lab.add_faults({"backend": backend, "kind": kind, "effect": "stall"})  # type: ignore[typeddict-item]
            lab.add_faults({"kind": kind, "effect": "stall"})
