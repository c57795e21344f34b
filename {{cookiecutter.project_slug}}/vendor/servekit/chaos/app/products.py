"""Routes of the product catalogue."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, status
from fastapi.responses import StreamingResponse

from chaos.app.catalogue import LISTS, CatalogueDep
from chaos.app.models import NO_NUL, Product, ProductId, ProductWrite
from servekit.cache import cache_response
from servekit.problems import problem_responses

router = APIRouter(prefix="/products", tags=["products"])


class CsvResponse(StreamingResponse):
    """A CSV file that is written while it is sent."""

    media_type = "text/csv"


@router.get(
    "", dependencies=[Depends(cache_response(ttl_seconds=30, client_seconds=0, tags=(LISTS,)))]
)
async def list_products(
    catalogue: CatalogueDep,
    q: Annotated[str, Query(max_length=100, pattern=NO_NUL)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> list[Product]:
    """List a page of products by id."""
    return await catalogue.page(q, page)


@router.get("/export.csv", response_class=CsvResponse)
async def export_products(catalogue: CatalogueDep) -> CsvResponse:
    """Stream the catalogue as CSV."""
    return CsvResponse(catalogue.csv_lines())


@router.api_route("/export.csv", methods=["PUT"], include_in_schema=False)
async def refuse_name_as_id() -> None:
    """Answer 405 where a product's routes would take a name for a malformed id."""
    raise HTTPException(status.HTTP_405_METHOD_NOT_ALLOWED)


@router.get(
    "/{product_id}",
    dependencies=[Depends(cache_response(ttl_seconds=300, stale_seconds=3600, client_seconds=0))],
    responses=problem_responses({404: "No such product"}),
)
async def get_product(product_id: Annotated[ProductId, Path()], catalogue: CatalogueDep) -> Product:
    """Return a product, from the cache if it is there."""
    product = await catalogue.product(product_id)
    if product is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such product.")
    return product


@router.put("/{product_id}")
async def put_product(
    product_id: Annotated[ProductId, Path()], written: ProductWrite, catalogue: CatalogueDep
) -> Product:
    """Create a product, or replace it as a whole."""
    product = Product.model_validate(written.model_dump() | {"id": product_id})
    await catalogue.put(product)
    return product
