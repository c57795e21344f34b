"""SQL databases: a bounded pool with time limits, upserts, and what a database away means.

It needs the extra: `servekit[sql]`.
"""

from servekit.sql.database import Database, lock_schema, or_replace
from servekit.sql.dependency import DatabaseDep, find_database
from servekit.sql.errors import DatabaseUnavailable

__all__ = [
    "Database",
    "DatabaseDep",
    "DatabaseUnavailable",
    "find_database",
    "lock_schema",
    "or_replace",
]
