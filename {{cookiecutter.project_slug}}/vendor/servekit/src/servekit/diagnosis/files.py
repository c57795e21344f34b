"""Files that are written after a long look: where they cannot be is to be known before."""

from __future__ import annotations

import os
from pathlib import Path

from servekit.admin.client import AdminError


def writable(name: str) -> Path:
    """Return the path of a file that can be written.

    Raises:
        AdminError: Its folder is not there, or may not be written to.
    """
    path = Path(name)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise AdminError(f"{name} cannot be written: there is no folder {folder}")
    if not os.access(path if path.exists() else folder, os.W_OK) or path.is_dir():
        raise AdminError(f"{name} cannot be written: name a file in a folder where you may write")
    return path
