"""castle from Python: declare a cluster, and try it in a simulated home.

What takes time is in :mod:`castle_py.sync` and blocks. Its mirror for asyncio
is not part of this version.
"""

from castle_py import sync
from castle_py._castle import Cluster, Machine, MachineStatus, Project, Report, Status, __version__
from castle_py.exceptions import CastleError, ConfigError, Problem

__all__ = [
    "CastleError",
    "Cluster",
    "ConfigError",
    "Machine",
    "MachineStatus",
    "Problem",
    "Project",
    "Report",
    "Status",
    "__version__",
    "sync",
]
