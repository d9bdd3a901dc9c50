"""The package: its display, its stubs, its documents."""

import contextlib
import importlib.metadata
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from conftest import ROOT

import castle_py
from castle_py import Project, sync


class Balanced(HTMLParser):
    """Fails for a tag that is not closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(html: str) -> str:
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    # Nothing from outside: whoever reads it reads it without a network.
    assert not re.search(r"<script|<link|<img|\ssrc=|\shref=|url\(|@import", html)
    return parser.text


def test_a_notebook_shows_project_status_and_timeline(blue: Project) -> None:
    with sync.Lab(blue) as lab:
        assert "no life yet" in text_of(lab.castle().status()._repr_html_())
        report = lab.castle().create()
        told = text_of(report._repr_html_())
        assert all(step["id"] in told for step in report.steps)
        assert f"create ok: {report.simulated_seconds:.1f} s" in told
        assert report._repr_html_().count('castle-bar-hot"') == len(report.critical_path)
        told = text_of(lab.castle().status()._repr_html_())
        assert "life 1, whole" in told and told.count("running") == 3
        assert "27 steps" not in text_of(lab.castle().plan()._repr_html_())
        told = text_of(lab.castle().plan("rebirth")._repr_html_())
        assert "plan to rebirth: Plan: 3 to add" in told and all(machine.name in told for machine in blue.machines)
        assert "nothing had to be done" in text_of(lab.castle().create()._repr_html_())
    assert all(machine.name in text_of(blue._repr_html_()) for machine in blue.machines)


@pytest.mark.parametrize("page", ["README.md", "castle-py/README.md"])
def test_the_readme_runs_as_it_stands(page: str) -> None:
    readme = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```\n+It prints:\n\n```text\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == readme.count("```python") > 0
    for code, expected in blocks:
        output = io.StringIO()
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(output):
            exec(compile(code, "README.md", "exec"), {})  # noqa: S102
        # Seconds move with every duration that the lab learns; what was asked and written does not.
        same = [re.sub(r"\d+\.\d s\b", "N s", told) for told in (output.getvalue(), expected)]
        assert same[0] == same[1], f"{page} should say:\n{output.getvalue()}"


def test_the_distribution_has_the_version_of_castle() -> None:
    assert importlib.metadata.version("castle-py") == castle_py.__version__


# Each knows the settings of the package, so none leaves its cache among the sources.
CHECKS = {
    "stubs": ["mypy.stubtest", "castle_py", "--mypy-config-file", "pyproject.toml", "--allowlist", "stubtest.allow"],
    "package": ["mypy", "-p", "castle_py"],
    "tests": ["mypy", "tests"],
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_types(check: list[str]) -> None:
    folder = ROOT / "castle-py"
    done = subprocess.run([sys.executable, "-m", *check], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
