"""How FastAPI's own pages of documentation are told from an application's routes."""


def is_docs_page(endpoint: object) -> bool:
    """Return whether FastAPI made a route for `docs_url`, `redoc_url` or what these need."""
    module, name = getattr(endpoint, "__module__", ""), getattr(endpoint, "__qualname__", "")
    return module == "fastapi.applications" and name.startswith("FastAPI.setup.<locals>.")
