"""What castle raises: one tree. Every exception can be pickled.

A run that fails or is refused raises nothing by itself: it gives a report, whose
``raise_for_outcome()`` raises one of these with the report in ``report``. What
cannot even begin (a wrong declaration, a host that does not answer, a call to a
closed lab) raises at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from castle_py._castle import Report

__all__ = [
    "AddressInUseError",
    "AlreadyExistsError",
    "CancelledError",
    "CastleError",
    "ConfigError",
    "ConflictError",
    "DeadlineExceededError",
    "EvidenceMissingError",
    "ExhaustedError",
    "ForeignOwnerError",
    "InvalidSpecError",
    "NotFoundError",
    "PermissionDeniedError",
    "Problem",
    "QuorumLostError",
    "RateLimitedError",
    "RefusedError",
    "UnauthenticatedError",
    "UnexpectedError",
    "UnreachableError",
    "UnsupportedError",
    "error_of",
]


class Problem(NamedTuple):
    """One thing that is wrong, where it is, and what can be done about it."""

    code: str
    """A stable name in kebab case, for scripts."""
    severity: Literal["error", "warning"]
    """An error refuses the plan; a warning is only told."""
    subject: str
    """What it is about: a path in the declaration, a machine, a host."""
    message: str
    """What is wrong, in one sentence."""
    hint: str | None = None
    """One action, or the exact command for the administrator."""
    line: int | None = None
    """Where the declaration says it, counted from 1."""
    column: int | None = None
    """The same, in characters."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.message}"


class CastleError(Exception):
    """castle could not do what was asked.

    ``code`` is the stable name of the kind (``not_found``, ``unreachable``,
    ``deadline_exceeded``, ...), ``retryable`` says whether trying again can
    help, ``context`` says where it happened. ``step`` and ``resource`` are what
    the context says about the step of the run and the thing that it was about.
    ``report`` is the report of the run that failed, if a run did.
    """

    kind: ClassVar[str | None] = None
    """The code whose errors are of this class."""

    report: Report | None = None

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        retryable: bool = False,
        context: Mapping[str, str] | None = None,
    ) -> None:
        # What is given to the base class is what pickling gives back to us.
        super().__init__(code, message, hint, retryable, context)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.context = dict(context or {})

    @property
    def step(self) -> str | None:
        """The step of the run in which it happened: ``node/blue-cp-01/configure``."""
        return self.context.get("step")

    @property
    def resource(self) -> str | None:
        """What it was about: a machine, a node, an object, a host."""
        names = ("machine", "node", "member", "object", "item", "secret", "host", "url", "file", "cluster")
        return next((self.context[name] for name in names if name in self.context), None)

    def __str__(self) -> str:
        where = "".join(f"\n  {key}: {value}" for key, value in self.context.items())
        way_out = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.message} [{self.code}]{where}{way_out}"

    def __reduce__(self) -> tuple[Any, ...]:
        # A report is of the native half and stays behind.
        kept = {name: value for name, value in self.__dict__.items() if name != "report"}
        return type(self), self.args, kept


class NotFoundError(CastleError):
    """The thing asked for does not exist."""

    kind = "not_found"


class AlreadyExistsError(CastleError):
    """The thing to be made exists and is not what was wanted."""

    kind = "already_exists"


class ConflictError(CastleError):
    """Somebody else changed it, or holds it, right now: also a lab that is at work."""

    kind = "conflict"


class UnauthenticatedError(CastleError):
    """The backend does not know who we are."""

    kind = "unauthenticated"


class PermissionDeniedError(CastleError):
    """The backend knows us and says no."""

    kind = "permission_denied"


class UnreachableError(CastleError):
    """No answer, or an answer from something that is not the backend."""

    kind = "unreachable"


class RateLimitedError(CastleError):
    """The backend asks us to slow down, or lacks the room to serve."""

    kind = "rate_limited"


class DeadlineExceededError(CastleError):
    """A condition was not met in its time; the message carries the last reason."""

    kind = "deadline_exceeded"


class CancelledError(CastleError):
    """The caller asked to stop. Not asyncio's, which a cancelled task raises."""

    kind = "cancelled"


class QuorumLostError(CastleError):
    """The act would cost, or has cost, the quorum of etcd."""

    kind = "quorum_lost"


class AddressInUseError(CastleError):
    """An address or a machine id is taken by somebody else."""

    kind = "address_in_use"


class InvalidSpecError(CastleError):
    """The declaration, or what was asked, is wrong."""

    kind = "invalid_spec"


class UnsupportedError(CastleError):
    """The backend, or this lab, cannot do this; the hint says what can."""

    kind = "unsupported"


class ForeignOwnerError(CastleError):
    """The thing is not ours, so it is not touched."""

    kind = "foreign_owner"


class EvidenceMissingError(CastleError):
    """Proof is missing that the act is safe."""

    kind = "evidence_missing"


class ExhaustedError(CastleError):
    """The backend has no room: storage or memory."""

    kind = "exhausted"


class UnexpectedError(CastleError):
    """Anything else."""

    kind = "unexpected"


class RefusedError(CastleError):
    """A guard refused the run: nothing was done against it. ``report.problems`` say why."""

    kind = "refused"


class ConfigError(InvalidSpecError):
    """A declaration is wrong. ``problems`` has everything that was found.

    ``snippet`` is the line of the first error as it stands in ``file``, with a
    mark under the place.
    """

    def __init__(self, problems: Sequence[Problem], file: str, snippet: str | None = None) -> None:
        errors = [problem for problem in problems if problem.severity == "error"]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        hint = next((problem.hint for problem in errors if problem.hint), None)
        super().__init__("invalid_spec", f"{file} is not a valid declaration: {count}", hint)
        self.args = (list(problems), file, snippet)
        self.problems = list(problems)
        self.file = file
        self.snippet = snippet

    @property
    def resource(self) -> str | None:
        """The file."""
        return self.file

    def __str__(self) -> str:
        lines = [f"{self.message} [{self.code}]"]
        for problem in self.problems:
            place = f"{problem.line}:{problem.column}: " if problem.line else ""
            lines.append(f"  {place}{problem.severity}[{problem.code}]: {problem}")
            if problem.hint:
                lines.append(f"      {problem.hint}")
        if self.snippet:
            lines.append(self.snippet)
        return "\n".join(lines)


_CLASSES = {known.kind: known for known in CastleError.__subclasses__() if known.kind}


def error_of(
    code: str,
    message: str,
    hint: str | None = None,
    retryable: bool = False,
    context: Mapping[str, str] | None = None,
) -> CastleError:
    """The exception for a code: of its class, or of the base class for a code that is newer than this text."""
    return _CLASSES.get(code, CastleError)(code, message, hint, retryable, context)
