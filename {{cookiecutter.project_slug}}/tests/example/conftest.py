import pytest

from service.example.catalogue import Catalogue


@pytest.fixture
def catalogue(app, service) -> Catalogue:
    """The catalogue of the application, open and empty."""
    catalogue: Catalogue = app.state.catalogue
    return catalogue


@pytest.fixture
async def client(new_client, log_in):
    """One client of the application, logged in, as those who write must be."""
    return await log_in(new_client(), "1")


@pytest.fixture
def make_catalogue(database, service):
    """Return a function that makes another catalogue, as a further worker has it."""

    def make(**options):
        upstream = service.upstreams["rates"]
        return Catalogue(database=database, cache=service.cache, upstream=upstream, **options)

    return make
