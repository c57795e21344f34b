"""Print one hash of all files of vendor/servekit, or --compare it with the recorded one."""

import hashlib
import subprocess
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


def git(*arguments: str) -> list[str]:
    """Return the lines that git answers; none where there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - whichever is on PATH
            cwd=LIBRARY.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return []
    return done.stdout.splitlines()


def changed() -> list[str]:
    """Return the files that are not as they were when the record was committed, if git can tell."""
    recorded = git("log", "-1", "--format=%H", "--", RECORD.name)
    differing = git("diff", "--name-only", "--relative", *recorded, "--", LIBRARY.name)
    return [*differing, *git("ls-files", "--others", "--exclude-standard", LIBRARY.name)]


if sys.argv[1:] != ["--compare"]:
    print(fingerprint())
elif RECORD.read_text(encoding="ascii").strip() != fingerprint():
    print("warning: vendor/servekit was changed here: an upgrade may end in conflicts")
    for name in changed():
        print(f"  vendor/{name}")
