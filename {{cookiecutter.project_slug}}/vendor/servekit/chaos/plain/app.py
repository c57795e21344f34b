"""The plain service: `uvicorn chaos.plain.app:app`, with Starlette's sessions."""

import os
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware

from chaos.plain import pools, products, sessions, store, upstream
from chaos.routes import edge, work

if (Path(os.environ["CHAOS_FOLDER"]) / "broken").exists():
    raise RuntimeError("broken on purpose")

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    session_cookie="dev-session",
    secret_key=os.environ.get("SECRET_KEY", "plain"),
    max_age=int(os.environ.get("SESSION_IDLE_SECONDS", "1800")),
)
app.add_middleware(edge.FailingMiddleware)
for part in (work, edge, pools, sessions, products, store, upstream):
    app.include_router(part.router)
app.include_router(sessions.hidden)


@app.get("/livez")
@app.get("/readyz")
@app.get("/")
async def index() -> dict[str, str]:
    """Answer at once."""
    return {"name": "plain"}
