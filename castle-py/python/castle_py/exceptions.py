"""What castle raises. Every exception can be pickled."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

__all__ = ["CastleError", "ConfigError", "Problem"]


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
    help, ``context`` says where it happened.
    """

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

    def __str__(self) -> str:
        where = "".join(f"\n  {key}: {value}" for key, value in self.context.items())
        way_out = f"\n  hint: {self.hint}" if self.hint else ""
        return f"{self.message} [{self.code}]{where}{way_out}"


class ConfigError(CastleError):
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
