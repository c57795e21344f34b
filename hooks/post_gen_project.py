"""Drop the files of answers that were not chosen, and what tools left in the template's folder."""

import json
import shutil
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


for option, paths in ANSWERS["_files_by_option"].items():
    if not ANSWERS[option]:
        for path in paths:
            drop(Path(path))
for cache in CACHES:
    for folder in sorted(Path().rglob(cache)):
        shutil.rmtree(folder)
