"""Read the settings: every problem at once, each naming its variable and the remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError, create_model

from servekit.configuration.env_files import read_env_files
from servekit.configuration.problems import blame, describe, one_line
from servekit.configuration.safety import unsafe
from servekit.configuration.secret_files import secrets_in_files
from servekit.configuration.settings import Settings
from servekit.configuration.variables import (
    FILE,
    clashes,
    delimiter_of,
    field_of,
    names_of,
    unknown_variables,
)
from servekit.notation.urls import Refused

ADMIN_FIELDS = tuple(name for name in Settings.model_fields if name.startswith("admin_"))


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
