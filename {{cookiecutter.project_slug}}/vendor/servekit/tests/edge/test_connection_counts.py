import os

from servekit.edge.connection_counts import ConnectionCounts


def test_a_worker_sees_the_least_loaded_of_the_others_in_any_process():
    counts = ConnectionCounts.create()
    mine, busy, idle = counts.reserve(), counts.reserve(), counts.reserve()
    counts.publish(mine, 0)
    counts.publish(busy, 7)
    assert counts.least_of_other_workers(mine) == 7
    twin = ConnectionCounts(os.dup(counts.fd))
    twin.publish(idle, 3)
    twin.close()
    assert counts.least_of_other_workers(mine) == 3
    counts.close()


def test_a_worker_that_takes_none_or_has_ended_does_not_count_and_its_entry_is_used_again():
    counts = ConnectionCounts.create()
    mine, other = counts.reserve(), counts.reserve()
    counts.publish(other, 3)
    counts.withdraw(other)
    assert counts.least_of_other_workers(mine) is None
    counts.release(other)
    assert counts.least_of_other_workers(mine) is None
    assert counts.reserve() == other
    counts.close()
