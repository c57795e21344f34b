from servekit.console.top import READINGS_MAX, Screen, graph

ROW = {
    "slot": 0,
    "pid": 42,
    "state": "ready",
    "restarts": {"crash": 2},
    "rss_bytes": 2**27,
    "rate": 12.0,
    "lag_seconds": 0.002,
    "utilization": 0.5,
    "p99_seconds": 0.0125,
    "active": 3,
    "pressure": 0.25,
    "answers": True,
    "heartbeat_age_seconds": 0.4,
}
DOCUMENT = {
    "at": 0,
    "wanted": 2,
    "stopping": False,
    "workers": [ROW],
    "caches": [],
    "pools": [],
    "running": [
        {"worker": 0, "seconds": 3.5, "method": "GET", "route": "/\x1b[2J", "place": "a.py:1 f"}
    ],
    "events": [
        {"at": 0, "level": "warning", "worker": 0, "event": "worker_ended", "detail": "status=-9"},
        {"at": 0, "level": "info", "worker": None, "event": "scaled", "detail": "after=2"},
    ],
}


def shown(document, width=200, height=0, *, bars=True):
    screen = Screen()
    screen.take({"about": {"name": "shop"}})
    for _ in range(3):
        screen.take(document)
        document = document | {"events": []}
    return screen.text(width, height, bars=bars)


def test_it_says_what_the_page_says_without_colours():
    text = shown(DOCUMENT)
    head, _, titles, row, *_ = text.splitlines()
    assert "1 of 2 workers answer  12 req/s  p99 12.5 ms" in head
    assert row.split()[:4] == ["0", "42", "ready", "12"]
    assert row.split()[-5:] == ["12.5", "128", "3", "25%", "crash:2"]
    assert titles.index("p99 ms") + 6 == row.index("12.5") + 4
    assert text.index("scaled") < text.index("worker_ended"), "newest first"


def test_what_is_shown_fits_the_terminal_and_cannot_command_it():
    text = shown(DOCUMENT, width=60, height=9)
    assert len(text.splitlines()) == 9
    assert max(map(len, text.splitlines())) <= 60
    assert "\x1b" not in text


def test_without_a_terminal_nothing_is_cut():
    event = {"at": 0, "level": "info", "worker": None, "event": "scaled", "detail": "x" * 500}
    assert "x" * 500 in shown(DOCUMENT | {"events": [event]}, width=0)


def test_a_terminal_that_knows_ascii_only_gets_no_bars():
    shown(DOCUMENT, bars=False).encode("ascii")


def test_a_silent_worker_is_told_in_words():
    silent = ROW | {"answers": False, "heartbeat_age_seconds": 7.2}
    assert " silent 7s " in shown(DOCUMENT | {"workers": [silent]})


def test_a_graph_has_gaps_where_nothing_is_known():
    assert graph([0.0, None, 50.0, 100.0], 100.0) == "▁ ▄█"


def test_once_ends_though_no_worker_ever_answers():
    waiting = {name: value for name, value in ROW.items() if name != "rate"} | {"state": "waiting"}
    screen = Screen()
    readings = 0
    while not screen.complete:
        screen.take(DOCUMENT | {"workers": [waiting]})
        readings += 1
    assert readings == READINGS_MAX
    assert "waiting" in screen.text(bars=False)
