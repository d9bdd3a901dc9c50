"""The notebooks run as they stand, and lie in the repository without outputs."""

import json
import re
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first_castle", "hundred_rebirths"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_lies_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "castle-py" / "README.md"], ids=lambda path: path.stem)
def test_what_to_install_is_said_and_is_enough(path: Path) -> None:
    assert "pip install './castle-py[notebook]'" in path.read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "castle-py" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {re.split(r"\W", wanted)[0] for wanted in extras["notebook"]}
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        used = {name.partition(".")[0] for name in re.findall(r"^import (\S+)", code, re.MULTILINE)}
        used |= {"jinja2"} if ".style" in code else set()
        assert "jinja2" in used and used <= brought | set(sys.stdlib_module_names) | {"castle_py"}, used


def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the notebook shows: each output as text and as HTML."""
    for needed in ("nbclient", "ipykernel", "pandas", "matplotlib"):
        pytest.importorskip(needed, reason=f"the notebooks need {needed}: pip install './castle-py[test]'")
    import nbclient
    import nbformat

    monkeypatch.setenv("SEEDS", "3")
    monkeypatch.setenv("IPYTHONDIR", "/nonexistent")  # nobody's own start files
    book: Any = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the client are not ours
        nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = []
    for cell in book.cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "stream" or output["name"] == "stdout", output["text"]
            data = output.get("data", {})
            shown += [output.get("text", ""), *(data.get(kind, "") for kind in ("text/plain", "text/html"))]
            shown += [f"<{kind}>" for kind in data]
    return "\n".join(shown)


def test_the_first_castle(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(NOTEBOOKS[0], monkeypatch)
    assert shown.count('<div class="castle">') == 5
    assert "plan to create: Plan: 3 to add" in shown and "create ok:" in shown and "rebirth ok:" in shown
    assert "handover: complete" in shown
    # The race: refused first, and asked again within a second of the truth.
    assert "connection refused" in shown and "webhook.metallb.io answers now" in shown
    assert (found := re.search(r"answers since ([\d.]+) s; castle asked Flux to go on at ([\d.]+) s", shown))
    assert 0 <= float(found[2]) - float(found[1]) < 1
    assert re.search(r"cut:\s+<Status blue: life \d", shown) and "finished: ok" in shown
    assert re.search(r"now:\s+<Status blue: life 3 whole", shown)


def test_a_hundred_rebirths_are_three_here(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(NOTEBOOKS[1], monkeypatch)
    assert re.search(r"\b3 rebirths, 0\.[1-9] hours", shown)
    assert "the whole rebirth" in shown and "p95" in shown and "<image/png>" in shown
