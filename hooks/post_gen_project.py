"""Refuse a name that is taken, drop the files that were not chosen, and what tools left here."""

import json
import re
import shutil
import sys
from pathlib import Path

ANSWERS = json.loads(r"""{{ cookiecutter | jsonify }}""")
CACHES = ("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".venv")
# What `make` installs beside the service has commands of these names in the same folder.
COMMANDS = (
    *("activate", "deactivate", "markdown-it", "pip", "pip3", "pydoc", "python", "python3"),
    *("dmypy", "dotenv", "hypothesis", "mypyc", "normalizer", "pygmentize", "py-spy"),
    *("stubgen", "stubtest", "uvx", "wheel"),
)


def taken() -> set[str]:
    """Return the names of the packages that are installed beside the service, and of commands.

    An installer would replace the one by the other, or find that a project depends on itself.
    """
    locks = "\n".join(
        lock.read_text(encoding="utf-8") for lock in Path("requirements").glob("*.txt")
    )
    packages = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", locks, re.MULTILINE)
    return {"servekit", *COMMANDS, *(re.sub("[-_.]+", "-", name).lower() for name in packages)}


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


slug = ANSWERS["project_slug"]
if slug in taken():
    sys.exit(
        f"project_slug {slug!r} is refused: a package or command that the service needs has that "
        f"name (take for example {slug}-service)."
    )
for option, paths in ANSWERS["_files_by_option"].items():
    if not ANSWERS[option]:
        for path in paths:
            drop(Path(path))
for cache in CACHES:
    for folder in sorted(Path().rglob(cache)):
        shutil.rmtree(folder)
