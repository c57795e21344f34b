"""What OpenTelemetry reads from the environment by itself."""

from __future__ import annotations

import os

from servekit.configuration.env_files import read_env_files
from servekit.configuration.settings import Settings

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def tell_opentelemetry(settings: Settings) -> None:
    """Put the collector, as it was read, and `OTEL_*` of `.env` where OpenTelemetry looks."""
    for name, value in read_env_files(type(settings)).items():
        if name.upper().startswith("OTEL_"):
            os.environ.setdefault(name.upper(), value)
    if settings.otel_exporter_otlp_endpoint:
        os.environ[ENDPOINT] = settings.otel_exporter_otlp_endpoint
