"""The console of a service, put together: journal, feed, page, and the drawing of profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servekit.configuration.identity import project_name
from servekit.console.feed import Feed
from servekit.console.journal import Journal, note_events
from servekit.console.page import Console
from servekit.diagnosis.flame_graph import View, digest, flame_graph, read
from servekit.diagnosis.stacks import Profile

if TYPE_CHECKING:
    from servekit.configuration.settings import Settings
    from servekit.supervisor.view import SupervisorView


def open_journal() -> Journal:
    """Return the journal, in which the supervisor's own events are noted from now on."""
    journal = Journal()
    note_events(journal.add)
    return journal


def make_console(
    view: SupervisorView, journal: Journal, settings: Settings
) -> tuple[Console, Feed]:
    """Return the console, and its feed, to be closed before the admin port is."""
    package = type(settings).__module__.partition(".")[0]
    about = {"name": project_name(package) or package, "environment": settings.environment}
    feed = Feed(view, journal, about)
    inline = digest(read("flame_graph.js")), digest(read("flame_graph.css"))
    asks_token = bool(settings.admin_token.get_secret_value())
    return Console(view, feed, draw=draw, inline=inline, asks_token=asks_token), feed


def draw(stacks: list[str], told: str) -> str:
    """Return the page of a profile that was sampled in several workers."""
    profile = Profile()
    for collapsed in stacks:
        profile.add(collapsed)
    return flame_graph((profile, View("Where the event loops spend their time")), told=told)
