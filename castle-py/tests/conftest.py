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


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that keeps the machine busy for seconds: many hosts, many workers."""
    hosts, workers_each = 12, 12
    lines = [line for line in (BLUE / "castle.yaml").read_text(encoding="utf-8").splitlines() if "blue-wk" not in line]
    workers = []
    for host in range(hosts):
        for place in range(workers_each):
            number = host * workers_each + place
            name, address = f"wk-{number}", f"10.0.{1 + number // 200}.{1 + number % 200}"
            workers.append(f"  - {{name: {name}, vmid: {1000 + number}, address: {address}, host: pve-{host}}}")
    text = "\n".join([*lines[: lines.index("workers:") + 1], *workers])
    budgets = ", ".join(f"pve-{host}: {{memory: 64GiB}}" for host in range(hosts))
    changes = {
        "hosts: {pve: {memory: 32GiB, reserve: 4GiB}}": f"hosts: {{{budgets}}}",
        "host: pve}": "host: pve-0}",
        "memory: 8GiB": "memory: 2GiB",
        "192.168.1.0/24": "10.0.0.0/16",
        "192.168.1.": "10.0.0.",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    file = tmp_path_factory.mktemp("street") / "castle.yaml"
    file.write_text(text, encoding="utf-8")
    return Project.load(file)
