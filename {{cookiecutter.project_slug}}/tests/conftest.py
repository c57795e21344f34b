import pytest

from service.app import create_app
from service.settings import Settings

pytest_plugins = ["servekit.testing"]


@pytest.fixture
def settings(make_settings, database_url):
    return make_settings(Settings, database_url=database_url)


@pytest.fixture
def app(settings):
    return create_app(settings)
