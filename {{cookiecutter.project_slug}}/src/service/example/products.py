"""Routes of the product catalogue."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response, status
from fastapi.responses import StreamingResponse

from servekit import deadline
from servekit.cache import cache_response
from servekit.problems import problem_responses
from service.example.catalogue import LISTS, PRODUCT
from service.example.csv_export import csv_pieces
from service.example.dependencies import LOGGED_IN, NOT_LOGGED_IN, CatalogueDep
from service.example.models import (
    NO_NUL,
    ImportReport,
    Product,
    ProductId,
    ProductPage,
    ProductWrite,
)

IMPORT_LIMIT_BYTES = 256 * 2**20
IMPORT_SECONDS = 600

CSV_EXAMPLE = "id,name,price,tags,description\n1,Oak chair,89.0,seating;oak,A chair made of oak.\n"
CSV_SCHEMA = {"schema": {"type": "string"}, "example": CSV_EXAMPLE}

router = APIRouter(prefix="/products", tags=["products"])


class CsvResponse(StreamingResponse):
    """A CSV file that is written while it is sent."""

    media_type = "text/csv"


@router.get(
    "", dependencies=[Depends(cache_response(ttl_seconds=30, client_seconds=0, tags=(LISTS,)))]
)
async def list_products(
    catalogue: CatalogueDep,
    q: Annotated[str, Query(max_length=100, pattern=NO_NUL, description="Part of the name")] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> ProductPage:
    """List a page of products by id."""
    return await catalogue.page(q, page)


@router.get("/export.csv", response_class=CsvResponse)
async def export_products(catalogue: CatalogueDep) -> CsvResponse:
    """Stream the catalogue as CSV, in constant memory."""
    name = {"content-disposition": 'attachment; filename="products.csv"'}
    return CsvResponse(csv_pieces(catalogue.pages()), headers=name)


@router.post(
    "/import",
    dependencies=[LOGGED_IN, Depends(deadline(IMPORT_SECONDS))],
    max_body_size=IMPORT_LIMIT_BYTES,
    openapi_extra={"requestBody": {"required": True, "content": {"text/csv": CSV_SCHEMA}}},
    responses=NOT_LOGGED_IN
    | problem_responses({413: "The file is too long", 422: "Rows that cannot be imported"}),
)
async def import_products(request: Request, catalogue: CatalogueDep) -> ImportReport:
    """Create or replace products from a CSV file that streams in; all of them or none."""
    return ImportReport(rows=await catalogue.import_csv(request.stream()))


@router.api_route("/export.csv", methods=["PUT"], include_in_schema=False)
@router.api_route("/import", methods=["GET", "PUT"], include_in_schema=False)
async def refuse_name_as_id() -> None:
    """Answer 405 where a product's routes would take a name for a malformed id."""
    raise HTTPException(status.HTTP_405_METHOD_NOT_ALLOWED)


@router.get(
    "/{product_id}",
    dependencies=[
        Depends(
            cache_response(ttl_seconds=300, stale_seconds=3600, client_seconds=0, tags=(PRODUCT,))
        )
    ],
    responses=problem_responses({404: "No such product"}),
)
async def get_product(product_id: Annotated[ProductId, Path()], catalogue: CatalogueDep) -> Product:
    """Return a product, from the cache if it is there."""
    product = await catalogue.product(product_id)
    if product is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "No such product.")
    return product


@router.put(
    "/{product_id}",
    dependencies=[LOGGED_IN],
    responses=NOT_LOGGED_IN
    | problem_responses({409: "The body names another id"})
    | {201: {"model": Product, "description": "Created"}},
)
async def put_product(
    product_id: Annotated[ProductId, Path()],
    written: ProductWrite,
    catalogue: CatalogueDep,
    response: Response,
) -> Product:
    """Create a product, or replace it as a whole."""
    if written.id not in (None, product_id):
        raise HTTPException(status.HTTP_409_CONFLICT, "The body names another id than the path.")
    product = Product.model_validate(written.model_dump() | {"id": product_id})
    if await catalogue.put(product):
        response.status_code = status.HTTP_201_CREATED
    return product
