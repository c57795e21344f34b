"""The plain service that every case is held against: fastapi, uvicorn, Starlette's sessions."""

import os
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware

from chaos import (
    edge_routes,
    plain_products,
    plain_sessions,
    plain_store,
    plain_upstream,
    pools,
    routes,
)

if Path(os.environ["CHAOS_BROKEN_FLAG"]).exists():
    raise RuntimeError("broken on purpose")

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    secret_key=os.environ.get("SECRET_KEY", "plain"),
    max_age=int(os.environ.get("SESSION_IDLE_SECONDS", "1800")),
)
app.add_middleware(edge_routes.FailingMiddleware)
for part in (routes, edge_routes, plain_sessions, plain_products, plain_store, plain_upstream):
    app.include_router(part.router)
app.include_router(plain_sessions.hidden)
app.include_router(pools.in_threads)


@app.get("/livez")
@app.get("/readyz")
@app.get("/")
async def index() -> dict[str, str]:
    """Answer at once."""
    return {"name": "plain"}
