"""What two readings of a worker's totals say: rates, means, quantiles; no clock and no process."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

Totals = dict[str, Any]
"""What `Vitals.read` returns."""

QUANTILE = 0.99
Table = dict[tuple[str, ...], defaultdict[str, float]]


def quantile(counts: dict[str, float], share: float = QUANTILE) -> float | None:
    """Return a quantile of durations that are counted by upper bound, in seconds; None of none.

    Above the highest bound it is that bound.
    """
    wanted = share * sum(counts.values())
    lower = seen = 0.0
    for label, count in counts.items():
        upper = float(label)
        if count and seen + count >= wanted:
            share_of_bucket = (wanted - seen) / count
            return lower if upper == float("inf") else lower + (upper - lower) * share_of_bucket
        seen += count
        lower = upper
    return None


def grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return how much each count grew."""
    return {name: count - before.get(name, 0) for name, count in after.items()}


def of_worker(
    last: tuple[float, Totals] | None, now: tuple[float, Totals], oldest: tuple[float, Totals]
) -> dict[str, Any]:
    """Return a worker's figures; rates since the last reading, the p99 since the oldest."""
    (at, totals), (_, first) = now, oldest
    figures: dict[str, Any] = {
        "pressure": totals.get("pressure"),
        "pressure_reason": totals.get("pressure_reason", ""),
        "log_level": totals.get("log_level", ""),
        "p99_seconds": quantile(grown(first.get("durations", {}), totals.get("durations", {}))),
    }
    if last is not None:
        before, seconds = last[1], at - last[0]
        requests = sum(grown(before.get("durations", {}), totals.get("durations", {})).values())
        figures |= {"rate": requests / seconds} | {
            f"{name}_rate": (totals.get(name, 0) - before.get(name, 0)) / seconds
            for name in ("errors", "shed")
        }
    return figures


def caches(readings: list[tuple[Totals, Totals, float]]) -> list[dict[str, Any]]:
    """Return a row for each cache and tier, all workers together; readings are first, last, s."""
    rows: Table = {}
    for before, after, seconds in readings:
        for name, tiers in after.get("caches", {}).items():
            for tier, counts in tiers.items():
                row = rows.setdefault((name, tier), defaultdict(float))
                earlier = before.get("caches", {}).get(name, {}).get(tier, {})
                for field, count in grown(earlier, counts).items():
                    row[field] += count / seconds
    return [
        {"cache": name, "tier": tier, **row, "ratio": hit_ratio(row)}
        for (name, tier), row in sorted(rows.items())
    ]


def hit_ratio(row: dict[str, float]) -> float | None:
    """Return the share of look-ups that were answered; None of none."""
    answered = row["hits"] + row["stale_hits"]
    asked = answered + row["misses"]
    return answered / asked if asked else None


def pools(readings: list[tuple[Totals, Totals, float]]) -> list[dict[str, Any]]:
    """Return a row for each pool, all workers together; `open` counts the breakers not closed."""
    rows: Table = {}
    for before, after, seconds in readings:
        for name, totals in after.get("pools", {}).items():
            row = rows.setdefault((name,), defaultdict(float))
            change = grown(before.get("pools", {}).get(name, {}), totals)
            row["rate"] += change.get("calls", 0) / seconds
            for field in ("calls", "seconds", "wait_seconds"):
                row[field] += change.get(field, 0)
            row["open"] += bool(totals.get("breaker"))
    return [
        {
            "pool": name,
            "rate": row["rate"],
            "mean_seconds": row["seconds"] / row["calls"] if row["calls"] else None,
            "wait_seconds": row["wait_seconds"] / row["calls"] if row["calls"] else None,
            "open": int(row["open"]),
        }
        for (name,), row in sorted(rows.items())
    ]
