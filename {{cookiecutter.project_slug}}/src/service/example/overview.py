"""The catalogue at a glance: independent queries and a call to a neighbour, side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, Select, func, select, true

from service.example.models import Overview, PriceStatistics, TagCount
from service.example.rates import read_rates
from service.example.tables import as_product, product_columns, products

if TYPE_CHECKING:
    from servekit.sql import Database
    from servekit.upstream import Upstream

TOP_TAGS = 10
RECENT_PRODUCTS = 5


async def read_overview(database: Database, upstream: Upstream) -> Overview:
    """Run the queries in parallel, each on a connection of its own; the first failure ends all."""
    try:
        async with asyncio.TaskGroup() as tasks:
            count = tasks.create_task(rows(database, select(func.count(products.c.id))))
            prices = tasks.create_task(rows(database, price_statistics()))
            tags = tasks.create_task(rows(database, top_tags(database.dialect)))
            recent = tasks.create_task(rows(database, recent_products()))
            rates = tasks.create_task(read_rates(upstream))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group  # as any single query would fail
    return Overview(
        products=count.result()[0][0],
        prices=PriceStatistics(**prices.result()[0]._asdict()),
        top_tags=[TagCount(**row._asdict()) for row in tags.result()],
        recent=[as_product(row) for row in recent.result()],
        rates=rates.result(),
    )


async def rows(database: Database, query: Select[Any]) -> list[Row[Any]]:
    """Return all rows of a query that is known to give few."""
    async with database.engine.connect() as connection:
        return list(await connection.execute(query))


def price_statistics() -> Select[Any]:
    """Find the lowest, mean and highest price."""
    price = products.c.price
    return select(
        func.min(price).label("lowest"),
        func.avg(price).label("mean"),
        func.max(price).label("highest"),
    )


def top_tags(dialect: str) -> Select[Any]:
    """Count products by tag; the one query that the two databases spell differently."""
    unnest = func.json_each if dialect == "sqlite" else func.jsonb_array_elements_text
    tags = unnest(products.c.tags).table_valued("value")
    tag, number = tags.c.value.label("tag"), func.count().label("products")
    tagged = select(tag, number).select_from(products.join(tags, true()))
    return tagged.group_by(tag).order_by(number.desc(), tag).limit(TOP_TAGS)


def recent_products() -> Select[Any]:
    """Find the products that were written last."""
    newest = products.c.updated_at.desc()
    return select(*product_columns).order_by(newest, products.c.id).limit(RECENT_PRODUCTS)
