import os

from servekit.edge.board import Board


def test_a_worker_sees_the_least_loaded_of_the_others_in_any_process():
    board = Board.create()
    mine, busy, idle = board.take(), board.take(), board.take()
    board.write(mine, 0)
    board.write(busy, 7)
    assert board.least_of_others(mine) == 7
    twin = Board(os.dup(board.fd))
    twin.write(idle, 3)
    twin.close()
    assert board.least_of_others(mine) == 3
    board.close()


def test_a_worker_that_takes_none_or_has_ended_does_not_count_and_its_cell_is_used_again():
    board = Board.create()
    mine, other = board.take(), board.take()
    board.write(other, 3)
    board.leave(other)
    assert board.least_of_others(mine) is None
    board.give_back(other)
    assert board.least_of_others(mine) is None
    assert board.take() == other
    board.close()
