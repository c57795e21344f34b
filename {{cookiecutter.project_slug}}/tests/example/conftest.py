import pytest

from service.example.catalogue import Catalogue


@pytest.fixture
def catalogue(app, service) -> Catalogue:
    """The catalogue of the application, open and empty."""
    catalogue: Catalogue = app.state.catalogue
    return catalogue


@pytest.fixture
def make_catalogue(database, service):
    """Return a function that makes another catalogue, as a further worker has it."""

    def make(**options):
        upstream = service.upstreams["rates"]
        return Catalogue(database=database, cache=service.cache, upstream=upstream, **options)

    return make
