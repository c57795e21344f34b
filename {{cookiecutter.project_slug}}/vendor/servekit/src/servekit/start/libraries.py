"""What OpenTelemetry and the driver of PostgreSQL read from the environment by themselves."""

from __future__ import annotations

import os
import re

from servekit.configuration.env_files import read_env_files
from servekit.configuration.safety import ENDPOINT
from servekit.configuration.settings import Settings

THEIRS = re.compile("OTEL_|PG[A-Z]+$")


def tell_libraries(settings: Settings) -> None:
    """Put the collector, as it was read, and `OTEL_*` and `PG*` of `.env` where they look."""
    for name, value in read_env_files(type(settings)).items():
        if THEIRS.match(name.upper()):
            os.environ.setdefault(name.upper(), value)
    if settings.otel_exporter_otlp_endpoint:
        os.environ[ENDPOINT] = settings.otel_exporter_otlp_endpoint
