"""castle from Python: declare a cluster, and try it in a simulated home.

``Lab`` and ``Castle`` are for asyncio; :mod:`castle_py.sync` has the same names, and they block. Everything else is
values: they compare, they show themselves in a notebook, and ``to_dict()`` makes plain data of them.
"""

from castle_py import sync
from castle_py._castle import Cluster, Machine, MachineStatus, Plan, Project, Report, Status, __version__
from castle_py.aio import Castle, Lab, Run
from castle_py.event import Event
from castle_py.exceptions import (
    AddressInUseError,
    AlreadyExistsError,
    CancelledError,
    CastleError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    EvidenceMissingError,
    ExhaustedError,
    ForeignOwnerError,
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
    Problem,
    QuorumLostError,
    RateLimitedError,
    RefusedError,
    UnauthenticatedError,
    UnexpectedError,
    UnreachableError,
    UnsupportedError,
)
from castle_py.home import Fault
from castle_py.secret import Secret

__all__ = [
    "AddressInUseError",
    "AlreadyExistsError",
    "CancelledError",
    "Castle",
    "CastleError",
    "Cluster",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "Event",
    "EvidenceMissingError",
    "ExhaustedError",
    "Fault",
    "ForeignOwnerError",
    "InvalidSpecError",
    "Lab",
    "Machine",
    "MachineStatus",
    "NotFoundError",
    "PermissionDeniedError",
    "Plan",
    "Problem",
    "Project",
    "QuorumLostError",
    "RateLimitedError",
    "RefusedError",
    "Report",
    "Run",
    "Secret",
    "Status",
    "UnauthenticatedError",
    "UnexpectedError",
    "UnreachableError",
    "UnsupportedError",
    "__version__",
    "sync",
]
