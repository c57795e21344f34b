"""The name, description and version of a service, from its installed distribution."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from servekit.configuration.settings import Settings

GROUP = "servekit.services"


@dataclass(frozen=True)
class Identity:
    """What a service calls itself, in its API document and at `GET /`."""

    name: str
    description: str
    version: str


def read_identity(package: str = "service") -> Identity:
    """Return what the distribution says that offers `package` as an entry point of its kind.

    A package that is not installed is nameless, and starts all the same.
    """
    for entry_point in metadata.entry_points(group=GROUP, name=package):
        if entry_point.dist is not None:
            about: Any = entry_point.dist.metadata
            return Identity(about["Name"], about.get("Summary", ""), about["Version"])
    return Identity(package, "", "0")


def project_name(package: str) -> str:
    """Return the name of the project that a package of it is found in; empty if nothing says it.

    It is the distribution that offers the package as a service, or the only one that offers any:
    an environment belongs to one project.
    """
    offered = {
        entry_point.name: entry_point.dist.metadata["Name"]
        for entry_point in metadata.entry_points(group=GROUP)
        if entry_point.dist is not None
    }
    only = next(iter(offered.values())) if len(offered) == 1 else ""
    return offered.get(package.partition(".")[0], only)


def default_namespace(settings: Settings) -> str:
    """Return what the keys in Redis begin with: the project's name, or its package's."""
    package = type(settings).__module__
    return project_name(package) or package.partition(".")[0]
