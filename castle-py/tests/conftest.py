"""What every test begins with."""

from pathlib import Path

import pytest

from castle_py import Project

ROOT = Path(__file__).resolve().parents[2]
BLUE = ROOT / "examples" / "projects" / "blue" / "proxmox"


@pytest.fixture(scope="session")
def blue() -> Project:
    """The project of the README: one control plane and two workers."""
    return Project.load(BLUE)


@pytest.fixture
def blue_text() -> str:
    """Its declaration, to be spoiled."""
    return (BLUE / "castle.yaml").read_text(encoding="utf-8")
