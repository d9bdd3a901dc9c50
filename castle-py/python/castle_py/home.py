"""What the async and the blocking classes have in common: all that takes no time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeAlias, TypedDict

from castle_py import _castle
from castle_py._castle import Project

__all__ = ["Fault", "Goal", "LostLife", "Milestone", "Request"]

Goal: TypeAlias = Literal["create", "handover", "rebirth", "destroy"]
"""What a run is for."""

Milestone: TypeAlias = Literal[
    "machines_running", "api_serving", "cni_ready", "nodes_ready", "handover_ready", "apps_ready"
]
"""How far a create goes."""

LostLife: TypeAlias = Literal["ask", "continue", "begin"]
"""What to do about a life that lost its machines without a tombstone."""

Fault: TypeAlias = Mapping[str, Any]
"""What goes wrong, as data: ``effect``, and which requests it hits (``backend``, ``kind``, ``entity``, ``write``,
``run``, ``index``, ``skip``, ``times``)."""


class Request(TypedDict):
    """One request, as the lab's journal has it."""

    seq: int
    seconds: float
    run: int
    backend: str
    kind: str
    entity: str
    write: bool
    status: int | None
    took: float | None
    fault: str | None


def project_of(project: Project | str | os.PathLike[str]) -> Project:
    """A project, or the one that lies in a folder."""
    return project if isinstance(project, Project) else Project.load(project)


def seconds_of(time: float | timedelta) -> float:
    """Seconds of a number or a span."""
    return time.total_seconds() if isinstance(time, timedelta) else float(time)


class LabFacts:
    """What both labs tell and take at once."""

    _home: _castle.Home

    def __init__(
        self,
        project: Project | str | os.PathLike[str],
        *,
        seed: int = 1,
        pace: str | float = "virtual",
        faults: Iterable[Fault] = (),
    ) -> None:
        """Opens the home that ``project`` was declared for, before its first machine.

        ``pace`` is ``"virtual"``, ``"real"`` or a factor such as ``"60x"`` or ``60``.
        """
        self._home = _castle.Home.lab_of(project_of(project), seed, str(pace), json.dumps([dict(f) for f in faults]))

    @property
    def project(self) -> Project:
        """The declaration that the home was built for."""
        return self._home.project

    @property
    def seed(self) -> int:
        """The seed of all chance."""
        return self._home.seed

    @property
    def pace(self) -> str:
        """How fast its time runs: ``virtual``, ``real``, ``60x``."""
        return self._home.pace

    @property
    def simulated_seconds(self) -> float:
        """The lab's time since it was opened; in virtual time, at the end of the last call."""
        return self._home.seconds

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._home.closed

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults as they stand: ``skip`` and ``times`` say what is left of them."""
        return self._home.faults

    def add_faults(self, *faults: Fault) -> None:
        """Adds faults behind the others, also while a run is held between two events."""
        self._home.add_faults(json.dumps([dict(fault) for fault in faults]))

    def journal(self) -> list[Request]:
        """Every request so far, as records for a data frame."""
        return self._home.journal()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        name = self.project.cluster.name
        pace = "" if self.pace == "virtual" else f", {self.pace}"
        return f"<Lab {name}, seed {self.seed}{pace}, {self.simulated_seconds:.1f} simulated seconds{state}>"


class CastleFacts:
    """What both castles tell at once."""

    _home: _castle.Home

    def __init__(self) -> None:
        raise TypeError("a castle is made by Lab.castle() or Castle.open()")

    @classmethod
    def _in(cls, home: _castle.Home) -> Any:
        castle = object.__new__(cls)
        castle._home = home
        return castle

    @property
    def project(self) -> Project:
        """Its declaration."""
        return self._home.project

    def __repr__(self) -> str:
        return f"<Castle {self.project.cluster.name}>"


def open_house(project: Project | str | os.PathLike[str], options: str | os.PathLike[str]) -> _castle.Home:
    """The home behind an option document."""
    return _castle.Home.house(project_of(project), options)


def course_of(
    home: _castle.Home,
    goal: Goal,
    *,
    until: Milestone | None = None,
    lost_life: LostLife = "ask",
    replaces: int | None = None,
    abandon: bool = False,
    waive_data: str | None = None,
    confirm: str | None = None,
) -> _castle.Course:
    """A run that begins when it is asked for."""
    return home.course(
        goal,
        until=until,
        lost_life=lost_life,
        replaces=replaces,
        abandon=abandon,
        waive_data=waive_data,
        confirm=confirm,
    )
