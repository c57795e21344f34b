"""The yardstick: the same answers from a bare, typed FastAPI application, nothing around it."""

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False})


class Index(BaseModel):
    """What `GET /` of the service answers."""

    name: str
    version: str


class Product(BaseModel):
    """What `GET /products/{id}` of the service answers."""

    id: int
    name: str
    price: float
    tags: list[str]
    description: str


INDEX = Index(name="bare", version="0.1.0")
PRODUCTS = {
    number: Product(
        id=number,
        name=f"Product {number}",
        price=9.99,
        tags=["kitchen", "steel"],
        description="A plain product of the usual length, made of steel, for kitchens of any size.",
    )
    for number in range(1, 101)
}


@app.get("/")
async def index() -> Index:
    """Answer a small typed object."""
    return INDEX


@app.get("/products/{product_id}")
async def read_product(product_id: int) -> Product:
    """Answer a typed object of usual size."""
    return PRODUCTS[product_id]
