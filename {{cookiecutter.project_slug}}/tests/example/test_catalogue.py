import asyncio

import pytest

from servekit.testing import both_databases
from service.example.catalogue import EXPORT_PAGE_SIZE, PAGE_SIZE
from service.example.models import Product
from service.example.seed import seed_products

pytestmark = both_databases


def product(number, **fields):
    return Product.model_validate(
        {"id": number, "name": f"product {number}", "price": 1.5} | fields
    )


async def fill(catalogue, *products):
    for item in products:
        await catalogue.put(item)


async def test_a_product_is_created_then_replaced(catalogue):
    assert await catalogue.put(product(1, tags=["a"], description="ü"))
    assert not await catalogue.put(product(1, tags=["b", "c"]))
    assert await catalogue.product(1) == product(1, tags=["b", "c"])
    assert await catalogue.product(2) is None


async def test_the_widest_values_come_back_as_they_went(catalogue):
    widest = product(2**53 - 1, name="\u00e9" * 200, price=1e12, tags=["t" * 50] * 20)
    await catalogue.put(widest)
    await catalogue.product.delete(widest.id)
    assert await catalogue.product(widest.id) == widest


async def test_a_write_is_read_back_without_asking_the_database(catalogue, monkeypatch):
    await catalogue.put(product(1))
    monkeypatch.setattr(catalogue, "_database", None)
    assert await catalogue.product(1) == product(1)


async def test_of_two_racing_writers_the_cache_keeps_the_one_who_committed_last(catalogue):
    for number in range(1, 6):
        await asyncio.gather(*(catalogue.put(product(number, price=price)) for price in range(4)))
        cached = await catalogue.product(number)
        await catalogue.product.delete(number)
        assert await catalogue.product(number) == cached


async def test_pages_are_bounded_and_counted(catalogue):
    await fill(catalogue, *(product(number) for number in range(1, PAGE_SIZE + 6)))
    first, second = await catalogue.page("", 1), await catalogue.page("", 2)
    assert [item.id for item in first.items] == list(range(1, PAGE_SIZE + 1))
    assert [item.id for item in second.items] == list(range(PAGE_SIZE + 1, PAGE_SIZE + 6))
    assert (first.total, second.total, second.page) == (PAGE_SIZE + 5, PAGE_SIZE + 5, 2)
    assert (await catalogue.page("", 3)).items == []


@pytest.mark.parametrize(
    ("text", "found"), [("LAMP", [1, 2]), ("%", [2]), ("_", []), ("\\", []), ("' OR 1=1", [])]
)
async def test_a_search_takes_its_text_literally(catalogue, text, found):
    await fill(catalogue, product(1, name="Oak lamp"), product(2, name="Lamp 50 % off"))
    page = await catalogue.page(text, 1)
    assert [item.id for item in page.items] == found
    assert page.total == len(found)


async def test_all_pages_hold_each_product_once(catalogue):
    async def file():
        yield b"id,name,price,tags,description\n"
        for number in range(1, EXPORT_PAGE_SIZE * 2 + 2):
            yield f"{number * 3},n,1,,\n".encode()

    rows = await catalogue.import_csv(file())
    pages = [page async for page in catalogue.pages()]
    assert [len(page) for page in pages] == [EXPORT_PAGE_SIZE, EXPORT_PAGE_SIZE, 1]
    assert [row.id for page in pages for row in page] == [3 * n for n in range(1, rows + 1)]


async def test_an_import_replaces_what_is_cached(catalogue):
    async def file():
        yield b"id,name,price,tags,description\n1,imported,1,,\n"

    await catalogue.put(product(1))
    await catalogue.import_csv(file())
    found = await catalogue.product(1)
    assert found is not None
    assert found.name == "imported"


async def test_an_empty_catalogue_is_seeded_once_whoever_comes_first(make_catalogue):
    workers = [make_catalogue(seed=True) for _ in range(4)]
    opening = [worker.__aenter__() for worker in workers]
    assert await asyncio.gather(*opening, return_exceptions=True) == workers
    assert (await workers[0].page("", 1)).total == len(seed_products())
    async with make_catalogue(seed=True) as again:
        assert (await again.page("", 1)).total == len(seed_products())


async def test_opening_warms_the_products_that_were_written_last(catalogue, make_catalogue):
    await fill(catalogue, product(1), product(2))
    await catalogue.product.delete(1)
    async with make_catalogue() as opened:
        cached = await opened.product.get_cached(1)
        assert cached is not None
        assert cached.value == product(1)


async def test_a_write_that_fails_leaves_nothing_in_the_cache(catalogue, monkeypatch):
    await catalogue.put(product(1))
    store = catalogue.product.set

    async def store_then_fail(value, number):
        await store(value, number)
        raise asyncio.CancelledError

    monkeypatch.setattr(catalogue.product, "set", store_then_fail)
    with pytest.raises(asyncio.CancelledError):
        await catalogue.put(product(1, price=99))
    assert await catalogue.product(1) == product(1)
