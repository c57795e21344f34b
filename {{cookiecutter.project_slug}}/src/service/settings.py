"""The settings that this service has beside those of every service."""

from typing import ClassVar

from pydantic import SecretStr

import servekit
from servekit import DatabaseUrl


class Settings(servekit.Settings):
    """What this service is told; the environment name of a field is the field in capitals."""

    of_others: ClassVar[frozenset[str]] = frozenset({"GRAFANA_PORT", "PROMETHEUS_PORT", "SITE"})
    """What compose.yaml reads from `.env`, beside the settings."""

    database_url: DatabaseUrl = SecretStr("sqlite:///service.db")
    """Database: `postgresql://user:password@host/name?sslmode=require`, or a file of SQLite."""
    rates_url: servekit.BaseUrl = ""  # of the example
    """Base URL of the service that knows the example's exchange rates; empty asks nobody."""
