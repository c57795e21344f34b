"""What clients send and get: the catalogue's typed requests and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from service.accounts.models import Body

# NUL is legal in JSON and refused by PostgreSQL.
NO_NUL = r"^[^\x00]*$"


def whole(given: object) -> object:
    """Return 1 for 1.0, which JSON Schema takes for an integer too; anything else as it is."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


# The last that every reader of JSON keeps exact (RFC 8259, 6): OpenAPI writes limits as doubles.
ProductId = Annotated[int, Field(ge=1, le=2**53 - 1), BeforeValidator(whole)]
Price = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
# CSV joins tags by `;`, so that no tag may hold one.
Tag = Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=r"^[^;\x00]*$")]


class ProductWrite(Body):
    """A product as a client writes it; the path names its id, the body may."""

    id: ProductId | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
    price: Price
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    description: Annotated[str, StringConstraints(max_length=4000, pattern=NO_NUL)] = ""


class Product(ProductWrite):
    """A product of the catalogue."""

    id: ProductId


class ProductPage(BaseModel):
    """One page of a list, and how long the list is."""

    items: list[Product]
    page: int
    size: int
    total: int


class RowError(BaseModel):
    """A row that cannot be imported; row 1 is the first after the header, 0 the file itself."""

    row: int
    field: str
    message: str


class ImportReport(BaseModel):
    """How many rows an import created or replaced."""

    rows: int


class PriceStatistics(BaseModel):
    """Prices of the whole catalogue; null while it is empty."""

    lowest: float | None
    mean: float | None
    highest: float | None


class TagCount(BaseModel):
    """How many products carry a tag."""

    tag: str
    products: int


class Overview(BaseModel):
    """The catalogue at a glance; exchange rates are null while nobody tells them."""

    products: int
    prices: PriceStatistics
    top_tags: list[TagCount]
    recent: list[Product]
    rates: dict[str, float] | None


class PriceHistory(Body):
    """Prices of consecutive days."""

    prices: Annotated[list[Price], Field(min_length=2, max_length=2000)]


class PriceTrendReport(BaseModel):
    """The line through a price history, and Kendall's tau from -1 to 1."""

    direction: Literal["rising", "falling", "flat"]
    slope_per_day: float
    intercept: float
    tau: float
