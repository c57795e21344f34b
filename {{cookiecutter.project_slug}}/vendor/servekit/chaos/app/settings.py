"""The settings of the application under test."""

from pydantic_settings import SettingsConfigDict

import servekit
from servekit import DatabaseUrl


class Settings(servekit.Settings):
    """Those of every service, and a database."""

    # A case says all that it needs in the environment: no `.env` of whoever runs it takes part.
    model_config = SettingsConfigDict(env_file=None)

    database_url: DatabaseUrl
    """URL of the database."""
