"""A supervisor's life as a test tells it, event by event."""

from servekit.supervisor import events
from servekit.supervisor.decisions import Decisions
from servekit.supervisor.program import SupervisorConfig

CONFIG = SupervisorConfig(program="any:thing", workers=2)


class Script:
    """A supervisor's life as a test tells it."""

    def __init__(self, config=CONFIG) -> None:
        self.decisions = Decisions(config)
        self.now = 0.0
        self.done: list[events.Action] = []

    def tell(self, *happened: events.Event, at: float | None = None) -> list[events.Action]:
        self.now = self.now if at is None else at
        new = [each for event in happened for each in self.decisions.handle(event, self.now)]
        self.done += new
        return new

    def start(self):
        self.tell(events.TimePassed(), events.Loaded(1), events.Ready(0), events.Ready(1))
        return self


def kinds(actions, kind):
    return [action for action in actions if isinstance(action, kind)]


def logged(actions, event):
    return [action.facts for action in kinds(actions, events.Log) if action.event == event]
