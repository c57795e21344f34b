"""What is said of settings that are refused: in one line each, and nothing of a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Secret, ValidationError

from servekit.configuration.settings import Settings
from servekit.configuration.variables import Leaf, field_of, leaves_of, names_of, whole_of
from servekit.notation.urls import Refused, without_login

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

RUN = 4
"""So many characters of a secret, one after the other, are a part of it."""
SHOWN_MAX = 80
"""Characters of a value that are shown."""


def describe(kind: type[Settings], detail: ErrorDetails, variables: Mapping[str, str]) -> str:
    """Return what pydantic says of a value in one line that holds no part of a secret."""
    location, *inside = [str(part) for part in detail["loc"]] or [""]
    name = field_of(kind, location)
    if name is None:
        return f"settings: {reason_of(detail)}"
    leaf = leaf_at(kind, name, inside)
    inside = inside[len(leaf.path) - 1 :]
    variable = leaf.variables[0]
    if detail["type"] == "missing":
        return f"{variable}: must be set"
    raw = next((variables[each] for each in leaf.variables if each in variables), "")
    reason = reason_of(detail, variable)
    if leaf.is_secret:
        if not isinstance(detail.get("ctx", {}).get("error"), Refused):
            for secret in (raw, *texts_in(detail["input"])):
                reason = without(secret, reason)
        return f"{variable}: {reason}"
    if isinstance(detail.get("ctx", {}).get("error"), Refused):
        return f"{variable}: {reason}"
    place = f" at {'.'.join(inside)}" if inside else ""
    return f"{variable}: {reason}{place}{shown(raw or detail['input'])}"


def leaf_at(kind: type[Settings], name: str, inside: list[str]) -> Leaf:
    """Return the setting that an error is about, or the field of it."""
    for leaf in leaves_of(kind, name):
        if len(leaf.path) > 1 and leaf.path == (name, *inside)[: len(leaf.path)]:
            return leaf
    return whole_of(kind, name)


UNITS = {"SECONDS": "seconds", "MS": "milliseconds", "BYTES": "bytes", "MIB": "MiB"}
"""What names of settings end with."""


def reason_of(detail: ErrorDetails, variable: str = "") -> str:
    """Return what is wrong, as a part of a sentence."""
    if detail["type"] in {"int_parsing", "float_parsing"}:
        kind = "integer" if detail["type"] == "int_parsing" else "number"
        unit = UNITS.get(variable.rpartition("_")[2])
        return f"is no {kind}: write its digits alone" + (f", in {unit}" if unit else "")
    if detail["type"] == "bool_parsing":
        return "is neither true nor false"
    error = detail.get("ctx", {}).get("error")
    text = str(error) if isinstance(error, Exception) else detail["msg"]
    return text[:1].lower() + text[1:] if text else "is refused by its own check"


def texts_in(value: object) -> Iterator[str]:
    """Yield the texts that a value is or holds: of a file, or of the fields of a model."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, Secret):
        yield str(value.get_secret_value())
    elif value is not None:
        yield str(value)


def without(secret: str, reason: str) -> str:
    """Return a reason, unless it repeats a part of the secret."""
    folded, said = secret.casefold(), reason.casefold()
    parts = {folded[at : at + RUN] for at in range(max(len(folded) - RUN, 0) + 1)}
    if any(part in said for part in parts if len(part) == RUN):
        return "is refused by its own check, whose words repeat a part of it and are not shown"
    return reason


def shown(value: object) -> str:
    """Return a value for a message, without the password that an address may hold."""
    text = without_login(str(value))
    return f" (it is {text[:SHOWN_MAX]!r}{'…' if len(text) > SHOWN_MAX else ''})"


def blame(
    kind: type[Settings], given: dict[str, Any], variables: Mapping[str, str], error: Exception
) -> Iterator[str]:
    """Yield a line for the setting whose own check raised what is no ValueError.

    It is the one with whose default the error does not come.
    """
    for name, field in kind.model_fields.items():
        variable = names_of(kind, name)[0]
        if variable not in variables or field.is_required():
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        try:
            kind(**given | {name: default})
        except ValidationError:
            pass
        except Exception:  # noqa: BLE001, S112 - it is another one
            continue
        yield f"{variable}: is refused by its own check, which raised {type(error).__name__}"
        return
    yield f"settings: a check of their own raised {type(error).__name__}"


def one_line(text: str) -> str:
    """Return a text without line ends and other characters that a terminal would act on."""
    return "".join(each if each.isprintable() else " " for each in text)
