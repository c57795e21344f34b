from servekit.draining import Draining
from servekit.layers.probes import ProbesMiddleware
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


async def test_everything_else_goes_on():
    app = ProbesMiddleware(answers(418), draining=ready())
    assert (await call(app, "/livez/more")).status == 418
    assert await passed(ProbesMiddleware(foreign, draining=ready()), {"type": "lifespan"})
