"""The source distributions of what is installed: they hold the tests, which wheels do not."""

from __future__ import annotations

import re
import subprocess
import tarfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "requirements" / "dev.txt", ROOT.parents[1] / "requirements" / "dev.txt")


class SourcesError(Exception):
    """The tests of a project cannot be had; the text names the remedy."""


def unpack(project: str, *, python: Path, cache: Path, folder: Path | None) -> Path:
    """Return the unpacked source distribution of the installed version, without the package.

    It is taken from `folder`, or downloaded once into `cache`, with the hash that a lock names.
    """
    name = f"{project}-{version(project)}"
    archive = (folder or cache) / f"{name}.tar.gz"
    if folder is None and not archive.exists():
        download(project, python=python, cache=cache)
    if not archive.exists():
        raise SourcesError(f"There is no {archive}.")
    target = cache / name
    if not target.exists():
        with tarfile.open(archive) as content:
            members = [
                one for one in content.getmembers() if not one.name.startswith(f"{name}/{project}/")
            ]
            content.extractall(cache, members=members, filter="data")
    return target


def download(project: str, *, python: Path, cache: Path) -> None:
    """Have pip fetch a source distribution from wherever it is configured to look."""
    cache.mkdir(parents=True, exist_ok=True)
    requirement = cache / f"{project}.txt"
    requirement.write_text(locked(project))
    command = [
        *(str(python), "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-binary", project, "--require-hashes"),
        *("--dest", str(cache), "--requirement", str(requirement)),
    ]
    if subprocess.run(command, check=False).returncode:
        raise SourcesError(
            f"pip could not download the source distribution of {project}; "
            "SDISTS=folder takes it from a folder."
        )


def locked(project: str) -> str:
    """Return the line of a lock that names the installed version and its hashes."""
    line = re.compile(
        rf"^{project}=={re.escape(version(project))} \\\n(?: +--hash=.*\n)+", re.MULTILINE
    )
    for lock in LOCKS:
        if lock.exists() and (found := line.search(lock.read_text())):
            return found[0]
    raise SourcesError(
        f"No lock names {project} {version(project)}, which is installed: "
        "`make lock`, or SDISTS=folder with its source distribution."
    )
