"""All verdicts on what was seen, the exit code, and the document that they can be made of again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from servekit.diagnosis.causes.loop import STALLED_SECONDS
from servekit.diagnosis.causes.rules import RULES
from servekit.diagnosis.evidence import Evidence, essence
from servekit.diagnosis.readings import FAILED_SHARE, SLOW_SECONDS, Window
from servekit.diagnosis.remedies import FIXES, TITLES, next_step, not_judged
from servekit.diagnosis.shares import UNCLEAR
from servekit.diagnosis.source import lines_of
from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from servekit.diagnosis.evidence import Verdict
    from servekit.diagnosis.source import Within

SCHEMA_VERSION = 1
ADMIN = "http://localhost:9100"
WINDOWS_MIN = 5
REQUESTS_MIN = 10
STARVED_SHARE = 0.1
NO_CPU = "what requests wait for is not seen where workers have no CPU"
NO_ANSWER = frozenset({*("400", "403", "408", "413", "414", "429", "431"), *("failed", "unsent")})
"""How a request of the doctor's own may end besides 5xx, before it reached its route."""
HEALTHY, FOUND, UNKNOWN = 0, 1, 2


@dataclass(frozen=True)
class Judgement:
    """The verdicts, the heaviest first, and why some of what was seen cannot be judged."""

    verdicts: tuple[Verdict, ...]
    cannot: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 for a healthy service, 1 if a cause was found, 2 if there is no telling."""
        if self.verdicts:
            return FOUND
        return UNKNOWN if self.cannot else HEALTHY


def judge(
    windows: Sequence[Window],
    profiles: Mapping[str, Profile],
    load: Mapping[str, int] | None = None,
    memory_holders: Sequence[str] | None = None,
    source: Mapping[str, Within] | None = None,
) -> Judgement:
    """Apply every rule; no symptom, no verdict.

    `load` tells how the doctor's own requests ended: how many with each status, or `failed`.
    `memory_holders` tells who holds memory that grows, if that was asked; see `diagnosis.leaks`.
    `source` is what `diagnosis.source.facts` tells of the profiles.
    """
    evidence = Evidence(windows, profiles, memory_holders, source or {})
    found = [verdict for rule in RULES if (verdict := rule(evidence)) is not None]
    found.sort(key=lambda verdict: -verdict.share * verdict.score)
    named = tuple(f"{TITLES[verdict.cause]}: " for verdict in found)
    for number, verdict in enumerate(found):  # one may rule out what is true in other seconds
        others = tuple(text for text in verdict.ruled_out if not text.startswith(named))
        found[number] = replace(verdict, ruled_out=others)
    return Judgement(tuple(found), tuple(reasons(evidence, found, load or {})))


def reasons(evidence: Evidence, found: Sequence[Verdict], load: Mapping[str, int]) -> list[str]:
    """Return what was felt and not explained, or why nothing could be felt."""
    windows = evidence.windows
    requests = evidence.total(lambda window: window.requests + window.shed)
    if (readings := len({window.at for window in windows})) < WINDOWS_MIN:
        return [too_few(readings, found)]
    if found:
        return []
    told = []
    if requests < REQUESTS_MIN:
        told.append(f"{requests:.0f} requests came meanwhile: send some with --url and --rate")
    refused = evidence.total(lambda window: window.refused)
    if refused > requests / 2:
        told.append(
            f"{refused / requests:.0%} of the requests ended with 4xx: path, host or login?"
        )
    stalled = evidence.confirmed(lambda window: window.is_stalled)
    if stalled:
        told.append(unexplained(evidence, stalled))
    else:
        told += troubles(evidence, requests)
    return [*told, *unanswered(load)]


def too_few(readings: int, found: Sequence[Verdict]) -> str:
    """Return why what is (not) found is not all: workers that stand still tell no counters."""
    told = f"{readings} readings of counters, {WINDOWS_MIN} are needed"
    if any(verdict.share_of == STALLED_SECONDS for verdict in found):
        return f"what else ails it ({told}: a loop that stands still tells none; mend that first)"
    return f"{told}: sample longer, or ask why workers need more than a second to tell them"


def troubles(evidence: Evidence, requests: float) -> Iterator[str]:
    """Yield what clients felt, in most seconds or in few, although no loop stood still."""
    slow, failed, shed = (
        evidence.total(read) / max(1.0, requests)
        for read in (lambda w: w.slow, lambda w: w.failed, lambda w: w.shed)
    )
    lasting = evidence.confirmed(lambda window: window.is_troubled)
    if not lasting and failed + shed < FAILED_SHARE:
        return
    why = "and no counter says why" if lasting else "in too few seconds to name a cause"
    yield (
        f"{slow:.0%} of the requests took longer than {SLOW_SECONDS:g} s, {failed:.0%} failed "
        f"and {shed:.0%} were refused, {why}: a database that is not "
        "`servekit.sql`'s, a route that waits on purpose, or an error in the log"
    )
    seconds = evidence.total(lambda window: window.seconds)
    deprived = evidence.total(lambda window: window.deprived) / seconds
    if deprived >= STARVED_SHARE:
        yield f"{NO_CPU}: they waited for one for {deprived:.0%} of the time"


def unanswered(load: Mapping[str, int]) -> Iterator[str]:
    """Yield that the doctor's own requests failed, which counters of a worker may not have seen."""
    bad = {
        how: count
        for how, count in load.items()
        if how.startswith("5") or how.partition(":")[0] in NO_ANSWER
    }
    share = sum(bad.values()) / (sum(load.values()) or 1)
    if share >= FAILED_SHARE:
        ended = ", ".join(f"{count} x {how}" for how, count in bad.items())
        yield f"{share:.0%} of the doctor's own requests failed or were refused ({ended})"


