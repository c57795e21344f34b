"""The variables that settings are read from: their names, `.env`, and files that hold secrets."""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, AliasPath, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from servekit.configuration.settings import Settings
from servekit.notation.urls import Refused
from servekit.notation.words import BLANKS, is_model, model_of

SECRET_WORDS = {
    *("auth", "credential", "credentials", "dsn", "key", "keys"),
    *("passwd", "password", "pwd", "secret", "secrets", "token", "tokens"),
}
SECRET_TYPES = (SecretStr, SecretBytes, Secret)
ADDRESSES = "pydantic.networks"
"""Where pydantic's types of addresses are; those may hold a password."""
FILE = "_FILE"
FILE_BYTES_MAX = 1_048_576
MISSPELLING = 0.86
"""Likeness above which an unknown variable counts as one of ours, misspelt."""
MISSPELLING_AT_HOME = 0.7
"""The same in `.env`, where nobody else's are."""
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


def _within(leaf: Leaf, delimiter: str, outer: tuple[type, ...] = ()) -> Iterator[Leaf]:
    model = model_of(leaf.field.annotation)
    if model is None or model in outer:
        yield leaf
        return
    for name, field in model.model_fields.items():
        alias = field.validation_alias or field.alias
        given = alias if isinstance(alias, str) else name
        own = [f"{each}{delimiter}{given.upper()}" for each in leaf.variables]
        yield from _within(Leaf(own, (*leaf.path, given), field), delimiter, (*outer, model))


def whole_of(kind: type[Settings], name: str) -> Leaf:
    """Return a setting as one value, whatever it is made of."""
    return Leaf(names_of(kind, name), (name,), kind.model_fields[name])


def clashes(kind: type[Settings], variables: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each model that is set both whole and by a field of it: one would not count.

    `variables` are those of the environment and of `.env`, in capitals.
    """

    def given(leaf: Leaf) -> list[str]:
        names = [each for own in leaf.variables for each in (own, f"{own}{FILE}")]
        return [each for each in names if variables.get(each, "").strip(BLANKS)]

    for name in kind.model_fields:
        whole, leaves = whole_of(kind, name), leaves_of(kind, name)
        parts = [each for leaf in leaves for each in given(leaf)]
        if leaves != [whole] and given(whole) and parts:
            yield f"{parts[0]}: is set, and so is {given(whole)[0]}: leave one of them out"


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


def env_files(kind: type[Settings]) -> list[Path]:
    """Return the files that a class reads variables from; those that come later win."""
    given = kind.model_config.get("env_file")
    if given is None:
        return []
    each = [given] if isinstance(given, str | os.PathLike) else list(given)
    return [Path(file).expanduser() for file in each]


def read_env_files(kind: type[Settings]) -> dict[str, str]:
    """Return the variables of `.env`, and of whatever else a class names.

    Raises:
        Refused: A file is there, and cannot be read; the text begins with its name.
    """
    encoding = kind.model_config.get("env_file_encoding") or "utf-8"
    found: dict[str, str] = {}
    for file in env_files(kind):
        text = read_file(file, encoding)
        bindings = list(parse_stream(io.StringIO(text)))
        for binding in bindings:
            if binding.error:
                line = binding.original.line
                raise Refused(f"{file}: line {line} is not NAME=value, or a quote is not closed")
        values = dotenv_values(stream=io.StringIO(text))
        found |= {name: value for name, value in values.items() if value is not None}
    return found


def read_file(file: Path, encoding: str = "utf-8") -> str:
    """Return the text of a file, empty where there is none.

    Raises:
        Refused: It is there, and cannot be read.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path of a file"
        raise Refused(f"{file}: cannot be read: {reason}") from None
    if len(content) > FILE_BYTES_MAX:
        raise Refused(f"{file}: is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        name = encoding.removesuffix("-sig").upper()
        raise Refused(f"{file}: is not text in {name}: save it as {name}") from None
    if "\0" in text:
        raise Refused(f"{file}: holds zero bytes, as UTF-16 does: save it as UTF-8")
    return text


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
    for name in sorted(set(environ) | in_dotenv):
        upper = name.upper()
        is_uvicorns = upper in UVICORNS or upper.startswith("UVICORN_")
        if uvicorns and is_uvicorns and upper not in known:
            own = names_of(kind, UVICORNS[upper]) if upper in UVICORNS else []
            hint = f", did you mean {own[0]}?" if own else ""
            if given.isdisjoint(own):
                lines.append(f"{name}: is uvicorn's and does nothing here{hint}")
            continue
        if variables_of(kind, [name]) or OF_OTHERS.match(upper) or upper in kind.of_others:
            continue
        meant = meant_by(upper, known, MISSPELLING_AT_HOME if name in in_dotenv else MISSPELLING)
        if meant:
            lines.append(f"{name}: unknown, did you mean {meant}?")
        elif name in in_dotenv:
            lines.append(f"{name}: unknown, .env holds settings of the service only")
    return lines


def meant_by(name: str, known: set[str], likeness: float) -> str | None:
    """Return the setting whose name is nearly this one, or has the same letters, swapped."""
    letters = sorted(name)
    swapped = [each for each in known if len(each) == len(name) and sorted(each) == letters]
    close = swapped or difflib.get_close_matches(name, known, n=1, cutoff=likeness)
    return min(close, default=None)


def known_names(kind: type[Settings]) -> set[str]:
    """Return the variables that are read, those included that name a file of a secret."""
    known = set()
    for name in kind.model_fields:
        known.update(names_of(kind, name))
        for leaf in leaves_of(kind, name):
            known.update(leaf.variables)
            if leaf.is_secret:
                known.add(f"{leaf.variables[0]}{FILE}")
    return known
