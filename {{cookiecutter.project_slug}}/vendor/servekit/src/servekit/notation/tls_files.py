"""Files that addresses name: they are read when the settings are, not at the first connection."""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path

from servekit.notation.urls import Refused


def readable(name: str, path: str) -> str:
    """Return the path of a file that can be read.

    Raises:
        Refused: It cannot; the text says why.
    """
    try:
        if is_file := stat.S_ISREG(Path(path).stat().st_mode):  # a pipe would be waited for
            with Path(path).open("rb") as file:
                file.read(1)
    except FileNotFoundError:
        is_file = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Refused(f"has {name} that names a file that cannot be read: {reason}") from None
    if not is_file:
        raise Refused(f"has {name} that names no file")
    return path


def is_folder(path: str) -> bool:
    """Return whether a path is a folder's, as far as can be seen."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir() raises where nobody may look


def check_authorities(name: str, path: str | None) -> None:
    """Refuse a file that holds no certificates of authorities."""
    if path:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except (OSError, ValueError):
            raise Refused(f"has {name} that holds no certificate in PEM form") from None


def check_certificate(
    names: tuple[str, str], certificate: str | None, key: str | None, password: str | None = None
) -> None:
    """Refuse a certificate that is none, or whose key is not beside it or another's."""
    if not certificate:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(certificate, key, password or "")
    except (OSError, ValueError):
        text = " and ".join(names)
        raise Refused(f"has {text} that are no certificate with its key in PEM form") from None
