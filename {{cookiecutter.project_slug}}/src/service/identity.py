"""The name, description and version of this service, from pyproject.toml: their one home."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

PROJECT_FILE = Path(__file__).parents[2] / "pyproject.toml"


@dataclass(frozen=True)
class Identity:
    """What the service calls itself, in its API document and at `GET /`."""

    name: str
    description: str
    version: str


def read_identity(path: Path = PROJECT_FILE) -> Identity:
    """Read the project file; an image without one still starts, nameless."""
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except FileNotFoundError:
        project = {}
    return Identity(
        name=project.get("name", "service"),
        description=project.get("description", ""),
        version=project.get("version", "0"),
    )
