"""The usual routes of a catalogue, in the memory of one process."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel

router = APIRouter(prefix="/products")
shelf: dict[int, "Product"] = {}


class Product(BaseModel):
    """A product."""

    name: str
    price: float
    tags: list[str] = []


@router.get("")
async def list_products(q: str = "", page: Annotated[int, Query(ge=1)] = 1) -> list[Product]:
    """List the products whose name holds `q`."""
    return [product for product in shelf.values() if q in product.name][page * 20 - 20 : page * 20]


@router.get("/{product_id}")
async def get_product(product_id: Annotated[int, Path(ge=1)]) -> Product:
    """Return a product."""
    if product_id not in shelf:
        raise HTTPException(404)
    return shelf[product_id]


@router.put("/{product_id}")
async def put_product(product_id: Annotated[int, Path(ge=1)], product: Product) -> Product:
    """Create or replace a product."""
    shelf[product_id] = product
    return product
