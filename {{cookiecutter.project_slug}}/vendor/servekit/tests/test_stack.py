"""The layers around an application: their order, and what all of them give."""

from typing import Any

import pytest
from fastapi import FastAPI

from servekit import Service, Settings
from servekit.stack import layers

ORDER = [
    "CorsMiddleware",
    "DrainingMiddleware",
    "ProbesMiddleware",
    "OverloadMiddleware",
    "RequestIdMiddleware",
    "TelemetryMiddleware",
    "SecurityHeadersMiddleware",
    "ErrorsMiddleware",
    "DeadlineMiddleware",
    "ProxyHeadersMiddleware",
    "TrustedHostsMiddleware",
    "PreflightMiddleware",
    "RateLimitMiddleware",
    "ResponseCacheMiddleware",
    "CompressionMiddleware",
    "BodyLimitMiddleware",
    "CrossSiteMiddleware",
    "SessionMiddleware",
]
SWITCHED: dict[str, dict[str, Any]] = {
    "CorsMiddleware": {"cors_origins": []},
    "RateLimitMiddleware": {"rate_limit_per_minute": 0},
    "BodyLimitMiddleware": {"limit_body_bytes": 0},
}
ALL_ON: dict[str, Any] = {"cors_origins": ["https://app.example.com"], "rate_limit_per_minute": 60}


def names(settings, app=None):
    stack = layers(Service(settings), app or FastAPI())
    return [getattr(layer.cls, "__name__", "") for layer in stack]


def test_the_layers_of_a_request_stand_in_this_order(make_settings):
    assert names(make_settings(Settings, **ALL_ON)) == ORDER


@pytest.mark.parametrize("layer", SWITCHED)
def test_a_feature_that_is_off_has_no_layer(make_settings, layer):
    settings = make_settings(Settings, **ALL_ON | SWITCHED[layer])
    gone = {layer, "PreflightMiddleware"} if layer == "CorsMiddleware" else {layer}
    assert names(settings) == [name for name in ORDER if name not in gone]


def test_where_fastapi_limits_bodies_ours_stands_aside(make_settings):
    settings = make_settings(Settings, **ALL_ON)
    app = FastAPI(max_body_size=1000)
    assert names(settings, app) == [name for name in ORDER if name != "BodyLimitMiddleware"]


@pytest.fixture
def app(settings):
    app = FastAPI()
    Service(settings).install(app)
    return app


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/nowhere"])
async def test_every_answer_of_a_draining_worker_asks_to_reconnect(client, service, path):
    assert "connection" not in (await client.get(path)).headers
    service.draining.begin()
    assert (await client.get(path)).headers["connection"] == "close"
