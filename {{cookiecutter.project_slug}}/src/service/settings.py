"""The settings that this service has beside those of every service."""

from pydantic import SecretStr

import servekit


class Settings(servekit.Settings):
    """What this service is told; the environment name of a field is the field in capitals."""

    database_url: SecretStr = SecretStr("sqlite+aiosqlite:///service.db")
    """SQLAlchemy URL of the database; `postgresql+asyncpg://` in production."""
    rates_url: str = ""  # of the example
    """Base URL of the service that knows the example's exchange rates; empty asks nobody."""
