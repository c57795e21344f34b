"""Clients of other services, bounded in number and time, with a breaker and a retry budget."""

from servekit.upstream.client import Upstream
from servekit.upstream.dependency import upstream
from servekit.upstream.errors import UpstreamTimeout, UpstreamUnavailable

__all__ = ["Upstream", "UpstreamTimeout", "UpstreamUnavailable", "upstream"]
