"""What a witness counts."""

from __future__ import annotations

import sys


class Tally:
    """Counts what holds."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def check(self, name: str, holds: bool, seen: object = None) -> None:
        """Counts a claim, and tells what was seen if it does not hold."""
        if holds:
            self.passed += 1
        else:
            self.failed += 1
            print(f"  {name}: {seen!r}", file=sys.stderr)

    def skip(self, name: str, why: str) -> None:
        """Counts what cannot be asked here."""
        self.skipped += 1
        print(f"  skipped: {name}: {why}", file=sys.stderr)

    def told(self, name: str, seconds: float) -> int:
        """Prints the count; returns the exit code."""
        counts = f"passed={self.passed} failed={self.failed} skipped={self.skipped}"
        print(f"witness {name} {counts} seconds={seconds:.1f}")
        return 1 if self.failed else 0
