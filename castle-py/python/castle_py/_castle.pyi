"""The native half of the package."""

from ipaddress import IPv4Address, IPv6Address
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, final

from castle_py.exceptions import CastleError, Problem

__all__ = ["Cluster", "Lab", "Machine", "MachineStatus", "Project", "Report", "Status", "__version__"]

__version__: str
"""The version of castle that this was built from."""

# What `Report.requests` and `Report.steps` hold; the module itself has no such names.
class _Requests(TypedDict):
    read: int
    write: int

class _Step(TypedDict):
    id: str
    start: float
    end: float
    outcome: Literal["done", "skipped", "failed", "cancelled"]
    critical: bool
    waits: list[str]

@final
class Cluster:
    """Names and versions of a cluster. Equal if all of them are."""

    def __new__(cls, *, name: str, talos: str, kubernetes: str, contract: str) -> Self: ...
    @property
    def name(self) -> str:
        """The cluster's name."""
    @property
    def talos(self) -> str:
        """The Talos release, with its ``v``: ``v1.13.9``."""
    @property
    def kubernetes(self) -> str:
        """The Kubernetes release, with its ``v``."""
    @property
    def contract(self) -> str:
        """The version contract of the machine configuration: ``1.13``."""
    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary that JSON can hold."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Machine:
    """One declared machine, with the defaults of its project applied.

    Equal if everything is; its ``repr`` can be pasted back.
    """

    def __new__(
        cls,
        *,
        name: str,
        role: Literal["control-plane", "worker"],
        id: int,
        host: str,
        address: IPv4Address | IPv6Address | str,
        memory_bytes: int,
        cores: int,
    ) -> Self:
        """Makes one by hand. Raises ``ValueError`` for another role or what is no address."""
    @property
    def name(self) -> str:
        """The node's name."""
    @property
    def role(self) -> Literal["control-plane", "worker"]:
        """What the node is for."""
    @property
    def id(self) -> int:
        """The hypervisor's number of it."""
    @property
    def host(self) -> str:
        """The host it runs on."""
    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The node's own address."""
    @property
    def memory_bytes(self) -> int:
        """Its memory."""
    @property
    def cores(self) -> int:
        """Its virtual CPUs."""
    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary that JSON can hold."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Project:
    """A cluster as declared in a ``castle.yaml``, read and found good.

    Two projects are equal if they declare the same, wherever it was read. A
    project holds no secrets and reaches nothing.
    """

    @staticmethod
    def load(path: str | PathLike[str], /) -> Project:
        """Reads a declaration: a file, or the folder that holds ``castle.yaml``.

        Raises ``ConfigError`` with everything that is wrong and where, and
        ``CastleError`` if the file cannot be read.
        """
    @property
    def project(self) -> str:
        """The project's name; marks and secrets are kept apart by it."""
    @property
    def cluster(self) -> Cluster:
        """Names and versions of the cluster."""
    @property
    def machines(self) -> list[Machine]:
        """The machines: control planes in their order, then workers."""
    @property
    def warnings(self) -> list[Problem]:
        """Findings that refuse nothing."""
    @property
    def file(self) -> Path:
        """The file that was read."""
    def to_dict(self) -> dict[str, Any]:
        """The declaration as a dictionary that JSON can hold."""
    def _repr_html_(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Report:
    """What a run came to, what it cost, and where the time went.

    A run that did not reach its goal has a report too: ask ``outcome``, or
    call :meth:`raise_for_outcome`.
    """

    @property
    def goal(self) -> Literal["create", "destroy"]:
        """What the run was for."""
    @property
    def outcome(self) -> Literal["ok", "failed", "refused", "cancelled"]:
        """How it ended. ``refused``: a guard said no, ``problems`` say why."""
    @property
    def simulated_seconds(self) -> float:
        """How long it took in the lab's time."""
    @property
    def ideal_seconds(self) -> float | None:
        """The shortest time that the lab's physics allow, computed before the run.

        ``None`` where it says nothing: something stood already, or was gone.
        Beyond eight machines on one storage it is a lower bound.
        """
    @property
    def requests(self) -> dict[str, _Requests]:
        """Requests of each backend: how many only read, how many may have written."""
    @property
    def milestones(self) -> dict[str, float]:
        """When each milestone was reached, in seconds since the run began."""
    @property
    def steps(self) -> list[_Step]:
        """The steps in the order they began, as records for a data frame.

        ``start`` and ``end`` are seconds since the run began.
        """
    @property
    def critical_path(self) -> list[str]:
        """The chain of steps that decided how long it took, first to last."""
    @property
    def problems(self) -> list[Problem]:
        """What was found on the way."""
    @property
    def left(self) -> list[str]:
        """Steps that remain to be done; the next run goes on with them."""
    @property
    def rounds(self) -> int:
        """How often castle looked, planned and ran."""
    @property
    def error(self) -> CastleError | None:
        """Why the goal was not reached; ``None`` if it was."""
    def raise_for_outcome(self) -> Report:
        """Raises ``error`` if there is one, and else gives the report back."""
    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary that JSON can hold."""
    def _repr_html_(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class MachineStatus:
    """One declared machine as the hypervisor shows it."""

    @property
    def name(self) -> str:
        """The node's name."""
    @property
    def id(self) -> int:
        """The hypervisor's number of it."""
    @property
    def host(self) -> str:
        """The host it is declared for."""
    @property
    def address(self) -> IPv4Address | IPv6Address:
        """The node's own address."""
    @property
    def state(self) -> Literal["absent", "running", "stopped", "hidden", "unknown"]:
        """``hidden``: its number is taken by a machine that the token may not see."""
    @property
    def standing(self) -> str | None:
        """Whose it is and how that is known, or why nothing is known."""
    @property
    def uuid(self) -> str | None:
        """Its SMBIOS uuid."""
    def to_dict(self) -> dict[str, Any]:
        """The same as a dictionary that JSON can hold."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Status:
    """What stands. Nothing of it was remembered: it was all asked for."""

    @property
    def cluster(self) -> str:
        """The cluster's name."""
    @property
    def life(self) -> int | None:
        """The number of the newest life; ``None`` before the first."""
    @property
    def life_state(self) -> Literal["being born", "whole", "ended"] | None:
        """How far that life is."""
    @property
    def machines(self) -> list[MachineStatus]:
        """The declared machines, in the order of the declaration."""
    @property
    def unknown(self) -> dict[str, str]:
        """The parts that did not answer (``lives``, ``machines``), and why.

        What is not known is never shown as absent.
        """
    @property
    def requests(self) -> dict[str, _Requests]:
        """What looking cost, for each backend."""
    def to_dict(self) -> dict[str, Any]:
        """The status as a dictionary that JSON can hold."""
    def _repr_html_(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Lab:
    """A simulated home in virtual time, and the castle of one project in it.

    The home lives on a thread of its own and stands still between calls. Each
    call is a new engine that knows nothing of the earlier ones: what it finds,
    it finds by looking. One seed is one history.

    Other threads run while a call works; a second call to the same lab is
    refused meanwhile (``conflict``). Ctrl-C ends a call within 0.3 s, as a
    power cut would; the next call goes on with what it finds.

    >>> with Lab(project, seed=7) as lab:
    ...     report = lab.create().raise_for_outcome()
    """

    def __new__(cls, project: Project, *, seed: int = 1) -> Self:
        """Opens the home that ``project`` was declared for, before its first machine."""
    @property
    def project(self) -> Project:
        """The declaration that the home was built for."""
    @property
    def seed(self) -> int:
        """The seed of all chance."""
    @property
    def simulated_seconds(self) -> float:
        """The lab's time at the end of the last call, since it was opened."""
    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    def create(self) -> Report:
        """Brings the declared machines to life, from whatever is there."""
    def destroy(self) -> Report:
        """Removes every machine that is provably the castle's."""
    def status(self) -> Status:
        """Looks, and changes nothing."""
    def close(self) -> None:
        """Ends the lab and its thread; the home is lost. Closing twice is once."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
