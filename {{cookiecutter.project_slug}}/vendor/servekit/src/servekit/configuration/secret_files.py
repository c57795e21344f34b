"""Secrets that stand in files of their own, as Docker's and Swarm's do: `NAME_FILE` says where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from servekit.configuration.env_files import read_file
from servekit.configuration.settings import Settings
from servekit.configuration.variables import (
    Leaf,
    files_of,
    leaves_of,
    whole_of,
)
from servekit.notation.urls import Refused
from servekit.notation.words import BLANKS, unquoted


def secrets_in_files(
    kind: type[Settings], variables: Mapping[str, str]
) -> Iterator[tuple[Leaf, str | Refused]]:
    """Yield the secrets that `NAME_FILE` names a file of, with what it holds or why it cannot.

    `variables` are those of the environment and of `.env`, in capitals.
    """
    for name in kind.model_fields:
        whole = whole_of(kind, name)
        leaves = leaves_of(kind, name)
        for leaf in leaves if leaves == [whole] else [whole, *leaves]:
            for pointer in files_of(kind, leaf):
                path = variables.get(pointer, "").strip(BLANKS)
                if not path:
                    continue
                try:
                    yield leaf, secret_in(Path(unquoted(path)), pointer, leaf.variables, variables)
                except Refused as refusal:
                    yield leaf, refusal


def secret_in(path: Path, pointer: str, own: list[str], variables: Mapping[str, str]) -> str:
    """Return what a file holds for a setting."""
    if any(variables.get(each, "").strip(BLANKS) for each in own):
        raise Refused(f"{pointer}: is set, and so is {own[0]}: leave one of them out")
    try:
        if not path.exists():
            raise Refused(f"{pointer}: names a file that is not there")
    except OSError as error:  # its text holds the path, which may be the secret itself
        reason = error.strerror
        raise Refused(f"{pointer}: names a file that cannot be used: {reason}") from None
    try:
        text = read_file(path).strip(BLANKS)
    except Refused as refusal:
        reason = str(refusal).partition(": ")[2]
        raise Refused(f"{pointer}: names a file that cannot be used: {reason}") from None
    if not text:
        raise Refused(f"{pointer}: names a file that is empty")
    return text
