"""The plain service that every case is held against: fastapi and uvicorn, nothing else."""

import os
from pathlib import Path

from fastapi import FastAPI

from chaos.pools import in_threads
from chaos.routes import router

if Path(os.environ["CHAOS_BROKEN_FLAG"]).exists():
    raise RuntimeError("broken on purpose")

app = FastAPI()
app.include_router(router)
app.include_router(in_threads)


@app.get("/livez")
@app.get("/readyz")
@app.get("/")
async def index() -> dict[str, str]:
    """Answer at once."""
    return {"name": "plain"}
