"""Every example of the page on caching runs."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from servekit import Settings
from tests.stores.workers import worker

PAGE = Path(__file__).parents[1] / "docs" / "caching.md"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples():
    """Yield each Python block with the line it begins at."""
    text = PAGE.read_text()
    for block in CODE.finditer(text):
        yield text[: block.start(1)].count("\n"), block.group(1)


async def test_every_example_of_the_page_runs(redis_url):
    async with worker(redis_url) as cache:
        names = {"cache": cache, "__name__": "examples"}
        ran = 0
        for line, source in examples():
            tree = ast.parse(source, str(PAGE))
            ast.increment_lineno(tree, line)
            code = compile(tree, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
            ran += 1
        assert ran >= 10


@pytest.mark.parametrize("setting", ["cache_enabled", "cache_local_mib", "timeout_cache_ms"])
def test_the_settings_of_the_page_exist(setting):
    assert setting in Settings.model_fields
    assert setting.upper() in PAGE.read_text()
