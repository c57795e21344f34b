"""The variables that settings are read from: their names, and those that are nearly such."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from dotenv import dotenv_values
from pydantic import AliasChoices, AliasPath, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from servekit.configuration.env_files import env_files
from servekit.configuration.settings import Settings
from servekit.notation.words import BLANKS, is_model, model_of

SECRET_WORDS = {
    *("auth", "credential", "credentials", "dsn", "key", "keys"),
    *("passwd", "password", "pwd", "secret", "secrets", "token", "tokens"),
}
SECRET_TYPES = (SecretStr, SecretBytes, Secret)
ADDRESSES = "pydantic.networks"
"""Where pydantic's types of addresses are; those may hold a password."""
FILE = "_FILE"
MISSPELLING = 0.86
"""Likeness above which an unknown variable counts as one of ours, misspelt."""
MISSPELLING_AT_HOME = 0.81
"""The same in `.env`, where nobody else's are, and where the end of a name may be left out."""
NAME = re.compile(r"(?=[A-Z0-9_]+$|[a-z0-9_]+$)([A-Za-z0-9]{1,20}|[A-Za-z0-9]*_\w*)")
"""What is the name of a variable, and no line of a key in base64 that ends with its padding."""
OF_OTHERS = re.compile("(OTEL|POSTGRES|PG|COMPOSE|DOCKER|UV|PIP|PYTHON)[A-Z]*(_|$)")
"""What compose, the database's image, OpenTelemetry and tools read, from `.env` too."""

UVICORNS = {
    "WEB_CONCURRENCY": "workers",
    "FORWARDED_ALLOW_IPS": "trusted_proxy_hops",
    "UVICORN_FORWARDED_ALLOW_IPS": "trusted_proxy_hops",
    "UVICORN_H11_MAX_INCOMPLETE_EVENT_SIZE": "limit_header_bytes",
    "UVICORN_HOST": "host",
    "UVICORN_LIMIT_CONCURRENCY": "limit_connections",
    "UVICORN_LIMIT_MAX_REQUESTS": "worker_recycle_requests",
    "UVICORN_LOG_LEVEL": "log_level",
    "UVICORN_PORT": "port",
    "UVICORN_PROXY_HEADERS": "trusted_proxy_hops",
    "UVICORN_ROOT_PATH": "root_path",
    "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": "timeout_drain_seconds",
    "UVICORN_TIMEOUT_KEEP_ALIVE": "timeout_keep_alive_seconds",
    "UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "worker_hang_seconds",
    "UVICORN_UDS": "host",
    "UVICORN_WORKERS": "workers",
    "UVICORN_WS_MAX_SIZE": "limit_message_bytes",
}
"""What uvicorn reads from the environment, and the settings that mean it here."""


def names_of(kind: type[Settings], name: str) -> list[str]:
    """Return the variables that a field is read from, in capitals, the first one first."""
    field = kind.model_fields[name]
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    found = [str(one.path[0]) if isinstance(one, AliasPath) else one for one in choices if one]
    prefix = kind.model_config.get("env_prefix") or ""
    return [each.upper() for each in found or [prefix + name]]


class Leaf(NamedTuple):
    """A value that variables spell: a setting, or a field within one that is a model."""

    variables: list[str]
    path: tuple[str, ...]
    field: FieldInfo

    @property
    def is_secret(self) -> bool:
        """Whether it must not be shown."""
        return any(is_secret(part, self.field) for part in self.path)


def leaves_of(kind: type[Settings], name: str) -> list[Leaf]:
    """Return what a setting is made of; itself, unless it is a model whose fields have variables.

    These are there where a class says `env_nested_delimiter`, as in `PAYMENT__API_KEY`.
    """
    delimiter = delimiter_of(kind)
    top = whole_of(kind, name)
    return list(_within(top, delimiter)) if delimiter else [top]


def models_of(kind: type[Settings], name: str) -> list[Leaf]:
    """Return the models that a setting is, and holds, whose fields have variables."""
    delimiter = delimiter_of(kind)
    parts = _within(whole_of(kind, name), delimiter, models=True) if delimiter else ()
    return [part for part in parts if model_of(part.field.annotation)]


def _within(
    leaf: Leaf, delimiter: str, outer: tuple[type, ...] = (), *, models: bool = False
) -> Iterator[Leaf]:
    model = model_of(leaf.field.annotation)
    if model is None or model in outer:
        yield leaf
        return
    if models:
        yield leaf
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        given = alias if isinstance(alias, str) else name
        own = [f"{each}{delimiter}{given.upper()}" for each in leaf.variables]
        part = Leaf(own, (*leaf.path, given), field)
        yield from _within(part, delimiter, (*outer, model), models=models)


def whole_of(kind: type[Settings], name: str) -> Leaf:
    """Return a setting as one value, whatever it is made of."""
    return Leaf(names_of(kind, name), (name,), kind.model_fields[name])


