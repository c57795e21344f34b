"""A repository of its own for a copy of the template."""

import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """Run git there, as nobody in particular."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit_all(folder: Path, message: str) -> None:
    """Commit everything in the folder, which becomes a repository with the first commit."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
