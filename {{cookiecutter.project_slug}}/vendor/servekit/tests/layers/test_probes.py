import pytest
from fastapi import FastAPI

from servekit.draining import Draining
from servekit.layers.probes import ProbesMiddleware
from servekit.routing.routes import read_routes
from tests.asgi import answers, call, foreign, passed


def ready() -> Draining:
    draining = Draining()
    draining.ready = True
    return draining


async def test_livez_is_200_whatever_else_holds():
    draining = Draining()
    app = ProbesMiddleware(answers(500), draining=draining, check=lambda: False)
    assert (await call(app, "/livez")).status == 200
    draining.begin()
    assert (await call(app, "/livez")).status == 200


async def test_readyz_is_503_before_warm_up_on_a_local_fault_and_while_draining():
    draining = Draining()
    healthy = [True]
    app = ProbesMiddleware(answers(), draining=draining, check=lambda: healthy[0])
    assert (await call(app, "/readyz")).status == 503
    draining.ready = True
    assert (await call(app, "/readyz")).status == 200
    healthy[0] = False
    assert (await call(app, "/readyz")).status == 503
    healthy[0] = True
    draining.begin()
    assert (await call(app, "/readyz")).status == 503


async def test_probes_take_get_and_head_only():
    app = ProbesMiddleware(answers(), draining=ready(), headers=[(b"x-frame-options", b"DENY")])
    assert (await call(app, "/livez")).body == b"ok"
    assert (await call(app, "/readyz", "HEAD")).body == b""
    refused = await call(app, "/livez", "POST")
    assert refused.status == 405
    assert refused.headers[b"allow"] == b"GET, HEAD"
    assert refused.headers[b"x-frame-options"] == b"DENY"


def with_probes_of_its_own(draining: Draining) -> ProbesMiddleware:
    app = FastAPI()

    @app.get("/livez")
    @app.get("/readyz")
    async def own() -> str:
        return "own"

    return ProbesMiddleware(app, draining=draining, routes=lambda: read_routes(app))


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_an_applications_own_probe_answers(path):
    app = with_probes_of_its_own(ready())
    assert (await call(app, path)).body == b'"own"'
    assert (await call(app, path, "POST")).status == 405


async def test_an_applications_own_readiness_is_not_asked_while_the_worker_is_not_ready():
    draining = Draining()
    app = with_probes_of_its_own(draining)
    assert (await call(app, "/readyz")).status == 503
    draining.ready = True
    draining.begin()
    assert (await call(app, "/readyz")).status == 503
    assert (await call(app, "/livez")).body == b'"own"'


async def test_a_route_of_every_path_is_no_probe():
    app = FastAPI()
    app.add_api_route("/{path:path}", lambda path: path)
    app.mount("/", FastAPI())
    probes = ProbesMiddleware(app, draining=ready(), routes=lambda: read_routes(app))
    assert (await call(probes, "/livez")).body == b"ok"


async def test_everything_else_goes_on():
    app = ProbesMiddleware(answers(418), draining=ready())
    assert (await call(app, "/livez/more")).status == 418
    assert await passed(ProbesMiddleware(foreign, draining=ready()), {"type": "lifespan"})
