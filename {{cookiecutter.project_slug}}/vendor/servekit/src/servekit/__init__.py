"""Runs a FastAPI application in production: workers, draining, monitors, cache, sessions.

What stands here and in `servekit.cache`, `.sessions`, `.offload`, `.upstream`, `.sql`, `.throttle`,
`.problems` and `.testing` is public; everything else may change with any version.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from servekit.admission.importance import critical as critical, sheddable as sheddable
    from servekit.configuration.environment import (
        SettingsError as SettingsError,
        load_settings as load_settings,
    )
    from servekit.configuration.identity import read_identity as read_identity
    from servekit.configuration.settings import Settings as Settings
    from servekit.dependencies import (
        ServiceDep as ServiceDep,
        SettingsDep as SettingsDep,
        get_settings as get_settings,
    )
    from servekit.draining import drain_begins as drain_begins
    from servekit.errors import StoreUnavailable as StoreUnavailable
    from servekit.layers.cross_site_rules import allow_cross_site as allow_cross_site
    from servekit.layers.deadline import deadline as deadline
    from servekit.notation.database_url import DatabaseUrl as DatabaseUrl
    from servekit.notation.http_url import BaseUrl as BaseUrl
    from servekit.resilience.deadlines import remaining as remaining
    from servekit.service import Service as Service
    from servekit.start.entry import main as main
    from servekit.start.other_server import settings_for_other_server as settings_for_other_server

__version__ = "0.1.0"

# Where each name lives: imported when it is asked for, as a supervisor needs few of them.
HOMES = {
    "BaseUrl": "notation.http_url",
    "DatabaseUrl": "notation.database_url",
    "Service": "service",
    "ServiceDep": "dependencies",
    "Settings": "configuration.settings",
    "SettingsDep": "dependencies",
    "SettingsError": "configuration.environment",
    "StoreUnavailable": "errors",
    "allow_cross_site": "layers.cross_site_rules",
    "critical": "admission.importance",
    "deadline": "layers.deadline",
    "drain_begins": "draining",
    "get_settings": "dependencies",
    "load_settings": "configuration.environment",
    "main": "start.entry",
    "read_identity": "configuration.identity",
    "remaining": "resilience.deadlines",
    "settings_for_other_server": "start.other_server",
    "sheddable": "admission.importance",
}

__all__ = [
    "BaseUrl",
    "DatabaseUrl",
    "Service",
    "ServiceDep",
    "Settings",
    "SettingsDep",
    "SettingsError",
    "StoreUnavailable",
    "allow_cross_site",
    "critical",
    "deadline",
    "drain_begins",
    "get_settings",
    "load_settings",
    "main",
    "read_identity",
    "remaining",
    "settings_for_other_server",
    "sheddable",
]


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
