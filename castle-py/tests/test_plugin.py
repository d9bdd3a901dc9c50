"""The fixture for everybody's tests, as a project of others meets it."""

import subprocess
import sys
from pathlib import Path

import castle_py.sync
from conftest import BLUE

TESTS = """
import pytest

@pytest.mark.castle(seed=7, faults=[{"backend": "proxmox", "kind": "POST qemu", "effect": "answer_lost"}])
def test_born(castle_lab):
    assert castle_lab.seed == 7
    assert castle_lab.castle().create(until="machines_running").outcome == "ok"
    assert castle_lab.faults[0]["times"] == 0

def test_asyncio(castle_lab_async):
    import asyncio
    report = asyncio.run(castle_lab_async.castle().create(until="machines_running"))
    assert (report.outcome, castle_lab_async.seed) == ("ok", 3)

def test_fails(castle_lab):
    castle_lab.castle().status()
    assert False

@pytest.mark.castle(sead=7)
def test_misspelt(castle_lab):
    pass

@pytest.mark.castle(seed=9, pace="virtual")
class TestNear:
    @pytest.mark.castle(faults=[{"backend": "proxmox", "kind": "POST qemu", "effect": "answer_lost"}])
    def test_adds(self, castle_lab):
        assert (castle_lab.seed, len(castle_lab.faults)) == (9, 1)

    @pytest.mark.castle(seed=10, project="blue")
    def test_prevails(self, castle_lab):
        assert castle_lab.seed == 10 and str(castle_lab.project.file).endswith("/blue/castle.yaml")

@pytest.fixture
def born(castle_lab):
    castle_lab.castle().status()
    raise ValueError("not born")

def test_never_begun(born):
    pass
"""


def run(folder: Path, *arguments: str) -> str:
    # Called from a folder below: paths of markers are from the root folder.
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "blue").symlink_to(BLUE)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder / "tests", capture_output=True, text=True, check=False).stdout


def test_a_project_of_others_uses_the_fixture(tmp_path: Path) -> None:
    told = run(tmp_path, f"--castle-project={BLUE}", "--castle-seed=3")
    assert "1 failed, 4 passed, 2 errors" in told, told
    # The failure and the fixture that failed.
    assert told.count("its last requests:") == 2, told
    assert "<Lab blue, seed 3" in told and "its last requests:" in told and "proxmox GET" in told
    assert "takes project=, seed=, pace= and faults=, not ['sead']" in told


def test_a_fixture_without_a_project_says_how_to_name_one(tmp_path: Path) -> None:
    told = run(tmp_path, "-k", "born")
    assert "castle_lab does not know its project" in told and "--castle-project" in told, told


def test_the_ini_file_names_the_project(castle_lab: castle_py.sync.Lab) -> None:
    assert castle_lab.project.cluster.name == "blue"
