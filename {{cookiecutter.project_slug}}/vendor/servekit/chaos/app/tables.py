"""The tables of the application under test."""

from sqlalchemy import JSON, BigInteger, Column, Float, Integer, MetaData, String, Table, Text

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(32), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
)

products = Table(
    "products",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(200), nullable=False),
    Column("price", Float(53), nullable=False),
    Column("tags", JSON, nullable=False),
    Column("description", Text, nullable=False),
)
