"""The table of users, and the metadata that all tables of this service share.

The start creates the tables that are missing and alters none: a column that is added here reaches
an existing table by a migration, see docs/development.md.
"""

from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table

# SQLite gives only a column of type INTEGER the rowid as its primary key.
Id = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("username", String(32), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
)
