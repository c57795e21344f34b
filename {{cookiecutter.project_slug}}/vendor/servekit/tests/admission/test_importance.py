from fastapi import APIRouter, FastAPI

from servekit.admission.importance import Importances, critical, sheddable
from servekit.routing.routes import read_routes
from tests.asgi import http_scope


def test_prefixes_decide_and_everything_else_is_normal():
    importances = Importances(critical=["/pay"], sheddable=["/reports", "/search"])

    assert importances.of(http_scope("/pay/now")) == "critical"
    assert importances.of(http_scope("/search")) == "sheddable"
    assert importances.of(http_scope("/")) == "normal"


def test_a_route_says_itself_how_much_it_matters():
    router = APIRouter(prefix="/shop")

    @router.post("/orders/{number}")
    @critical
    async def order(number: int) -> int:
        return number

    @router.get("/trends")
    @sheddable
    async def trends() -> int:
        return 0

    @router.get("/orders")
    async def orders() -> int:
        return 0

    app = FastAPI()
    app.include_router(router)
    importances = Importances(routes=lambda: read_routes(app))

    assert importances.of(http_scope("/shop/orders/7", "POST")) == "critical"
    assert importances.of(http_scope("/shop/trends")) == "sheddable"
    assert importances.of(http_scope("/shop/orders")) == "normal"


def test_a_prefix_goes_before_a_decorator():
    app = FastAPI()

    @app.get("/trends")
    @sheddable
    async def trends() -> int:
        return 0

    importances = Importances(critical=["/trends"], routes=lambda: read_routes(app))

    assert importances.of(http_scope("/trends")) == "critical"
