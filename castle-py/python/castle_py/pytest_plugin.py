"""``castle_lab``: a simulated home for a test.

    @pytest.mark.castle(project="clusters/blue", seed=7, faults=[...], pace="virtual")
    def test_it_rises_again(castle_lab):
        assert castle_lab.castle().rebirth().outcome == "ok"

``castle_lab`` blocks, ``castle_lab_async`` is for asyncio. A marker of the test adds to those of its class and module;
paths are from the root folder. What no marker says comes from the ini file (``castle_project``) and from the command
line (``--castle-project``, ``--castle-seed``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import castle_py
    import castle_py.sync

_LABS = pytest.StashKey[list[Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options and the ini value."""
    group = parser.getgroup("castle")
    group.addoption("--castle-project", help="the folder of the castle.yaml that castle_lab is built for")
    group.addoption("--castle-seed", type=int, help="the seed of castle_lab (default: 1)")
    parser.addini("castle_project", "the folder of the castle.yaml that castle_lab is built for, from the root folder")


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line(
        "markers", "castle(project=, seed=, pace=, faults=): what the lab of this test is to be (castle_lab)"
    )


def _wishes(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    # From far (the module) to near (the test): what is said nearer holds, and the rest stays.
    markers = [*request.node.iter_markers("castle")][::-1]
    wishes = {name: wish for marker in markers for name, wish in marker.kwargs.items()}
    unknown = set(wishes) - {"project", "seed", "pace", "faults"}
    if unknown or any(marker.args for marker in markers):
        pytest.fail(f"pytest.mark.castle takes project=, seed=, pace= and faults=, not {sorted(unknown) or 'more'}")
    project = wishes.pop("project", None)
    if isinstance(project, (str, os.PathLike)):
        # Wherever pytest was called: a test means the same folder every time.
        project = request.config.rootpath / project
    if project is None:
        project = request.config.getoption("--castle-project")
    if project is None and (declared := request.config.getini("castle_project")):
        project = request.config.rootpath / declared
    if project is None:
        pytest.fail(
            "castle_lab does not know its project: say `@pytest.mark.castle(project=\"clusters/blue\")`, or "
            "`castle_project` in the ini file, or `--castle-project`"
        )
    seed = request.config.getoption("--castle-seed")
    if seed is not None:
        wishes.setdefault("seed", seed)
    return project, wishes


@pytest.fixture
def castle_lab(request: pytest.FixtureRequest) -> Iterator[castle_py.sync.Lab]:
    """A lab of :mod:`castle_py.sync`, new for the test and closed after it."""
    from castle_py import sync

    project, wishes = _wishes(request)
    with sync.Lab(project, **wishes) as lab:
        request.node.stash.setdefault(_LABS, []).append(lab)
        yield lab


@pytest.fixture
def castle_lab_async(request: pytest.FixtureRequest) -> Iterator[castle_py.Lab]:
    """A lab for asyncio, new for the test and closed after it."""
    import castle_py

    project, wishes = _wishes(request)
    lab = castle_py.Lab(project, **wishes)
    request.node.stash.setdefault(_LABS, []).append(lab)
    yield lab
    lab._home.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tells with a failure which home it was, and what was asked of it last."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "teardown" or not report.failed:
        return
    for lab in item.stash.get(_LABS, []):
        last = [f"{row['seconds']:8.1f} s  {row['backend']} {row['kind']} {row['entity']}: {row['status']}"
                for row in lab.journal()[-12:]]
        report.sections.append(("castle", "\n".join([repr(lab), "its last requests:", *last])))
