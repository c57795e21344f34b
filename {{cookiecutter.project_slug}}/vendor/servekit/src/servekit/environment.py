"""Read the settings: every problem at once, each naming its variable and the remedy."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from servekit.identity import project_name
from servekit.settings import DEVELOPMENT_SECRET, Settings

SECRET_KEY_MIN_LENGTH = 32
CLOSE_SECONDS = 5
"""What closing pools and processes may take after the drain."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
MISSPELLING = 0.86
"""Likeness above which an unknown variable counts as one of ours, misspelt."""


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds one line each, beginning with the variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(kind: type[AnySettings]) -> AnySettings:
    """Return the settings of this environment, of a service's own class.

    Raises:
        SettingsError: A value is malformed, or unsafe for the environment it runs in.
    """
    try:
        settings = kind()
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_describe(kind, detail) for detail in details]
        # Read on with defaults in place of the malformed values, so that one start shows all.
        malformed = {str(detail["loc"][0]) for detail in details}
        defaults: dict[str, Any] = {name: kind.model_fields[name].default for name in malformed}
        problems += unsafe(kind(**defaults), ignoring=malformed)
        raise SettingsError(problems) from None
    if problems := list(unsafe(settings)):
        raise SettingsError(problems)
    return settings


def _describe(kind: type[Settings], detail: ErrorDetails) -> str:
    name = str(detail["loc"][0])
    message = detail["msg"][0].lower() + detail["msg"][1:]
    secret = kind.model_fields[name].annotation is SecretStr
    value = "" if secret else f" (it is {os.environ.get(name.upper(), detail['input'])!r})"
    return f"{name.upper()}: {message}{value}"


def unsafe(settings: Settings, ignoring: set[str] | frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield a line for each setting that must not be used as it is."""
    for name, problem in _unsafe(settings):
        if name not in ignoring:
            yield f"{name.upper()}: {problem}"


def _unsafe(settings: Settings) -> Iterator[tuple[str, str]]:
    # A unix socket's file admits its owner only.
    kept = settings.admin_host in LOOPBACK_HOSTS or settings.admin_host.startswith("unix:")
    if settings.admin_port and not kept and not settings.admin_token.get_secret_value():
        yield "admin_token", f"must be set while ADMIN_HOST is {settings.admin_host}"
    if settings.admin_port == settings.port:
        yield "admin_port", "must differ from PORT; 0 switches the admin port off"
    drain = settings.drain_delay_seconds + settings.timeout_drain_seconds + CLOSE_SECONDS
    if 0 < settings.grace_period_seconds < drain:
        sum_of = f"DRAIN_DELAY_SECONDS + TIMEOUT_DRAIN_SECONDS + {CLOSE_SECONDS}"
        grace = settings.grace_period_seconds
        yield (
            "grace_period_seconds",
            f"{grace:g} s is less than a stop takes: {drain:g} s = {sum_of}",
        )
    if settings.session_idle_seconds > settings.session_absolute_seconds:
        yield "session_idle_seconds", "must not exceed SESSION_ABSOLUTE_SECONDS"
    if settings.production:
        yield from _unsafe_in_production(settings)


def _unsafe_in_production(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.redis_url.get_secret_value():
        yield "redis_url", "must be set in production, for example redis://redis:6379/0"
    if not settings.redis_namespace and not project_name(type(settings).__module__):
        yield "redis_namespace", "must be set in production: no installed project names the service"
    keys = settings.secret_keys
    if not keys or settings.secret_key.get_secret_value() == DEVELOPMENT_SECRET:
        yield "secret_key", "must be set in production: `openssl rand -hex 32` makes one"
    elif min(map(len, keys)) < SECRET_KEY_MIN_LENGTH:
        yield "secret_key", f"each key must have at least {SECRET_KEY_MIN_LENGTH} characters"
    if not settings.allowed_hosts or any(host.strip(".") == "*" for host in settings.allowed_hosts):
        yield "allowed_hosts", "must name the hosts in production; `*` accepts forged ones"
    if "*" in settings.cors_origins:
        yield "cors_origins", "must name the origins in production, not `*`"
    if settings.debug:
        yield "debug", "must be off in production"


def unknown_variables(
    kind: type[Settings], environ: Mapping[str, str] = os.environ, dotenv: Path = Path(".env")
) -> list[str]:
    """Return a line for each variable that looks like one of ours and is none.

    In the environment that is a near miss of a setting's name; in `.env`, which is ours alone,
    every name that is no setting.
    """
    known = {name.upper() for name in kind.model_fields}
    in_dotenv = set(dotenv_values(dotenv)) if dotenv.is_file() else set()
    lines = []
    for name in sorted((set(environ) | in_dotenv) - known):
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=MISSPELLING)
        if close:
            lines.append(f"{name}: unknown, did you mean {close[0]}?")
        elif name in in_dotenv:
            lines.append(f"{name}: unknown, .env holds settings of the service only")
    return lines


def example_file(kind: type[Settings]) -> str:
    """Return the text of `.env.example`: every setting at its default, with its reason."""
    lines = ["# Every setting at its default. Copy to .env and uncomment what you change.", ""]
    for name, field in kind.model_fields.items():
        lines += [f"# {field.description}", f"# {name.upper()}={_as_text(field.default)}", ""]
    return "\n".join(lines)


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
