"""The metrics of all workers in one text for Prometheus, each sample with its worker's label."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"', re.DOTALL)
OURS = "worker"
EXPORTED = "exported_"
"""What Prometheus itself puts before a label of the program's that the scrape needs."""


class Family:
    """The comments and samples of one metric."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.samples: list[str] = []


def merge(texts: Mapping[int, str], own: str) -> str:
    """Join the texts of workers, by slot, and the supervisor's own; families stay together.

    A name that the supervisor uses is its own, as a metric may be described once only.
    """
    taken = read_families(own)
    families: dict[str, Family] = {}
    for slot, text in texts.items():
        for name, family in read_families(text).items():
            if name not in taken:
                target = families.setdefault(name, Family())
                target.comments = target.comments or family.comments
                target.samples += [with_worker(sample, slot) for sample in family.samples]
    lines = [line for family in families.values() for line in family.comments + family.samples]
    return "\n".join([*lines, own])


def read_families(text: str) -> dict[str, Family]:
    """Group the lines of one text; samples follow the comments of their metric.

    A metric that is described a second time is left out.
    """
    families: dict[str, Family] = {}
    current, current_name = Family(), ""
    for line in text.split("\n"):  # a label's value may hold what Python takes for a line's end
        if line.startswith("#"):
            _, kind, name, *_ = [*line.split(" ", 3), "", ""]
            if kind == "HELP" or name != current_name:
                current, current_name = Family(), name
                families.setdefault(name, current)
            current.comments.append(line)
        elif line:
            current.samples.append(line)
    return families


def with_worker(sample: str, slot: int) -> str:
    """Add the label of a worker to one sample; one that the program calls so is `exported_`."""
    name = NAME.match(sample)[0]  # type: ignore[index] # prometheus_client wrote it
    rest = sample[len(name) :]
    if not rest.startswith("{"):
        return f'{name}{{{OURS}="{slot}"}}{rest}'
    if f'{OURS}="' in rest:
        rest = renamed(rest)
    comma = "" if rest.startswith("{}") else ","
    return f'{name}{{{OURS}="{slot}"{comma}{rest[1:]}'


def renamed(labels: str) -> str:
    """Return labels without one of our name."""
    names = {name for name, _ in LABEL.findall(labels)}
    new = OURS
    while new in names:
        new = EXPORTED + new
    return LABEL.sub(lambda found: f'{new}="{found[2]}"' if found[1] == OURS else found[0], labels)
