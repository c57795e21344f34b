from annotated_types import Ge

from servekit.settings import Settings
from servekit.workers.health import DUMP_SECONDS
from servekit.workers.worker import HEARTBEAT_SECONDS


def test_the_shortest_limit_for_silence_leaves_room_for_a_heartbeat_that_is_late():
    bounds = Settings.model_fields["worker_hang_seconds"].metadata
    shortest = next(bound.ge for bound in bounds if isinstance(bound, Ge))

    assert isinstance(shortest, int)
    assert shortest - DUMP_SECONDS >= 2 * HEARTBEAT_SECONDS
