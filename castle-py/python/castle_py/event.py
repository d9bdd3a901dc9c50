"""What happens in a run, as it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Event"]


class Event(NamedTuple):
    """One event of a run."""

    seq: int
    """Its number in the run, from 0."""
    seconds: float
    """When, in castle's time since the run began."""
    kind: str
    """``round_started``, ``planned``, ``step_started``, ``step_waiting``, ``step_ended``,
    ``round_failed``, ``nudged``, ``milestone`` or ``notice``."""
    data: Mapping[str, Any]
    """What belongs to the kind: ``step`` and ``why``, ``name``, ``outcome``, ``text``, ..."""

    @property
    def step(self) -> str | None:
        """The step that it is about, if it is about one."""
        return self.data.get("step")

    def to_dict(self) -> dict[str, Any]:
        """The same as one flat dictionary, a row of a table."""
        return {"seq": self.seq, "seconds": self.seconds, "kind": self.kind, **self.data}

    def __str__(self) -> str:
        names = ("step", "item", "name", "outcome", "why", "because", "text", "reason")
        said = [str(self.data[name]) for name in names if self.data.get(name)]
        return f"{self.seconds:8.1f} s  {self.kind.replace('_', ' ')}: {': '.join(said)}"


def event_of(raw: Mapping[str, Any]) -> Event:
    """The event that the native half gives as a dictionary."""
    data = {name: value for name, value in raw.items() if name not in ("seq", "at_ms", "type")}
    return Event(raw["seq"], raw["at_ms"] / 1000, raw["type"], data)
