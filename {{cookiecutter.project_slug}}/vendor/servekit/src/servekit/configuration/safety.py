"""Settings that are read, and must not be used as they are, or may not mean what was meant."""

from __future__ import annotations

import os
from collections.abc import Iterator

from servekit.configuration.env_files import read_env_files
from servekit.configuration.identity import project_name
from servekit.configuration.settings import DEVELOPMENT_SECRET, Settings
from servekit.configuration.variables import names_of
from servekit.notation.database_url import checked as checked_database, parse_database_url
from servekit.notation.words import split_words

SECRET_KEY_MIN_LENGTH = 32
SECRET_KEY_MIN_DIFFERENT = 8
TOKEN_MIN_LENGTH = 16
HANG_SECONDS_MIN = 4
MAKES_A_KEY = "`openssl rand -hex 32` makes one"
CLOSE_SECONDS = 5
"""What closing pools and processes may take after the drain."""

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def unsafe(settings: Settings, ignoring: set[str] | frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield a line for each setting that must not be used as it is."""
    for name, problem in _unsafe(settings):
        if name not in ignoring:
            yield f"{names_of(type(settings), name)[0]}: {problem}"


def _unsafe(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.admin_port:
        yield from _unsafe_admin_port(settings)
    drain = settings.drain_delay_seconds + settings.timeout_drain_seconds + CLOSE_SECONDS
    if 0 < settings.grace_period_seconds < drain:
        sum_of = f"DRAIN_DELAY_SECONDS + TIMEOUT_DRAIN_SECONDS + {CLOSE_SECONDS}"
        grace = settings.grace_period_seconds
        yield (
            "grace_period_seconds",
            f"{grace:g} s is less than a stop takes: {drain:g} s = {sum_of}",
        )
    if 0 < settings.worker_hang_seconds < HANG_SECONDS_MIN:
        yield (
            "worker_hang_seconds",
            f"must be 0 or at least {HANG_SECONDS_MIN}: a loop reports once a second",
        )
    if both := set(settings.critical_paths) & set(settings.sheddable_paths):
        yield "sheddable_paths", f"holds {min(both)}, and so does CRITICAL_PATHS"
    if settings.otel_exporter_otlp_endpoint.rstrip("/").endswith("/v1/traces"):
        yield "otel_exporter_otlp_endpoint", "ends in /v1/traces, which is put behind it"
    if settings.session_idle_seconds > settings.session_absolute_seconds:
        yield "session_idle_seconds", "must not exceed SESSION_ABSOLUTE_SECONDS"
    if settings.production:
        yield from _unsafe_in_production(settings)


def _unsafe_admin_port(settings: Settings) -> Iterator[tuple[str, str]]:
    hosts, is_file = split_words(settings.host), is_unix(settings.admin_host)
    # A unix socket's file admits its owner only.
    if not is_file and settings.admin_host not in LOOPBACK_HOSTS:
        token = settings.admin_token.get_secret_value()
        if not token:
            yield "admin_token", f"must be set while ADMIN_HOST is {settings.admin_host}"
        elif settings.production and len(token) < TOKEN_MIN_LENGTH:
            wanted = f"must have at least {TOKEN_MIN_LENGTH} characters"
            yield "admin_token", f"{wanted}: {MAKES_A_KEY}"
    if is_file and settings.admin_host in hosts:
        yield "admin_host", "must differ from HOST"
    if not is_file and settings.admin_port == settings.port and not all(map(is_unix, hosts)):
        yield "admin_port", "must differ from PORT; 0 switches the admin port off"


def is_unix(host: str) -> bool:
    """Return whether an address to listen on is a file."""
    return host.startswith("unix:")


def _unsafe_in_production(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.redis_url.get_secret_value():
        yield "redis_url", "must be set in production, for example redis://redis:6379/0"
    if not settings.redis_namespace and not project_name(type(settings).__module__):
        yield "redis_namespace", "must be set in production: no installed project names the service"
    yield from (("secret_key", problem) for problem in unsafe_keys(settings))
    if not settings.allowed_hosts or any(host.strip(".") == "*" for host in settings.allowed_hosts):
        yield "allowed_hosts", "must name the hosts in production; `*` accepts forged ones"
    if {"*", "null"} & set(settings.cors_origins):
        yield "cors_origins", "must name the origins in production, not `*` or `null`"
    if settings.debug:
        yield "debug", "must be off in production"
    for name in database_fields(type(settings)):
        if name not in settings.model_fields_set and is_sqlite(settings, name):
            yield name, "must be set in production, for example postgresql://user@host/database"


def unsafe_keys(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the signing keys for production."""
    keys = settings.secret_keys
    if not keys or DEVELOPMENT_SECRET in keys:
        yield f"must be set in production: {MAKES_A_KEY}"
    elif min(map(len, keys)) < SECRET_KEY_MIN_LENGTH:
        yield too_short(keys)
    elif min(len(set(key)) for key in keys) < SECRET_KEY_MIN_DIFFERENT:
        different = f"at least {SECRET_KEY_MIN_DIFFERENT} different characters"
        yield f"each key must have {different}: {MAKES_A_KEY}"


def too_short(keys: list[str]) -> str:
    """Say what is wrong with signing keys, of which a comma may have made several."""
    each = f"each key must have at least {SECRET_KEY_MIN_LENGTH} characters"
    if len(keys) == 1:
        return f"{each}: {MAKES_A_KEY}"
    lengths = " and ".join(str(len(key)) for key in keys)
    return f"{each}, and commas made {len(keys)} keys of {lengths}: a key holds no comma"


def database_fields(kind: type[Settings]) -> list[str]:
    """Return the settings that are URLs of databases."""
    return [
        name
        for name, field in kind.model_fields.items()
        if any(getattr(each, "func", None) is checked_database for each in field.metadata)
    ]


def is_sqlite(settings: Settings, name: str) -> bool:
    """Return whether a setting names a file of SQLite."""
    return parse_database_url(getattr(settings, name).get_secret_value()).backend == "sqlite"


def remarks(settings: Settings) -> Iterator[str]:
    """Yield a line for each setting that works, and may not be what its author means."""
    if settings.production and "allowed_hosts" not in settings.model_fields_set:
        name = names_of(type(settings), "allowed_hosts")[0]
        yield f"{name}: is not set: requests for other names than localhost are answered 400"
    yield from remarks_on_tracing(settings)
    for name in database_fields(type(settings)):
        variable = names_of(type(settings), name)[0]
        for note in parse_database_url(getattr(settings, name).get_secret_value()).notes:
            yield f"{variable}: {note}"
        if settings.production and is_sqlite(settings, name):
            yield (
                f"{variable}: is a file of SQLite: it must outlive the container, and other "
                "replicas do not see it"
            )


def remarks_on_tracing(settings: Settings) -> Iterator[str]:
    """Yield what OpenTelemetry is told beside the endpoint, and cannot be done."""
    told = {**read_env_files(type(settings)), **os.environ}
    protocol = told.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if not settings.otel_exporter_otlp_endpoint:
        if told.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
            yield f"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: does nothing without {ENDPOINT}"
    elif protocol != "http/protobuf":
        yield (
            "OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent by http/protobuf alone, which collectors "
            "take on port 4318"
        )
