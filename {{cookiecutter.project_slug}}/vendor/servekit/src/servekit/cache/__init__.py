"""The two-tier cache: functions that are read through it, and answers that are kept in it."""

from servekit.cache.cache import Cache
from servekit.cache.dependency import CacheDep
from servekit.response_cache.routes import cache_response

__all__ = ["Cache", "CacheDep", "cache_response"]
