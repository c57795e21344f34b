"""The application: everything that this service is made of, on one page."""

from fastapi import FastAPI

from servekit import Service, read_identity, settings_for_other_server
from servekit.problems import problem_responses
from servekit.sql import Database
from service import about
from service.accounts import routes as accounts
from service.accounts.tables import metadata
from service.accounts.users import Users, password_threads
from service.example.install import install as install_example
from service.settings import Settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; whatever is added to it before it starts works as FastAPI says.

    Without settings another server runs it: `uvicorn service.app:create_app --factory`.
    """
    settings = settings or settings_for_other_server(Settings)
    service = Service(settings)
    database = service.add(Database(settings.database_url.get_secret_value(), metadata))
    threads = service.add(password_threads(service.registry))
    identity = read_identity("service")
    app = FastAPI(
        title=identity.name,
        description=identity.description,
        version=identity.version,
        docs_url="/docs" if settings.serves_docs else None,
        openapi_url="/openapi.json" if settings.serves_docs else None,
        redoc_url=None,
        responses=problem_responses(),
        telemetry=service.telemetry,
    )
    service.install(app)
    app.include_router(about.router)
    app.state.users = Users(database=database, threads=threads)
    app.include_router(accounts.router)
    install_example(app, service, settings)
    return app
