"""One save is one reload, however an editor writes it."""

import asyncio
import contextlib
import os
import py_compile
import time
from pathlib import Path

import pytest

from servekit.start.code_watch import watch_code
from servekit.testing import patience

GAP_SECONDS = 0.1
TEXT = "def greet():\n    return 1\n"


def in_pieces(file: Path) -> None:
    with file.open("w") as opened:
        for line in TEXT.splitlines(keepends=True):
            time.sleep(GAP_SECONDS)
            opened.write(line)
            opened.flush()


def emptied_first(file: Path) -> None:
    file.write_text("")
    time.sleep(GAP_SECONDS)
    file.write_text(TEXT)
    os.utime(file)


def as_vim_does(file: Path) -> None:
    probe, backup = file.with_name("4913"), file.with_name(f"{file.name}~")
    probe.touch()
    probe.unlink()
    file.rename(backup)
    time.sleep(GAP_SECONDS)
    file.write_text(TEXT)
    file.chmod(0o644)
    backup.unlink()


def as_emacs_does(file: Path) -> None:
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("user@host.1")
    file.rename(file.with_name(f"{file.name}~"))
    in_pieces(file)
    lock.unlink()


def by_renaming(file: Path) -> None:
    new = file.with_name(f"{file.name}___jb_tmp___")
    in_pieces(new)
    file.rename(file.with_name(f"{file.name}___jb_old___"))
    time.sleep(GAP_SECONDS)
    new.rename(file)


def formatted_at_once(file: Path) -> None:
    file.write_text(TEXT.replace("1", "2"))
    time.sleep(GAP_SECONDS)
    in_pieces(file)


def with_others(file: Path) -> None:
    for number in range(3):
        in_pieces(file.with_name(f"other{number}.py"))
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"x")


SAVES = [
    in_pieces, emptied_first, as_vim_does, as_emacs_does, by_renaming, formatted_at_once,
    with_others,
]  # fmt: skip


@pytest.mark.parametrize("save", SAVES)
async def test_a_save_is_one_change(tmp_path, save):
    file = tmp_path / "app.py"
    file.write_text("x = 1\n")
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    async with watch_code([tmp_path], changed):
        await until_seen(tmp_path / "first.py", lambda: changes)
        before = changes
        await asyncio.to_thread(save, file)
        await until(lambda: changes > before)
        seen = changes - before
        # What the save still had to tell comes before another change does.
        await until_seen(tmp_path / "last.py", lambda: changes > before + seen)
        assert changes - before - 1 == seen == 1


async def test_what_was_compiled_of_a_file_does_not_outlive_it(tmp_path):
    file = tmp_path / "app.py"
    file.write_text("x = 1\n")
    seen = asyncio.Event()
    async with watch_code([tmp_path], seen.set):
        await until_seen(tmp_path / "first.py", seen.is_set)
        seen.clear()
        compiled = Path(str(py_compile.compile(str(file))))
        file.write_text("x = 2\n")  # of the same size, and mostly of the same second
        await until(seen.is_set)
    assert not await asyncio.to_thread(compiled.exists)


async def until_seen(file: Path, seen) -> None:
    """Write a file once, and again only if nobody was watching yet, until that is noticed."""
    async with asyncio.timeout(patience(10)):
        while not seen():
            await asyncio.to_thread(file.write_text, "x = 1\n")
            with contextlib.suppress(TimeoutError):
                await until(seen, seconds=1)


async def until(seen, seconds: float = 5) -> None:
    async with asyncio.timeout(patience(seconds)):
        while not seen():  # noqa: ASYNC110 - a plain count is what the watcher changes
            await asyncio.sleep(0.02)
