"""Read the settings: every problem at once, each naming its variable and the remedy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from servekit.configuration.env_files import read_env_files
from servekit.configuration.identity import project_name
from servekit.configuration.problems import blame, describe, one_line
from servekit.configuration.secret_files import secrets_in_files
from servekit.configuration.settings import DEVELOPMENT_SECRET, Settings
from servekit.configuration.variables import (
    FILE,
    clashes,
    delimiter_of,
    field_of,
    names_of,
    unknown_variables,
)
from servekit.notation.database_url import checked as checked_database, parse_database_url
from servekit.notation.urls import Refused
from servekit.notation.words import split_words

SECRET_KEY_MIN_LENGTH = 32
SECRET_KEY_MIN_DIFFERENT = 8
MAKES_A_KEY = "`openssl rand -hex 32` makes one"
CLOSE_SECONDS = 5
"""What closing pools and processes may take after the drain."""

ADMIN_FIELDS = tuple(name for name in Settings.model_fields if name.startswith("admin_"))
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


class SettingsError(Exception):
    """The settings cannot be used; `problems` holds one line each, beginning with the variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(kind: type[AnySettings]) -> AnySettings:
    """Return the settings of this environment, of a service's own class.

    As the service reads them, which the class alone does not: with `NAME_FILE`, and refusals. For
    migrations and other programs beside the service.

    Raises:
        SettingsError: A value is malformed, or unsafe for the environment it runs in.
    """
    try:
        in_files = read_env_files(kind)
    except Refused as refusal:
        raise SettingsError([one_line(str(refusal))]) from None
    variables = {name.upper(): value for name, value in (in_files | os.environ).items()}
    given, problems = read_secrets(kind, variables)
    problems += clashes(kind, variables)
    settings, more = make(kind, given, variables)
    problems += more
    if settings is not None:
        problems += unsafe(settings, ignoring=malformed(kind, problems))
    if settings is None or problems:
        hints = unknown_variables(kind, uvicorns=False)  # it may be what serves
        raise SettingsError([one_line(problem) for problem in [*problems, *hints]])
    return settings


def load_admin_settings(kind: type[Settings]) -> Settings:
    """Return settings of which only those of the admin port are those of this environment.

    They are read as `kind` reads them: by its names, from its files, with its defaults.

    Raises:
        SettingsError: One of these is malformed.
    """
    kind = admin_settings_of(kind)
    variables = {name.upper(): value for name, value in os.environ.items()}
    with suppress(Refused):
        in_files = read_env_files(kind)
        variables = {name.upper(): value for name, value in in_files.items()} | variables
    given, problems = read_secrets(kind, variables)
    settings, more = make(kind, given, variables)
    own = {each for name in ADMIN_FIELDS for each in names_of(kind, name)}
    own |= {f"{each}{FILE}" for each in own}
    problems = [line for line in [*problems, *more] if line.partition(":")[0] in own]
    if settings is None or problems:
        raise SettingsError([one_line(problem) for problem in problems or more])
    return settings


def admin_settings_of(kind: type[Settings]) -> type[Settings]:
    """Return a class with all fields of every service, those of the admin port as `kind` has them.

    What else is its own may be missing here, and is not asked for.
    """
    fields: Any = {
        name: (kind.model_fields[name].annotation, kind.model_fields[name]) for name in ADMIN_FIELDS
    }

    class Sources(Settings):
        model_config = kind.model_config

        @classmethod
        def settings_customise_sources(cls, *sources: Any, **named: Any) -> Any:
            return kind.settings_customise_sources(*sources, **named)

    return create_model(kind.__name__, __base__=Sources, **fields)


def read_secrets(
    kind: type[Settings], variables: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of settings that stand in files of their own, and what is wrong there."""
    given: dict[str, Any] = {}
    problems = []
    for leaf, found in secrets_in_files(kind, variables):
        if isinstance(found, Refused):
            problems.append(str(found))
            continue
        name, *inside = leaf.path
        field = kind.model_fields[name]
        alias = field.validation_alias or field.alias
        place, key = given, alias if isinstance(alias, str) else name
        for part in inside:
            if isinstance(place, dict):
                place, key = place.setdefault(key, {}), part
        if isinstance(place, dict):  # else it was set whole, which is refused beside this
            place[key] = found
    return given, problems


def make(
    kind: type[AnySettings], given: dict[str, Any], variables: Mapping[str, str]
) -> tuple[AnySettings | None, list[str]]:
    """Return the settings, with defaults in place of what is malformed, and the problems."""
    try:
        return kind(**given), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [describe(kind, detail, variables) for detail in details]
    except Exception as error:  # noqa: BLE001 - a check of the service's own: whatever it raises
        problems = [*blame(kind, given, variables, error)]
        details = []
    # Read on with defaults in place of the malformed values, so that one start shows all.
    wrong = {str(detail["loc"][0]) for detail in details if detail["loc"]}
    fields = {name: kind.model_fields[name] for name in wrong if name in kind.model_fields}
    defaults = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in fields.items()
        if not field.is_required()
    }
    try:
        return kind(**given | defaults), problems
    except Exception:  # noqa: BLE001 - what is wrong was said above
        return None, problems


def malformed(kind: type[Settings], problems: list[str]) -> set[str]:
    """Return the fields that the problems are about."""
    delimiter = delimiter_of(kind)
    variables = [problem.partition(":")[0] for problem in problems]
    variables += [each.partition(delimiter)[0] for each in variables if delimiter]
    names = {field_of(kind, variable.lower()) for variable in variables}
    return {name for name in names if name}


def unsafe(settings: Settings, ignoring: set[str] | frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield a line for each setting that must not be used as it is."""
    for name, problem in _unsafe(settings):
        if name not in ignoring:
            yield f"{names_of(type(settings), name)[0]}: {problem}"


def _unsafe(settings: Settings) -> Iterator[tuple[str, str]]:
    # A unix socket's file admits its owner only.
    kept = settings.admin_host in LOOPBACK_HOSTS or settings.admin_host.startswith("unix:")
    if settings.admin_port and not kept and not settings.admin_token.get_secret_value():
        yield "admin_token", f"must be set while ADMIN_HOST is {settings.admin_host}"
    hosts = split_words(settings.host)
    if settings.admin_host.startswith("unix:"):
        if settings.admin_port and settings.admin_host in hosts:
            yield "admin_host", "must differ from HOST"
    elif settings.admin_port == settings.port and not all(map(is_unix, hosts)):
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
    for name in database_fields(type(settings)):
        variable = names_of(type(settings), name)[0]
        for note in parse_database_url(getattr(settings, name).get_secret_value()).notes:
            yield f"{variable}: {note}"
        if settings.production and is_sqlite(settings, name):
            yield (
                f"{variable}: is a file of SQLite: it must outlive the container, and other "
                "replicas do not see it"
            )
