import ast
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.parts import Parts
from service.settings import Settings

SOURCE = Path(__file__).parent.parent / "src" / "service"

MAY_IMPORT = {
    "runtime": {"runtime"},
    "stores": {"stores", "runtime"},
    "middleware": {"middleware", "runtime", "stores"},
    "ops": {"ops", "runtime", "stores"},
    "upstream": {"upstream", "runtime"},
    "example": {"example", "middleware", "runtime", "stores", "upstream"},
}
READS_SETTINGS = {"app.py", "parts.py", "__main__.py", "launch.py", "environment.py"}


def imports_of_ours(file: Path) -> set[str]:
    """Return the dotted names below `service.` that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("service"):
            found.add(node.module.removeprefix("service").lstrip("."))
        elif isinstance(node, ast.Import):
            found |= {
                name.name.removeprefix("service.") for name in node.names if "service" in name.name
            }
    return found


def sources(folder: str) -> list[Path]:
    return sorted((SOURCE / folder).rglob("*.py"))


def test_the_layers_of_a_request_stand_in_this_order(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("CORS_ORIGINS", "https://app.example.com")
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "60")

    layers = create_app(Settings()).user_middleware

    names = [getattr(layer.cls, "__name__", "") for layer in layers]

    assert names == [
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
        "CORSMiddleware",
        "RateLimitMiddleware",
        "ResponseCacheMiddleware",
        "CompressionMiddleware",
        "BodyLimitMiddleware",
        "CrossSiteMiddleware",
        "SessionMiddleware",
    ]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/nowhere"])
def test_every_answer_of_a_draining_worker_asks_to_reconnect(monkeypatch, path):
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    settings = Settings()
    parts = Parts(settings)
    client = TestClient(create_app(settings, parts), base_url="http://localhost")

    assert "connection" not in client.get(path).headers
    parts.draining.begin()
    assert client.get(path).headers["connection"] == "close"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_point_one_way(folder):
    wrong = {
        f"{file.relative_to(SOURCE)}: {name}"
        for file in sources(folder)
        for name in imports_of_ours(file)
        if name.split(".")[0] not in MAY_IMPORT[folder]
    }

    assert wrong == set()


def test_only_the_composer_reads_settings():
    readers = {file.name for file in sources(".") if "settings" in imports_of_ours(file)}

    assert readers == READS_SETTINGS


def test_no_module_is_longer_than_a_reader_can_hold():
    long = {
        f"{file.relative_to(SOURCE)}: {lines}"
        for file in sources(".")
        if (lines := len(file.read_text().splitlines())) > 250
    }

    assert long == set()
