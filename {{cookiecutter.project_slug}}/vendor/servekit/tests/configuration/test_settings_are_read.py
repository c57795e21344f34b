"""A setting that the library declares and leaves to others is ignored where they do not read it."""

import ast
from pathlib import Path

import pytest

import servekit
from servekit import Settings
from tests.sources import parse


def read_attributes() -> set[str]:
    sources = Path(servekit.__file__).parent.rglob("*.py")
    nodes = (node for source in sources for node in ast.walk(parse(source.read_bytes())))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


READ = read_attributes()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_read_by_the_library(name):
    assert name in READ
