"""Print one hash of all files of vendor/servekit, or --compare it with the recorded one."""

import hashlib
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent / "servekit"
RECORD = LIBRARY.with_suffix(".sha256")
MADE = {"__pycache__", "build", "dist"}
"""Folders that tools make; what begins with a dot is theirs as well."""


def files() -> list[str]:
    """Return the library's files, relative and in order."""
    found = [path.relative_to(LIBRARY) for path in LIBRARY.rglob("*") if path.is_file()]
    return sorted(
        path.as_posix()
        for path in found
        if not any(part in MADE or part.startswith(".") for part in path.parts)
    )


def fingerprint() -> str:
    """Return the hash over names and contents."""
    total = hashlib.sha256()
    for name in files():
        content = hashlib.sha256((LIBRARY / name).read_bytes()).hexdigest()
        total.update(f"{content}  {name}\n".encode())
    return total.hexdigest()


if sys.argv[1:] != ["--compare"]:
    print(fingerprint())
elif RECORD.read_text(encoding="ascii").strip() != fingerprint():
    print("warning: vendor/servekit was changed here: an upgrade may end in conflicts")
