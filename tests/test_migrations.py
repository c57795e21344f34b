"""The guide to migrations: its env.py, under what stands for Alembic, which no project has yet."""

import re
import subprocess
from pathlib import Path

import pytest
from running import clean_environment

CONTEXT = """
from contextlib import nullcontext
configured = {}
def configure(**given):
    configured.update(given)
def begin_transaction():
    return nullcontext()
def run_migrations():
    connection, metadata = configured["connection"], configured["target_metadata"]
    there = connection.dialect.get_table_names(connection)
    print(connection.dialect.name, *there, *sorted(metadata.tables))
"""


@pytest.fixture
def env(template, tmp_path) -> Path:
    page = next(template.glob("{{*/docs/development.md")).read_text(encoding="utf-8")
    (code,) = re.findall(
        r"^```python\n(\"\"\"What Alembic runs.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "env.py").write_text(code)
    (tmp_path / "alembic").mkdir()
    (tmp_path / "alembic" / "__init__.py").touch()
    (tmp_path / "alembic" / "context.py").write_text(CONTEXT)
    return tmp_path / "env.py"


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_FILE"])
def test_the_guides_env_knows_every_table_and_creates_none(installed_service, env, name):
    url = f"sqlite:///{env.parent}/new.db"
    (env.parent / "url").write_text(url)
    value = {"DATABASE_URL": url, "DATABASE_URL_FILE": env.parent / "url"}[name]
    done = subprocess.run(
        [installed_service / ".venv" / "bin" / "python", env],
        cwd=env.parent,
        env=clean_environment(**{name: value}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["sqlite", "products", "users"], done.stderr
    assert (env.parent / "new.db").exists()
