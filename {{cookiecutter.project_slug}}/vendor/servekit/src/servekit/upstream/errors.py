"""What a call to an upstream raises when there is no answer to work with."""

from __future__ import annotations


class UpstreamUnavailable(Exception):  # noqa: N818 - a state of the upstream, read aloud in `except`
    """It refused, broke off, answered 502, 503 or 504, or its breaker is open."""


class UpstreamTimeout(UpstreamUnavailable):
    """It did not answer within the call's time, or within what the request had left."""
