"""PromQL as the panels need it: of the series that the variables at the top of a board choose.

What divides does so by what is `> 0`, and a quantile is `>= 0`: where nothing was counted nothing
is drawn. A panel that gets infinity or no number draws nothing at all.
"""

from __future__ import annotations

CHOSEN = 'job="$job", instance=~"$instance", worker=~"$worker"'
EACH = "{{instance}} worker {{worker}}"
WORKER = "instance, worker"


def series(name: str, match: str = "") -> str:
    """Return the chosen series of a metric."""
    return f"{name}{{{CHOSEN}{match and ', '}{match}}}"


def rate(name: str, match: str = "") -> str:
    """Return how fast a counter grows, a second."""
    return f"rate({series(name, match)}[$__rate_interval])"


def total(query: str, by: str = "") -> str:
    """Return a sum, of which the labels `by` stay apart."""
    return f"sum by ({by}) ({query})" if by else f"sum({query})"


def top(query: str, by: str) -> str:
    """Return the ten largest of such sums."""
    return f"topk(10, {total(query, by)})"


def quantile(share: float, name: str, by: str = "") -> str:
    """Return what this share of a histogram's observations stays below; nothing without any."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {total(rate(f'{name}_bucket'), labels)}) >= 0"


def mean(name: str, by: str = "", *, of: str = "") -> str:
    """Return the mean of a histogram's observations, or its sum for each one of another's."""
    return f"{total(rate(f'{name}_sum'), by)} / ({total(rate(f'{of or name}_count'), by)} > 0)"


def burns(budget: str) -> dict[str, str]:
    """Return how fast a budget is spent, by window, as deploy/prometheus/slo.yaml records it."""
    windows = ("5m", "30m", "1h", "6h", "3d")
    return {each: f'job:{budget}:burn{each}{{job="$job"}}' for each in windows}


REQUEST = "http_server_request_duration_seconds"
IN_TIME = 'le="0.25"'
STATEMENT = "database_statement_duration_seconds"
FAILURE = 'status=~"5.."'
ANSWERED = rate(f"{REQUEST}_count")
SHED = rate("http_requests_shed_total")
UNREAD = rate("http_server_refused_requests_total", FAILURE)
FAILED = total(f"{rate(f'{REQUEST}_count', FAILURE)} or {SHED} or {UNREAD} or 0 * {ANSWERED}")
ASKED = total(f"{ANSWERED} or {SHED} or {UNREAD}")
FAILED_SHARE = f"{FAILED} / ({ASKED} > 0)"
IN_TIME_SHARE = f"{total(rate(f'{REQUEST}_bucket', IN_TIME))} / ({total(ANSWERED)} > 0)"
SLOW_SHARE = f"clamp_min(1 - {IN_TIME_SHARE}, 0)"
STATEMENTS_EACH = f"{total(rate(f'{STATEMENT}_count'))} / ({total(ANSWERED)} > 0)"
BUSIEST = f"max by (instance) ({total(ANSWERED, WORKER)})"
USUAL = f"quantile by (instance) (0.5, {total(ANSWERED, WORKER)})"
UNEVENNESS = f"{BUSIEST} / ({USUAL} > 0)"
HITS, STALE, MISSES = (
    total(rate(f"cache_{each}_total"), "cache, tier") for each in ("hits", "stale_hits", "misses")
)
HIT_RATIO = f"({HITS} + {STALE}) / ({HITS} + {STALE} + {MISSES} > 0)"
