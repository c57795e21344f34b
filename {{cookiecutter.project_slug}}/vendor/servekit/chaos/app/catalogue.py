"""The products: rows of a database, read through the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Self, cast

from fastapi import Depends, Request
from sqlalchemy import func, insert, select

from chaos.app.models import Product
from chaos.app.tables import products
from servekit.cache import Cache
from servekit.sql import Database, lock_schema, or_replace

PAGE_SIZE = 20
PLANTED = 100

LISTS = "product_lists"
"""Tag of what is cached of several products."""


class Catalogue:
    """Products in `database`, read through `cache`; opening it fills an empty one."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self.product = cache.cached(
            "product:{product_id}", ttl_seconds=300, stale_seconds=3600, negative_ttl_seconds=10
        )(self._load)

    async def __aenter__(self) -> Self:
        async with self._database.engine.begin() as connection:
            await lock_schema(connection)
            if not await connection.scalar(select(func.count()).select_from(products)):
                planted = [planted_product(number) for number in range(1, PLANTED + 1)]
                await connection.execute(insert(products), planted)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave everything as it is: database and cache close themselves."""

    async def page(self, text: str, number: int) -> list[Product]:
        """Return one page of the products whose name holds `text`, by id."""
        matching = select(products).where(products.c.name.icontains(text, autoescape=True))
        page = matching.order_by(products.c.id).limit(PAGE_SIZE).offset((number - 1) * PAGE_SIZE)
        async with self._database.engine.connect() as connection:
            rows = await connection.execute(page)
        return [Product.model_construct(**row._asdict()) for row in rows]

    async def put(self, product: Product) -> None:
        """Create or replace a product, in the cache too."""
        upsert = self._database.upsert(products).values(product.model_dump())
        async with self._database.engine.begin() as connection:
            await connection.execute(or_replace(upsert))
            await self.product.set(product, product.id)
        await self._cache.invalidate_tag(LISTS)

    async def csv_lines(self) -> AsyncIterator[str]:
        """Yield a line for each product, a page of them at a time in memory."""
        yield "id,price\r\n"
        number = 1
        while page := await self.page("", number):
            yield "".join(f"{product.id},{product.price}\r\n" for product in page)
            number += 1

    async def _load(self, product_id: int) -> Product | None:
        async with self._database.engine.connect() as connection:
            query = select(products).where(products.c.id == product_id)
            row = (await connection.execute(query)).first()
        return Product.model_construct(**row._asdict()) if row else None


def planted_product(number: int) -> dict[str, object]:
    """Return a product of usual size, always the same for a number."""
    return {
        "id": number,
        "name": f"Product {number}",
        "price": 9.99,
        "tags": ["kitchen", "steel"],
        "description": "A plain product of the usual length, made of steel, for any kitchen.",
    }


async def get_catalogue(request: Request) -> Catalogue:
    """Return the catalogue that was opened with the worker, for `Depends`."""
    return cast("Catalogue", request.app.state.catalogue)


CatalogueDep = Annotated[Catalogue, Depends(get_catalogue)]
