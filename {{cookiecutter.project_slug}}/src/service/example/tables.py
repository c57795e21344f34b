"""The catalogue's tables, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from service.accounts.tables import Id, metadata
from service.example.models import Product

Tags = JSON().with_variant(JSONB(), "postgresql")

products = Table(
    "products",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("name", String(200), nullable=False),
    Column("price", Float(53), nullable=False),
    Column("tags", Tags, nullable=False),
    Column("description", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False, comment="Unix time in milliseconds"),
    Index("products_updated_at", "updated_at"),
)

# A table of the connection alone: whatever ends an import half-way leaves nothing behind, and on
# SQLite filling it locks out no other writer.
staged_products = Table(
    "staged_products",
    MetaData(),
    Column("row", Integer, nullable=False),
    Column("id", BigInteger, nullable=False),
    Column("name", String(200), nullable=False),
    Column("price", Float(53), nullable=False),
    Column("tags", Tags, nullable=False),
    Column("description", Text, nullable=False),
    prefixes=["TEMPORARY"],
)

product_columns = [products.c[name] for name in Product.model_fields]


def as_product(row: Row[Any]) -> Product:
    """Return a row as a product, without checking again what was checked when it was written."""
    return Product.model_construct(**row._asdict())


def now_ms() -> int:
    """Return the Unix time in milliseconds, as `updated_at` holds it."""
    return time.time_ns() // 1_000_000