def clashes(kind: type[Settings], variables: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each model that is set both whole and by a field of it: one would not count.

    `variables` are those of the environment and of `.env`, in capitals.
    """

    def given(leaf: Leaf) -> list[str]:
        names = [*leaf.variables, *files_of(kind, leaf)]
        return [each for each in names if variables.get(each, "").strip(BLANKS)]

    for name in kind.model_fields:
        leaves = leaves_of(kind, name)
        for model in models_of(kind, name):
            within = [leaf for leaf in leaves if model.path == leaf.path[: len(model.path)]]
            parts = [each for leaf in within for each in given(leaf)]
            if within != [model] and given(model) and parts:
                yield f"{parts[0]}: is set, and so is {given(model)[0]}: leave one of them out"


def files_of(kind: type[Settings], leaf: Leaf) -> list[str]:
    """Return the variable that may name a file of a value: one that is secret.

    A model within another has none, and a setting of that name, or a field beside it, is itself.
    """
    pointer = f"{leaf.variables[0]}{FILE}"
    is_inner = len(leaf.path) > 1 and model_of(leaf.field.annotation) is not None
    if not leaf.is_secret or is_inner or field_of(kind, pointer.lower()):
        return []
    beside = leaves_of(kind, leaf.path[0])
    return [] if any(pointer in each.variables for each in beside) else [pointer]


def delimiter_of(kind: type[Settings]) -> str:
    """Return what stands between a setting and a field of it, if fields have variables."""
    return (kind.model_config.get("env_nested_delimiter") or "").upper()


def field_of(kind: type[Settings], location: str) -> str | None:
    """Return the field that an error is about: it has the field's name, or an alias of it."""
    if location in kind.model_fields:
        return location
    for name in kind.model_fields:
        if location.upper() in names_of(kind, name):
            return name
    return None


def is_secret(name: str, field: FieldInfo) -> bool:
    """Return whether a value must not be shown: by its type, or by what its name says."""
    return bool(SECRET_WORDS.intersection(name.lower().split("_"))) or holds_secret(
        field.annotation, set()
    )


def holds_secret(annotation: Any, seen: set[int]) -> bool:
    """Return whether a type is one of secrets, or holds one somewhere."""
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if isinstance(annotation, type) and (
        issubclass(annotation, SECRET_TYPES) or annotation.__module__ == ADDRESSES
    ):
        return True
    inside = list(get_args(annotation))
    if is_model(annotation):
        inside += [field.annotation for field in annotation.model_fields.values()]
        if any(
            SECRET_WORDS.intersection(name.lower().split("_")) for name in annotation.model_fields
        ):
            return True
    return any(holds_secret(each, seen) for each in inside)


def variables_of(kind: type[Settings], given: Iterable[str]) -> list[str]:
    """Return the variables among those given that settings are read from, nested ones too."""
    known, delimiter = known_names(kind), delimiter_of(kind)
    models = {
        each
        for name, field in kind.model_fields.items()
        if model_of(field.annotation)
        for each in names_of(kind, name)
    }

    def is_read(name: str) -> bool:
        group = name.partition(delimiter)[0] if delimiter else ""
        return name in known or group in known - models  # such as a table of any names

    return [name for name in given if is_read(name.upper())]


def unknown_variables(
    kind: type[Settings],
    environ: Mapping[str, str] = os.environ,
    dotenv: Path | None = None,
    *,
    uvicorns: bool = True,
) -> list[str]:
    """Return a line for each variable that looks like one of ours and is none.

    In the environment that is a near miss of a setting's name; in `.env`, which is ours alone,
    every name that is no setting. With `uvicorns` also what uvicorn would read, unless the setting
    that means it is set too: platforms set WEB_CONCURRENCY by themselves.
    """
    encoding = kind.model_config.get("env_file_encoding") or "utf-8"
    files = env_files(kind) if dotenv is None else [dotenv]
    in_dotenv = {
        name for file in files if file.is_file() for name in dotenv_values(file, encoding=encoding)
    }
    known = known_names(kind)
    lines = []
    given = {name.upper() for name in (*environ, *in_dotenv)}
    read = set(variables_of(kind, given))
    for name in sorted(set(environ) | in_dotenv):
        upper = name.upper()
        is_uvicorns = upper in UVICORNS or upper.startswith("UVICORN_")
        if uvicorns and is_uvicorns and upper not in known:
            own = names_of(kind, UVICORNS[upper]) if upper in UVICORNS else []
            hint = f", did you mean {own[0]}?" if own else ""
            if given.isdisjoint(own):
                lines.append(f"{name}: is uvicorn's and does nothing here{hint}")
            continue
        if upper in read or OF_OTHERS.match(upper) or upper in kind.of_others:
            continue
        meant = meant_by(upper, known, MISSPELLING_AT_HOME if name in in_dotenv else MISSPELLING)
        if meant:
            lines.append(f"{name}: unknown, did you mean {meant}?")
        elif name in in_dotenv:
            shown = name if NAME.fullmatch(name) else "(a name that may be part of a secret)"
            lines.append(f"{shown}: unknown, .env holds settings of the service only")
    return lines


def meant_by(name: str, known: set[str], likeness: float) -> str | None:
    """Return the setting whose name is nearly this one, or has the same letters, swapped."""
    letters = sorted(name)
    swapped = [each for each in known if len(each) == len(name) and sorted(each) == letters]
    begun = [each for each in known if each.startswith(f"{name}_") and likeness < MISSPELLING]
    close = swapped or begun or difflib.get_close_matches(name, known, n=1, cutoff=likeness)
    return min(close, default=None)


def known_names(kind: type[Settings]) -> set[str]:
    """Return the variables that are read, those included that name a file of a secret."""
    known = set()
    for name in kind.model_fields:
        known.update(names_of(kind, name))
        for leaf in [*models_of(kind, name), *leaves_of(kind, name)]:
            known.update([*leaf.variables, *files_of(kind, leaf)])
    return known
