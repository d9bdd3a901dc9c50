"""What the async and the blocking classes have in common: all that takes no time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Required, TypeAlias, TypedDict

from castle_py import _castle
from castle_py._castle import Project
from castle_py.exceptions import InvalidSpecError

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["Fault", "Goal", "LostLife", "Milestone", "Request"]

Goal: TypeAlias = Literal["create", "handover", "rebirth", "destroy"]
"""What a run is for."""

Milestone: TypeAlias = Literal[
    "machines_running", "api_serving", "cni_ready", "nodes_ready", "handover_ready", "apps_ready"
]
"""How far a create goes."""

LostLife: TypeAlias = Literal["ask", "continue", "begin"]
"""What to do about a life that lost its machines without a tombstone."""


class _Status(TypedDict, total=False):
    status: Required[int]
    reason: str
    body: str
    after: bool


class _Delay(TypedDict):
    seconds: float | timedelta


class _Cut(TypedDict):
    after: bool


class _StatusEffect(TypedDict):
    status: _Status


class _DelayEffect(TypedDict):
    delay: _Delay


class _CutEffect(TypedDict):
    cut: _Cut


class Fault(TypedDict, total=False):
    """What goes wrong, as data: an effect, and which requests it hits. What is not said matches every request."""

    effect: Required[
        Literal["stall", "reset_before", "reset_after", "answer_lost"] | _StatusEffect | _DelayEffect | _CutEffect
    ]
    """``{"status": {"status": 500}}`` answers so, ``{"delay": {"seconds": 30}}`` takes longer, ``answer_lost`` does
    what was asked and says nothing, ``{"cut": {"after": False}}`` cuts the power of the run."""
    backend: Literal["git", "infisical", "kubernetes", "proxmox", "secrets", "talos", "web"]
    """The server."""
    kind: str
    """As the journal has it: ``POST qemu``; a ``*`` at the end matches all that begin so."""
    entity: str
    """What the request is about, as the journal has it."""
    write: bool
    """Only those that may change the world, or only those that cannot."""
    run: int
    """Only those of this run."""
    index: int
    """Only the request with this place among its run's, from 0."""
    skip: int
    """How many pass unharmed first."""
    times: int
    """How many are hit then; 1 if not said."""


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
    if isinstance(time, timedelta):
        return time.total_seconds()
    if isinstance(time, bool) or not hasattr(time, "__float__"):
        raise _wrong(f"{time!r} is no span of time", "give a number of seconds, or a datetime.timedelta")
    return float(time)


def seed_of(seed: int) -> int:
    """A seed, if it is one."""
    if isinstance(seed, int) and not 0 <= seed < 2**64:
        raise _wrong(f"seed {seed} is out of range", "give a whole number from 0 to 2**64 - 1")
    return seed


def faults_of(faults: Iterable[Fault]) -> str:
    """Faults as the native half takes them: a list in JSON."""
    hint = "a fault is a dictionary: faults=[{...}, {...}], add_faults({...}, {...})"
    if isinstance(faults, (str, bytes, Mapping)) or not isinstance(faults, Iterable):
        raise _wrong(f"faults: a list is wanted, and this is a {type(faults).__name__}", hint)
    given = list(faults)
    for place, fault in enumerate(given, 1):
        if not isinstance(fault, Mapping):
            raise _wrong(f"fault {place}: a dictionary is wanted, and this is a {type(fault).__name__}", hint)

    def plain(value: object) -> object:
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, Mapping):
            return dict(value)
        raise TypeError(f"{value!r} is no plain value")

    try:
        return json.dumps(given, default=plain, allow_nan=False)
    except TypeError as error:
        raise _wrong(f"faults: {error}", "a fault is made of texts, numbers, True and False") from None
    except ValueError:
        raise _wrong("faults: a number among them is not finite", "give seconds such as 30 or 0.5") from None


def waivers_of(waive_ownership: Mapping[int, str | UUID] | None) -> dict[int, str]:
    """Machines that are the castle's by the caller's word: number and uuid."""
    if waive_ownership is None:
        return {}
    try:
        return {int(vmid): str(uuid) for vmid, uuid in waive_ownership.items()}
    except (AttributeError, ValueError, TypeError):
        told = f"waive_ownership: {waive_ownership!r} is no mapping of numbers of machines to their uuids"
        raise _wrong(told, 'give {421: "its uuid"}, as status() and the hypervisor show it') from None


def _wrong(told: str, hint: str) -> InvalidSpecError:
    return InvalidSpecError("invalid_spec", told, hint)


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
        self._home = _castle.Home.lab_of(project_of(project), seed_of(seed), str(pace), faults_of(faults))

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
        self._home.add_faults(faults_of(faults))

    def journal(self) -> list[Request]:
        """Every request so far, as records for a data frame."""
        return self._home.journal()

    def __repr__(self) -> str:
        # A debugger shows also what `__init__` refused.
        if not hasattr(self, "_home"):
            return "<Lab, never opened>"
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
    waive_ownership: Mapping[int, str | UUID] | None = None,
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
        waive_ownership=waivers_of(waive_ownership),
        confirm=confirm,
    )
