"""One Prometheus text from all workers: their samples get the label `worker`, a slot number."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?(.*)", re.DOTALL)
COMMENT_PARTS = 3


def merge(texts: Mapping[int, str], own: str) -> str:
    """Join the texts of workers, by slot, and the supervisor's own; families stay together."""
    families: dict[str, Family] = {}
    for slot, text in texts.items():
        for name, family in read_families(text.splitlines()).items():
            target = families.setdefault(name, Family(family.comments))
            target.samples += [with_worker(sample, slot) for sample in family.samples]
    lines = [line for family in families.values() for line in family.comments + family.samples]
    return "\n".join([*lines, own])


class Family:
    """The comments and samples of one metric."""

    def __init__(self, comments: list[str]) -> None:
        self.comments = comments
        self.samples: list[str] = []


def read_families(lines: Iterable[str]) -> dict[str, Family]:
    """Group the lines of one text; samples follow the comments of their metric."""
    families: dict[str, Family] = {}
    current = Family([])
    for line in lines:
        if line.startswith("#"):
            parts = line.split(" ", COMMENT_PARTS)
            current = families.setdefault(parts[2], Family([])) if len(parts) > 2 else current  # noqa: PLR2004 - `# HELP name`
            current.comments.append(line)
        elif line:
            current.samples.append(line)
    return families


def with_worker(sample: str, slot: int) -> str:
    """Add the label of a worker to one sample."""
    name, labels, rest = SAMPLE.fullmatch(sample).groups()  # type: ignore[union-attr] # prometheus_client wrote it
    comma = "," if labels and not rest.startswith("}") else ""
    return f'{name}{{worker="{slot}"{comma}{rest}' if labels else f'{name}{{worker="{slot}"}}{rest}'
