"""The catalogue's tables, the same on SQLite and PostgreSQL."""

from __future__ import annotations

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

from service.example.models import Product

# SQLite gives only a column of type INTEGER the rowid as its primary key.
Id = BigInteger().with_variant(Integer(), "sqlite")
Tags = JSON().with_variant(JSONB(), "postgresql")

metadata = MetaData()

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

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("username", String(32), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
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
