"""The settings of the application under test."""

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

import servekit


class Settings(servekit.Settings):
    """Those of every service, and a database."""

    # A case says all that it needs in the environment: no `.env` of whoever runs it takes part.
    model_config = SettingsConfigDict(env_file=None)

    database_url: SecretStr
    """SQLAlchemy URL of the database."""
