"""Names of things to import, as command lines and boot messages carry them."""

from __future__ import annotations

import importlib
from typing import Any


def find(import_string: str) -> Any:
    """Import a module and return what `module:name` names there."""
    module, _, name = import_string.partition(":")
    return getattr(importlib.import_module(module), name)
