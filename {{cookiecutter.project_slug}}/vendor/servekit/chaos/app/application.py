"""The application under test, put together on one page."""

from fastapi import FastAPI, Request

from chaos.app import accounts, products
from chaos.app.catalogue import Catalogue
from chaos.app.models import Index
from chaos.app.settings import Settings
from chaos.app.tables import metadata
from servekit import Service
from servekit.problems import problem_responses
from servekit.sql import Database


def create_app(settings: Settings) -> FastAPI:
    """Return the application, as a user of the library writes one."""
    service = Service(settings)
    database = service.add(Database(settings.database_url.get_secret_value(), metadata))
    app = FastAPI(
        title="chaos",
        version="0.1.0",
        docs_url=None,
        openapi_url="/openapi.json" if settings.serves_docs else None,
        redoc_url=None,
        responses=problem_responses(),
        telemetry=service.telemetry,
    )
    service.install(app)
    app.state.catalogue = service.add(Catalogue(database, service.cache))
    app.include_router(accounts.router)
    app.include_router(products.router)
    app.add_api_route("/", index)
    return app


async def index(request: Request) -> Index:
    """Say what answers here."""
    return Index(name=request.app.title, version=request.app.version)
