"""Files that are written after a long look: where they cannot be is to be known before."""

from __future__ import annotations

import os
from pathlib import Path

from servekit.admin.client import AdminError


def writable(name: str, *, replaced: bool = False) -> Path:
    """Return the path of a file that can be written; `replaced` by another of its folder.

    Raises:
        AdminError: Its folder is not there, or may not be written to.
    """
    folder = os.path.dirname(os.path.abspath(name))  # noqa: PTH100, PTH120 - as the next
    is_there = os.path.exists(name)  # noqa: PTH110 - which asks and never raises
    if not os.path.isdir(folder):  # noqa: PTH112 - as above
        raise AdminError(f"{name} cannot be written: there is no folder {folder}")
    asked = name if is_there and not replaced else folder
    if os.path.isdir(name) or not os.access(asked, os.W_OK):  # noqa: PTH112 - as above
        raise AdminError(f"{name} cannot be written: name a file in a folder where you may write")
    return Path(name)
