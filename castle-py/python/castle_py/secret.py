"""Texts that are shown only to who asks for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn, final

__all__ = ["Secret"]


@final
class Secret:
    """A secret text: a kubeconfig, a talosconfig.

    It is in no ``repr``, no traceback and no pickle. ``reveal()`` shows it,
    ``write()`` puts it into a private file.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str, /) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Writes it into a file that only its owner may read, whole or not at all."""
        path = Path(path)
        fresh = path.with_name(f"{path.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(self._text)
        return fresh.replace(path)

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: write it into a file of its own")
