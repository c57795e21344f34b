from annotated_types import Ge

from service.runtime.workers.watch import DUMP_SECONDS
from service.runtime.workers.worker import BEAT_SECONDS
from service.settings import Settings


def test_the_shortest_limit_for_silence_leaves_room_for_a_heartbeat_that_is_late():
    bounds = Settings.model_fields["worker_hang_seconds"].metadata
    shortest = next(bound.ge for bound in bounds if isinstance(bound, Ge))

    assert isinstance(shortest, int)
    assert shortest - DUMP_SECONDS >= 2 * BEAT_SECONDS
