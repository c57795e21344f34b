"""Put the example into an application; nothing else of the service knows it."""

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from servekit import Service
from servekit.problems import problem_response
from servekit.sql import find_database
from service.example import products, reports
from service.example.bulk_load import ImportRejectedError
from service.example.catalogue import Catalogue
from service.settings import Settings


def install(app: FastAPI, service: Service, settings: Settings) -> None:
    """Add the catalogue, which opens with every worker, its routes and what they raise."""
    rates = service.add_upstream("rates", settings.rates_url)
    app.state.catalogue = service.add(
        Catalogue(
            database=find_database(service),
            cache=service.cache,
            upstream=rates,
            seed=settings.development,
        )
    )
    app.add_exception_handler(ImportRejectedError, import_rejected)
    app.include_router(reports.router)
    app.include_router(products.router)


async def import_rejected(request: Request, error: Exception) -> Response:
    """Answer which rows of an import are wrong."""
    assert isinstance(error, ImportRejectedError)  # noqa: S101 - it is registered for these only
    detail = f"Nothing was imported: {error.count} errors, the first {len(error.errors)} listed."
    errors = [row.model_dump() for row in error.errors]
    return problem_response(
        request.scope, 422, detail=detail, error_count=error.count, errors=errors
    )
