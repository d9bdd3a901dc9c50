"""Declarations: what is read, and how a wrong one is told."""

import json
import pickle
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from castle_py import CastleError, Cluster, ConfigError, Machine, Problem, Project


def spoiled(tmp_path: Path, text: str, *changes: tuple[str, str]) -> Path:
    """A declaration with some of its text replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    file = tmp_path / "castle.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_folder_and_its_file_are_the_same_project(blue: Project) -> None:
    for path in (blue.file, blue.file.parent, str(blue.file), str(blue.file.parent)):
        assert Project.load(path) == blue


def test_says_what_was_declared(blue: Project) -> None:
    assert (blue.project, blue.warnings) == ("blue", [])
    assert blue.cluster == Cluster(name="blue", talos="v1.13.9", kubernetes="v1.36.3", contract="1.13")
    assert [(m.name, m.role, m.id) for m in blue.machines] == [
        ("blue-cp-01", "control-plane", 421),
        ("blue-wk-01", "worker", 431),
        ("blue-wk-02", "worker", 432),
    ]
    first = blue.machines[0]
    assert (first.host, first.address, first.memory_bytes, first.cores) == (
        "pve",
        IPv4Address("192.168.1.211"),
        8 * 2**30,
        4,
    )


def test_what_it_prints_can_be_pasted_back(blue: Project) -> None:
    names = {"Cluster": Cluster, "Machine": Machine, "Project": Project}
    for value in (blue, blue.cluster, *blue.machines):
        assert eval(repr(value), names) == value  # noqa: S307
    assert len(set(blue.machines) | set(Project.load(blue.file).machines)) == 3
    assert blue.machines[0] != blue.machines[1]


def test_values_do_not_change(blue: Project) -> None:
    for value, name in ((blue, "project"), (blue.cluster, "name"), (blue.machines[0], "id")):
        with pytest.raises(AttributeError):
            setattr(value, name, "other")
    blue.machines.clear()  # a list of one's own
    assert len(blue.machines) == 3


def test_is_plain_data_for_json(blue: Project) -> None:
    data = blue.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["machines"] == [machine.to_dict() for machine in blue.machines]
    assert data["machines"][0]["address"] == "192.168.1.211"
    assert data["cluster"] == blue.cluster.to_dict()


def test_a_machine_by_hand_has_a_known_role_and_an_address(blue: Project) -> None:
    good = blue.machines[0].to_dict()
    assert Machine(**good) == blue.machines[0]
    with pytest.raises(ValueError, match="role .* is not known"):
        Machine(**{**good, "role": "boss"})
    with pytest.raises(ValueError, match="address"):
        Machine(**{**good, "address": "192.168.1"})


def test_a_slip_is_told_with_its_line_and_the_right_word(tmp_path: Path, blue_text: str) -> None:
    file = spoiled(tmp_path, blue_text, ("gateway:", "gatewya:"))
    with pytest.raises(ConfigError) as caught:
        Project.load(file)
    error = caught.value
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "gatewya" in text)
    column = file.read_text().splitlines()[line - 1].index("gatewya") + 1
    [problem] = error.problems
    assert (problem.code, problem.severity, problem.line, problem.column) == ("unknown-key", "error", line, column)
    assert problem.hint == "did you mean `gateway`?"
    assert (error.code, error.file, error.retryable) == ("invalid_spec", str(file), False)
    assert error.snippet is not None
    source, mark = error.snippet.splitlines()
    assert source[mark.index("^") :].startswith("gatewya")
    told = str(error)
    assert f"{line}:{column}: error[unknown-key]" in told and "did you mean" in told and error.snippet in told


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path, blue_text: str) -> None:
    file = spoiled(
        tmp_path,
        blue_text,
        ("vip: 192.168.1.210", "vip: 192.168.9.210"),
        ("name: blue-wk-01", "name: blue_wk_01"),
        ("vmid: 432", "vmid: 7"),
    )
    with pytest.raises(ConfigError) as caught:
        Project.load(file)
    lines = file.read_text().splitlines()
    found = [(lines[p.line - 1], p) for p in caught.value.problems if p.line]
    for spoilt in ("192.168.9.210", "blue_wk_01", "vmid: 7"):
        assert any(spoilt in line for line, _ in found), (spoilt, caught.value.problems)
    assert caught.value.message.endswith("3 errors")


def test_a_missing_file_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(CastleError) as caught:
        Project.load(tmp_path)
    assert caught.value.code == "not_found"
    assert str(tmp_path / "castle.yaml") in caught.value.message
    assert caught.value.hint and "castle.yaml" in caught.value.hint
    with pytest.raises(CastleError) as caught:
        (tmp_path / "castle.yaml").write_bytes(b"\xff\xfe")
        Project.load(tmp_path)
    assert caught.value.code == "invalid_spec"


def test_exceptions_survive_pickling(tmp_path: Path, blue_text: str) -> None:
    file = spoiled(tmp_path, blue_text, ("gateway:", "gatewya:"))
    with pytest.raises(ConfigError) as caught:
        Project.load(file)
    by_hand = CastleError("unreachable", "no answer", "look at the host", True, {"host": "pve"})
    by_hand.add_note("seen at night")
    for error in (caught.value, by_hand):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert vars(copy) == vars(error)
        assert str(copy) == str(error)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.problems == caught.value.problems and isinstance(copy.problems[0], Problem)
    assert isinstance(copy, CastleError)
