import ast
import inspect
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from servekit import Service, Settings
from tests.sources import parse
from tests.stores.workers import until

PAGE = Path(__file__).parents[1] / "docs" / "caching.md"


def examples():
    """Yield each Python block with the line it begins at."""
    text = PAGE.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield text[: block.start(1)].count("\n"), block.group(1)


async def test_every_example_of_the_page_runs(redis_url):
    app = FastAPI()
    service = Service(Settings(environment="test", redis_url=SecretStr(redis_url)))
    service.install(app)
    app.middleware_stack = app.build_middleware_stack()
    async with app.router.lifespan_context(app):
        await until(lambda: service.cache.coherent)
        names = {"cache": service.cache, "__name__": "examples"}
        ran = 0
        for line, source in examples():
            tree = parse(source, str(PAGE))
            ast.increment_lineno(tree, line)
            code = compile(tree, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
            ran += 1
        assert ran >= 11


@pytest.mark.parametrize("setting", ["cache_enabled", "cache_local_mib", "timeout_cache_ms"])
def test_the_settings_of_the_page_exist(setting):
    assert setting in Settings.model_fields
    assert setting.upper() in PAGE.read_text()
