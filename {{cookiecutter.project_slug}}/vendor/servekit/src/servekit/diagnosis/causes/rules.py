"""All rules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from servekit.diagnosis.causes import loop, waits
from servekit.diagnosis.causes.away import away_cause
from servekit.diagnosis.causes.connections import database_pool
from servekit.diagnosis.causes.growth import file_leak, memory_growth, task_leak
from servekit.diagnosis.causes.traffic import (
    low_hit_ratio,
    many_statements,
    overload,
    uneven_workers,
)
from servekit.diagnosis.readings import BREAKERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from servekit.diagnosis.evidence import Evidence, Verdict

    Rule = Callable[[Evidence], Verdict | None]

RULES: tuple[Rule, ...] = (
    *(partial(loop.loop_cause, cause=cause) for cause in loop.LIMITS),
    overload,
    *(partial(away_cause, neighbour=neighbour) for neighbour in BREAKERS),
    database_pool,
    *(partial(waits.wait_cause, cause=cause) for cause in waits.WAITS if cause != "database_pool"),
    waits.lock_wait,
    many_statements,
    uneven_workers,
    low_hit_ratio,
    task_leak,
    file_leak,
    memory_growth,
)
