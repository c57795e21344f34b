"""The two-tier cache: functions that are read through it, and answers that are kept in it."""

from servekit.cache.cache import Cache
from servekit.cache.decorator import cached
from servekit.cache.dependencies import CacheDep, cache_response

__all__ = ["Cache", "CacheDep", "cache_response", "cached"]
