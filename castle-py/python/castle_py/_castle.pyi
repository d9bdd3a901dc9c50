"""The native half of the package."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, final

from castle_py.exceptions import CastleError, Problem
from castle_py.home import Request

__all__ = [
    "Cluster",
    "Course",
    "Home",
    "Machine",
    "MachineStatus",
    "Plan",
    "Project",
    "Report",
    "Status",
    "Task",
    "__version__",
    "error_codes",
    "in_python",
]

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

class _StepRecord(_Step):
    goal: str
    seconds: float

class _Change(TypedDict):
    symbol: Literal["+", "~", "-", "-/+"]
    subject: str
    disruption: Literal["none", "replace-node", "removal"]
    detail: str

class _PlannedStep(TypedDict):
    id: str
    needs: list[str]
    limit: str | None
    deadline: float
    because: str
    action: Any

class _Node(TypedDict):
    name: str
    ready: bool
    why_not: str | None

class _Machine(TypedDict):
    name: str
    id: int
    host: str
    address: str
    state: str
    standing: str | None
    uuid: str | None

def error_codes() -> list[str]:
    """The stable names of all kinds of errors; each has a class of its own in ``castle_py``."""

def in_python(text: str) -> str:
    """A hint in Python's words: flags of the command line as keywords."""

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
    def goal(self) -> Literal["create", "handover", "rebirth", "destroy"]:
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
        """Raises ``error`` (with this report as its ``report``), or gives the report back."""
    def records(self) -> list[_StepRecord]:
        """The steps as rows for a data frame: as ``steps``, with ``goal`` and ``seconds``."""
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
    def life_state(self) -> Literal["being born", "whole", "ended", "without its secrets"] | None:
        """How far that life is."""
    @property
    def machines(self) -> list[MachineStatus]:
        """The declared machines, in the order of the declaration."""
    @property
    def nodes(self) -> list[_Node]:
        """The nodes as the Kubernetes API shows them; empty while nobody could be asked."""
    @property
    def handover(self) -> dict[str, Any] | None:
        """How far the handover is: ``handed_over``, ``why_not``, ``items``, ``webhooks``, ...

        ``None`` while nobody could be asked.
        """
    @property
    def answered(self) -> list[str]:
        """The declared probes that were answered."""
    @property
    def unknown(self) -> dict[str, str]:
        """The parts that did not answer, and why: ``lives``, ``machines``, ``nodes``, ``handover``, ``project key``,
        ``secrets``.

        What is not known is never shown as absent.
        """
    @property
    def requests(self) -> dict[str, _Requests]:
        """What looking cost, for each backend."""
    def records(self) -> list[_Machine]:
        """The machines as rows for a data frame."""
    def to_dict(self) -> dict[str, Any]:
        """The status as a dictionary that JSON can hold."""
    def _repr_html_(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class Plan:
    """What should happen for a goal. Nothing was done for it; its text is a diff."""

    @property
    def goal(self) -> Literal["create", "handover", "rebirth", "destroy"]:
        """What it is for."""
    @property
    def life(self) -> int | None:
        """The life that it concerns, if any."""
    @property
    def is_done(self) -> bool:
        """Whether the world already is as wanted."""
    @property
    def is_refused(self) -> bool:
        """Whether a problem refuses it."""
    @property
    def summary(self) -> str:
        """One line: how many things are added, changed, destroyed."""
    @property
    def changes(self) -> list[_Change]:
        """The differences, as records."""
    def records(self) -> list[_PlannedStep]:
        """The steps as rows for a data frame, those first that others wait for."""
    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong or worth knowing."""
    @property
    def requests(self) -> dict[str, _Requests]:
        """What looking cost, for each backend."""
    def to_dict(self) -> dict[str, Any]:
        """The plan as a dictionary that JSON can hold."""
    def _repr_html_(self) -> str: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

# What follows is for `castle_py.aio` and `castle_py.sync`, which are what programs use.

@final
class Task:
    """Work under way on a home's thread. It goes on whether or not somebody waits."""

    def when_done(self, listener: Callable[[], object]) -> None:
        """Calls ``listener()`` once it is over, on another thread; at once if it is."""
    def wait(self, interrupted: Callable[[], object] | None = None) -> None:
        """Blocks until it is over. Ctrl-C drops the work, and is raised; so does what ``interrupted()`` raises."""
    def cancel(self) -> None:
        """Drops the work as a power cut would, and waits until it is gone."""
    def result(self) -> Any:
        """The result, once: raises what the work failed with."""

@final
class Course:
    """A run, driven step by step."""

    @property
    def goal(self) -> str:
        """What it is for."""
    def next_event(self) -> Task:
        """The next event as a dictionary; ``None`` once it has ended."""
    def report(self) -> Task:
        """The report, once it has ended; the run goes on until then."""
    def close(self) -> None:
        """Drops the run, as a power cut would. One that has ended keeps its report."""

@final
class Home:
    """A home in which a castle can stand, and the thread it lives on."""

    @staticmethod
    def lab_of(project: Project, seed: int, pace: str, faults: str) -> Home:
        """A lab around the home that the project was declared for. ``faults`` is JSON."""
    @staticmethod
    def house(project: Project, options: str | PathLike[str]) -> Home:
        """A house, or a lab that another process serves, behind an option document."""
    @property
    def project(self) -> Project:
        """The declaration."""
    @property
    def seed(self) -> int:
        """The seed of all chance."""
    @property
    def pace(self) -> str:
        """How fast its time runs."""
    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    @property
    def seconds(self) -> float:
        """The lab's time since it was opened."""
    def plan(
        self,
        goal: str,
        *,
        until: str | None,
        lost_life: str,
        replaces: int | None,
        abandon: bool,
        waive_data: str | None,
        waive_ownership: dict[int, str],
    ) -> Task:
        """Looks, and decides what ``goal`` needs."""
    def check(self) -> Task:
        """Looks for everything that would stop the first create."""
    def status(self) -> Task:
        """Looks, and changes nothing."""
    def course(
        self,
        goal: str,
        *,
        until: str | None,
        lost_life: str,
        replaces: int | None,
        abandon: bool,
        waive_data: str | None,
        waive_ownership: dict[int, str],
        confirm: str | None,
    ) -> Course:
        """A run that begins when it is asked for."""
    def credential(self, which: str) -> Task:
        """A kubeconfig or a talosconfig, with the addresses at which it is served."""
    def serve(self, folder: str | PathLike[str]) -> Task:
        """Writes the option document of a lab for other processes."""
    def advance(self, seconds: float) -> Task:
        """Moves virtual time by hand."""
    def add_faults(self, faults: str) -> None:
        """Adds faults, a list in JSON."""
    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults as they stand."""
    def journal(self) -> list[Request]:
        """Every request so far."""
    def delay_webhook(self, namespace: str, service: str, seconds: float) -> Task:
        """Lets the webhook behind a service answer later than its pod is ready."""
    def webhook_answers_since(self, namespace: str, service: str) -> Task:
        """Since when it truly answers, in the lab's seconds."""
    def close(self) -> None:
        """Ends it and its thread. Closing twice is once."""
