"""Where a served lab tells others of itself, and what it refuses to overwrite."""

import os
from pathlib import Path

import pytest

from castle_py import AlreadyExistsError, CastleError, PermissionDeniedError, Project, sync

pytestmark = pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="a served lab has loopback addresses of its own, which this system lacks"
)


def test_a_folder_that_served_another_lab_is_not_inherited(blue: Project, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    with sync.Lab(blue, pace="600x") as lab:
        lab.serve(folder)
        assert lab.castle().create(until="machines_running").outcome == "ok"
    before = (folder / "lab.yaml").read_bytes()
    with sync.Lab(blue, pace="600x") as lab:
        with pytest.raises(AlreadyExistsError, match="of an earlier lab") as caught:
            lab.serve(folder)
        assert str(folder / "secrets") in caught.value.message
        assert caught.value.hint and "another folder" in caught.value.hint
        assert (folder / "lab.yaml").read_bytes() == before
        assert lab.castle().status().life is None, "its own secrets are where they were"
        # And another folder is the way out.
        assert lab.serve(tmp_path / "other").is_file()


def test_a_lab_is_served_once_and_the_second_call_leaves_no_trace(blue: Project, tmp_path: Path) -> None:
    with sync.Lab(blue, pace="600x") as lab:
        lab.serve(tmp_path / "one")
        with pytest.raises(AlreadyExistsError, match="served already"):
            lab.serve(tmp_path / "two")
        assert not (tmp_path / "two").exists()


def test_a_document_is_private_whatever_lay_there(blue: Project, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir(mode=0o700)
    for name in ("lab.yaml", "lab.yaml.new"):
        (folder / name).write_text("somebody reads this")
        os.chmod(folder / name, 0o644)
    reader = (folder / "lab.yaml").open()
    with sync.Lab(blue, pace="600x") as lab, reader:
        document = lab.serve(folder)
        assert document.stat().st_mode & 0o777 == 0o600
        assert reader.read() == "somebody reads this", "who had opened the old one does not read the token"
        assert sorted(path.name for path in folder.iterdir()) == ["lab.yaml", "secrets"]
        assert (folder / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_call_that_could_not_write_leaves_no_secrets_behind(blue: Project, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir(mode=0o700)
    # A folder in the place of the document: the secrets are there when it fails.
    (folder / "lab.yaml").mkdir()
    with sync.Lab(blue, pace="600x") as lab:
        assert lab.castle().create(until="machines_running").outcome == "ok"
        with pytest.raises(PermissionDeniedError, match="cannot be written"):
            lab.serve(folder)
        assert not (folder / "secrets").exists() and not (folder / "secrets.new").exists()
        (folder / "lab.yaml").rmdir()
        assert lab.serve(folder).is_file()
        assert any((folder / "secrets").iterdir())


def test_a_folder_that_others_may_enter_is_refused_in_words(blue: Project, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o755)
    with sync.Lab(blue, pace="600x") as lab:
        with pytest.raises(PermissionDeniedError, match="755") as caught:
            lab.serve(wide)
        assert str(wide) in caught.value.message and caught.value.hint and "chmod 700" in caught.value.hint
        assert list(wide.iterdir()) == []
        # A call that came to nothing has claimed nothing.
        wide.chmod(0o700)
        assert lab.serve(wide).is_file()


def test_a_lost_store_is_told_in_python_s_words_and_waived(blue: Project, tmp_path: Path) -> None:
    with sync.Lab(blue, pace="600x") as lab:
        document = lab.serve(tmp_path / "lab")
        castle = sync.Castle.open(blue, document)
        assert castle.create(until="machines_running").outcome == "ok"
        machines = castle.status().machines
        (tmp_path / "lab" / "secrets").rename(tmp_path / "lost")
        kept = castle.destroy(confirm="blue")
        hints = [problem.hint or "" for problem in kept.problems if problem.code == "foreign-machine"]
        assert len(hints) == 3 and {machine.state for machine in castle.status().machines} == {"running"}
        # What the hint says is Python, and does it.
        waivers: dict[int, str] = {}
        for hint in hints:
            assert "--" not in hint
            said = hint.split("`")[1]
            waivers |= eval(f"dict({said})")["waive_ownership"]  # noqa: S307
        assert waivers == {machine.id: machine.uuid for machine in machines}
        assert any("--" in str(row) for row in kept.to_dict()["problems"]) is False
        first = {421: waivers[421]}
        assert castle.plan("destroy", waive_ownership=first).summary == "Plan: 0 to add, 0 to change, 1 to destroy."
        assert castle.destroy(waive_ownership=waivers, confirm="blue").outcome == "ok"
        assert {machine.state for machine in castle.status().machines} == {"absent"}
        wrongs: list[dict[int, str]] = [{421: "nobody"}, {0: waivers[421]}]
        for wrong in wrongs:
            with pytest.raises(CastleError, match="waive_ownership: .* names no machine"):
                castle.plan("destroy", waive_ownership=wrong)
        with pytest.raises(CastleError, match="no mapping"):
            castle.plan("destroy", waive_ownership=["421"])  # type: ignore[arg-type]
