"""The page in a real browser: it works by keyboard, complains of nothing, and asks nobody else."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from servekit.testing import patience
from tests.console.chromium import Page, needs_chromium

pytestmark = needs_chromium
READY = "document.querySelectorAll('#workers tbody tr:not(.ill)').length === 2"
RESULT = "document.getElementById('result').textContent"


@pytest.fixture
async def page():
    async with Page() as opened:
        yield opened


async def press(page, label):
    """Press a button by the keyboard."""
    await page.value(
        f"[...document.querySelectorAll('button')].find((each) => "
        f"(each.ariaLabel ?? each.textContent) === {label!r}).focus()"
    )
    await page.press("Enter", "\r")


async def test_the_token_is_typed_and_all_is_seen_and_done_by_keyboard(start_looked_at, page):
    service = start_looked_at(ADMIN_TOKEN="a-token-of-some-length")
    await page.open(f"{service.admin_url}/")
    await page.until("document.activeElement.id === 'token'")
    for letter in "a-token-of-some-length":
        await page.press(letter, letter)
    await page.press("Enter", "\r")
    await page.until(READY)

    await press(page, "Set")
    await page.until(f"{RESULT}.startsWith('All workers log info')")
    await press(page, "Tasks of worker 0")
    await page.until("document.getElementById('dialog-body').textContent.includes('Worker.run')")
    await page.press("Escape")
    await page.until("!document.getElementById('dialog').open")
    await press(page, "Heap of worker 1")
    await page.until("document.getElementById('dialog-body').textContent.includes('builtins.str')")
    await page.press("Escape")
    await page.value("document.querySelector('[name=count]').value = 3")
    await press(page, "Scale")
    await page.until(f"{RESULT} === 'Workers ready: 3.'", 20)
    await press(page, "Reload the code")
    await page.until(f"{RESULT} === 'The new code serves.'", 30)
    await page.value("document.querySelector('[name=seconds]').value = '5'")
    await press(page, "Profile")
    address = await page.until("document.querySelector('#result a')?.href", 20)
    await page.value("document.querySelector('#result a').click()")
    graph = await page.tab(address)
    assert await graph.until("document.querySelectorAll('.graph button').length")

    assert page.complaints == []
    hosts = {url.split("/")[2] for url in page.requests if not url.startswith("blob:")}
    assert hosts == {service.admin_url.removeprefix("http://")}
    assert not [url for url in page.requests if "a-token" in url]


async def test_a_killed_worker_is_seen_on_the_page_within_two_seconds(start_looked_at, page):
    service = start_looked_at()
    await page.open(f"{service.admin_url}/")
    await page.until(READY)
    pid = int(
        await page.value("document.querySelector('#workers td').textContent.split(' ').at(-1)")
    )
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    await page.until("document.getElementById('events').textContent.includes('status=-9')")
    assert time.monotonic() - began < patience(2)
    assert page.complaints == []


async def test_a_worker_that_drains_has_no_button_that_asks_another(start_looked_at, page):
    service = start_looked_at()
    await page.open(f"{service.admin_url}/")
    await page.until(READY)
    host, port = service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /wait/long HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(0.1)
    service.process.send_signal(signal.SIGHUP)
    shown = "[...document.querySelectorAll('#workers tbody tr.ill button')].map((b) => b.hidden)"
    await page.until("document.querySelectorAll('#workers tbody tr').length === 3", 20)
    await page.until(f"{shown}.length === 3 && {shown}.every(Boolean)")
    assert await page.value("document.querySelectorAll('#workers tbody button').length") == 9
    writer.close()
    assert reader is not None
    assert page.complaints == []


async def test_a_hidden_tab_is_sent_nothing_and_goes_on_when_it_is_seen(start_looked_at, page):
    service = start_looked_at()
    await page.open(f"{service.admin_url}/")
    await page.until(READY)
    await page.value(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await page.until("document.getElementById('link').textContent.startsWith('Paused')")
    await asyncio.sleep(1.5)  # a document would have come
    assert await page.value("document.getElementById('link').textContent.startsWith('Paused')")
    streams = sum(url.endswith("/stream") for url in page.requests)
    await page.value(
        "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))"
    )
    await page.until("document.getElementById('link').textContent.startsWith('Live')")
    assert sum(url.endswith("/stream") for url in page.requests) == streams + 1
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
async def test_nothing_stands_out_of_the_page(start_looked_at, page, width, scheme):
    service = start_looked_at()
    await page.resize(width, 900)
    await page.scheme(scheme)
    await page.open(f"{service.admin_url}/")
    await page.until(READY)
    assert await page.value("document.documentElement.scrollWidth") <= width
    if folder := os.environ.get("CONSOLE_PICTURES"):
        await page.picture(Path(folder) / f"{scheme}-{width}.png")
