"""Names and defaults of the service's settings, read from their source."""

import ast
from pathlib import Path
from typing import Any

CLOSE_SECONDS = 5.0
"""What the service plans for closing pools and processes, its environment.CLOSE_SECONDS."""


def settings_defaults(project: Path) -> dict[str, Any]:
    """Read names and default values of the settings from their sources."""
    library = project / "vendor" / "servekit" / "src/servekit/configuration/settings.py"
    defaults: dict[str, Any] = {}
    for path in (library, project / "src" / "service" / "settings.py"):
        defaults |= defaults_of(ast.parse(path.read_text()))
    return defaults


def defaults_of(tree: ast.Module) -> dict[str, Any]:
    (model,) = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings"
    ]
    defaults: dict[str, Any] = {}
    for node in model.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            keywords = {each.arg: each.value for each in getattr(node.value, "keywords", [])}
            value = keywords.get("default", node.value)
            defaults[node.target.id.upper()] = (
                value.value if isinstance(value, ast.Constant) else None
            )
    return defaults
