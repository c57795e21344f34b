from servekit.draining import Draining
from servekit.layers.draining import DrainingMiddleware
from tests.asgi import answers, call, foreign, passed


async def test_connections_close_once_draining_began_and_not_before():
    draining = Draining()
    app = DrainingMiddleware(answers(headers=[(b"connection", b"keep-alive")]), draining=draining)
    assert (await call(app)).headers[b"connection"] == b"keep-alive"
    draining.begin()
    answer = await call(app)
    fields = [value for name, value in answer.starts[0]["headers"] if name == b"connection"]
    assert fields == [b"close"]


async def test_other_scopes_pass():
    draining = Draining()
    draining.begin()
    assert await passed(DrainingMiddleware(foreign, draining=draining), {"type": "websocket"})
