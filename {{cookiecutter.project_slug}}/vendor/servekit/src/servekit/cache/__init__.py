"""The two-tier cache: functions that are read through it, and answers that are kept in it."""

from servekit.cache.cache import Cache
from servekit.cache.decorator import cached
from servekit.cache.dependencies import CacheDep, cache_response
from servekit.cache.keys.text import UnstableKey
from servekit.errors import LoadTimeout

__all__ = ["Cache", "CacheDep", "LoadTimeout", "UnstableKey", "cache_response", "cached"]
