"""Refuse a name that is taken, drop the files that were not chosen, and what tools left here."""

import json
import re
import shutil
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")
CACHES = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".venv")


def drop(path: Path) -> None:
    """Remove a file or folder and the parents that it leaves empty.

    Raises:
        FileNotFoundError: The path does not exist, so the manifest is wrong.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for parent in path.parents:
        if any(parent.iterdir()):
            break
        parent.rmdir()


# An installer would replace the one by the other, or find that a project depends on itself.
slug, locks = ANSWERS["project_slug"], Path("requirements").glob("*.txt")
locked = re.findall(r"^[\w.-]+(?=.*==)", "\n".join(map(Path.read_text, locks)), re.MULTILINE)
if slug in {*locked, *ANSWERS["_names_taken"]}:
    sys.exit(f"project_slug {slug!r} is refused: a dependency has that name, take {slug}-service.")
for option, paths in ANSWERS["_files_by_option"].items():
    if not ANSWERS[option]:
        for path in paths:
            drop(Path(path))
for cache in CACHES:
    for folder in sorted(Path().rglob(cache)):
        shutil.rmtree(folder)
