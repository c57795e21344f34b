"""The product catalogue: what is read and written, and what is cached of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import func, insert, select, update

from servekit.sql import Database, lock_schema, or_replace
from service.example.bulk_load import load_csv
from service.example.models import Overview, Product, ProductPage
from service.example.overview import read_overview
from service.example.seed import seed_products
from service.example.tables import as_product, now_ms, product_columns, products

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import Row

    from servekit.cache import Cache
    from servekit.upstream import Upstream

PAGE_SIZE = 20
EXPORT_PAGE_SIZE = 200
HOT_PRODUCTS = 20
IMPORTS_AT_ONCE = 2  # each holds a connection for as long as its client sends

PRODUCT, LISTS = "product", "product_lists"
"""Tags of what is cached: single products, and whatever lists or counts several."""


class Catalogue:
    """Products in `database`, read through `cache`; opening it seeds and warms."""

    def __init__(
        self,
        *,
        database: Database,
        cache: Cache,
        upstream: Upstream,
        seed: bool = False,
    ) -> None:
        self._upstream = upstream
        self._database = database
        self._cache = cache
        self._seed = seed
        self._imports = asyncio.Semaphore(IMPORTS_AT_ONCE)
        self.product = cache.cached(
            "product:{product_id}",
            ttl_seconds=300,
            stale_seconds=3600,
            negative_ttl_seconds=10,
            tags=(PRODUCT,),
        )(self._load_product)
        self.overview = cache.cached("overview", ttl_seconds=10, stale_seconds=60, tags=(LISTS,))(
            self._load_overview
        )

    async def __aenter__(self) -> Self:
        if self._seed:
            await self._plant()
        await self.warm()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave everything as it is: the database and the cache close themselves."""

    async def page(self, text: str, number: int) -> ProductPage:
        """Return one page of the products whose name holds `text`, by id."""
        matching = select(*product_columns).order_by(products.c.id)
        counting = select(func.count()).select_from(products)
        if text:
            condition = products.c.name.icontains(text, autoescape=True)
            matching, counting = matching.where(condition), counting.where(condition)
        async with self._database.engine.connect() as connection:
            total = await connection.scalar(counting) or 0
            rows = await connection.execute(
                matching.limit(PAGE_SIZE).offset((number - 1) * PAGE_SIZE)
            )
        return ProductPage(
            items=[as_product(row) for row in rows], page=number, size=PAGE_SIZE, total=total
        )

    async def put(self, product: Product) -> bool:
        """Create or replace a product and tell whether it is new.

        The cache is written while the row is locked, so that of two writers the one who commits
        last also leaves its value in the cache.
        """
        values = product.model_dump() | {"updated_at": now_ms()}
        try:
            async with self._database.engine.begin() as connection:
                replaced = await connection.execute(
                    update(products).where(products.c.id == product.id).values(values)
                )
                if not replaced.rowcount:
                    upsert = self._database.upsert(products).values(values)
                    await connection.execute(or_replace(upsert))
                await self.product.set(product, product.id)
        except BaseException:  # cancelled in the commit, too
            await self.product.delete(product.id)
            await self._cache.invalidate_tag(LISTS)
            raise
        await self._cache.invalidate_tag(LISTS)
        return not replaced.rowcount

    async def import_csv(self, pieces: AsyncIterator[bytes]) -> int:
        """Load a CSV file, all or nothing, and return its rows; see `load_csv`."""
        try:
            async with self._imports:
                return await load_csv(self._database, pieces)
        finally:  # cancelled in the commit, too
            await self._cache.invalidate_tag(PRODUCT)
            await self._cache.invalidate_tag(LISTS)

    async def pages(self) -> AsyncIterator[Sequence[Row[Any]]]:
        """Yield all products by id, a page at a time.

        Each page is a query of its own: a slow reader holds neither a connection nor a snapshot.
        """
        last = 0
        while True:
            query = select(*product_columns).where(products.c.id > last).order_by(products.c.id)
            async with self._database.engine.connect() as connection:
                rows = (await connection.execute(query.limit(EXPORT_PAGE_SIZE))).all()
            if not rows:
                return
            yield rows
            last = rows[-1].id

    async def warm(self) -> None:
        """Fill the cache with the products that were written last."""
        await self._cache.warm([self._load_hot_products])

    async def _load_hot_products(self) -> None:
        hot = select(products.c.id).order_by(products.c.updated_at.desc()).limit(HOT_PRODUCTS)
        async with self._database.engine.connect() as connection:
            ids = (await connection.scalars(hot)).all()
        for product_id in ids:  # one by one, as a starting worker has nobody to hurry for
            await self.product(product_id)

    async def _load_product(self, product_id: int) -> Product | None:
        query = select(*product_columns).where(products.c.id == product_id)
        async with self._database.engine.connect() as connection:
            row = (await connection.execute(query)).first()
        return as_product(row) if row else None

    async def _load_overview(self) -> Overview:
        return await read_overview(self._database, self._upstream)

    async def _plant(self) -> None:
        async with self._database.engine.begin() as connection:
            await lock_schema(connection)
            if not await connection.scalar(select(func.count()).select_from(products)):
                await connection.execute(insert(products), seed_products())
