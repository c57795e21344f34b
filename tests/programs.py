"""Programs that tests run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def need(program: str, package: str) -> str:
    """Return the path of a program, which its variable may name, or skip the test."""
    path = shutil.which(os.environ.get(program.upper(), program))
    if path is None:
        pytest.skip(f"{program} is missing: it comes with {package}")
    return path
