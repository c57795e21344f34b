import pytest

from servekit.testing import both_databases
from service.example.models import Overview, PriceStatistics, Product, TagCount
from service.example.overview import read_overview

pytestmark = both_databases


@pytest.fixture
def rates(service):
    """The upstream of RATES_URL, which is empty."""
    return service.upstreams["rates"]


async def test_an_empty_catalogue_has_an_overview(database, rates):
    assert await read_overview(database, rates) == Overview(
        products=0,
        prices=PriceStatistics(lowest=None, mean=None, highest=None),
        top_tags=[],
        recent=[],
        rates=None,
    )


async def test_products_are_counted_priced_and_listed(database, catalogue, rates):
    for number, tags in enumerate((["a", "b"], ["b"], [], ["b", "a", "c"]), start=1):
        await catalogue.put(Product(id=number, name=f"{number}", price=float(number), tags=tags))
    overview = await read_overview(database, rates)
    assert overview.products == 4
    assert overview.prices == PriceStatistics(lowest=1, mean=2.5, highest=4)
    assert overview.top_tags == [
        TagCount(tag="b", products=3),
        TagCount(tag="a", products=2),
        TagCount(tag="c", products=1),
    ]
    assert {item.id for item in overview.recent} == {1, 2, 3, 4}
