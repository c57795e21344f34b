"""Render the template from its tracked files: `python tests/render.py OUT [name=answer ...]`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "{{cookiecutter.project_slug}}"
COOKIECUTTER = (sys.executable, "-m", "cookiecutter", "--default-config")


def tracked_files() -> list[str]:
    """Return what git tracks and the working tree still holds, as paths relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy_tracked(folder: Path) -> Path:
    """Copy the tracked files as they are now, so that no cache gets into a render."""
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def render(template: Path, out: Path, **answers: object) -> Path:
    """Render without questions into a folder of `out` named by the slug, and return that folder."""
    return Path(
        cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(out),
            default_config=True,
        )
    )


def main(out: str, *answers: str) -> int:
    with tempfile.TemporaryDirectory() as copy:
        template = copy_tracked(Path(copy) / "perf-template")
        command = [*COOKIECUTTER, str(template), "--no-input", "--output-dir", out, *answers]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