def unexplained(evidence: Evidence, stalled: Sequence[Window]) -> str:
    """Return what is known of stalls without a verdict."""
    seconds = sum(window.stalled for window in stalled)
    unclear = sum(evidence.stalls(window).get(UNCLEAR, 0.0) for window in stalled)
    told = f"the event loops stood still for {seconds:.1f} s, and no cause stands out"
    if unclear > seconds / 2:
        return f"{told}: other threads computed meanwhile, and may have held the interpreter's lock"
    return f"{told}: work at many places, a host that stole the time, or too little to tell"


def document(
    windows: Sequence[Window],
    profiles: Mapping[str, Profile],
    *,
    complete: bool,
    sampled: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that was seen and judged, for JSON."""
    judgement = judge(windows, profiles, *told_besides(sampled))
    address = sampled.get("admin", ADMIN)
    return {
        "schema_version": SCHEMA_VERSION,
        "complete": complete,
        "exit_code": judgement.exit_code,
        "verdicts": [told(verdict, address) for verdict in judgement.verdicts],
        "cannot_judge": list(judgement.cannot),
        "not_judged": not_judged(max((window.at for window in windows), default=0)),
        "sampled": dict(sampled),
        "windows": [asdict(window) for window in windows],
        "profiles": {name: essence(one).collapsed() for name, one in profiles.items()},
    }


def told(verdict: Verdict, address: str) -> dict[str, Any]:
    """Return a verdict with what to do about it; the admin port is at the address."""
    cause = verdict.cause
    return asdict(verdict) | {
        "source": lines_of(verdict.places),
        "fix": FIXES[cause],
        "next": next_step(cause, address),
    }


def judge_again(read: Mapping[str, Any]) -> Judgement:
    """Return the judgement on what a document holds.

    Raises:
        ValueError: The document is of another version.
    """
    if read.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"this is no report of version {SCHEMA_VERSION}")
    profiles = {}
    for name, collapsed in read["profiles"].items():
        profiles[name] = Profile()
        profiles[name].add(collapsed)
    windows = [Window(**window) for window in read["windows"]]
    return judge(windows, profiles, *told_besides(read["sampled"]))


def told_besides(sampled: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return what is judged besides counters and profiles."""
    return sampled.get("load"), sampled.get("memory_holders"), sampled.get("source")
