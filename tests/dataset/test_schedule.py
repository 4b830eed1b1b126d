import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.dataset.schedule import GameQueue, LanePlan, Share, WindowIndex, WindowPlan, shuffled


def queue(games, seed=0, share=None, epochs=1, usable=lambda game: True):
    return GameQueue(games, seed, share or Share(), epochs, usable)


def walk(lengths, lanes, at_once, **options):
    """The plan as a table: for every lane its (game, step) row by row, padding as None."""
    schedule = LanePlan(lanes, queue(len(lengths), **options), np.array(lengths))
    table = [[] for _ in range(lanes)]
    while segments := schedule.advance(at_once):
        block = [[None] * at_once for _ in range(lanes)]
        for s in segments:
            block[s.lane][s.row : s.row + s.length] = [(s.game, s.step + i) for i in range(s.length)]
        for lane in range(lanes):
            table[lane] += block[lane]
    rows = max((row + 1 for lane in table for row, at in enumerate(lane) if at is not None), default=0)
    return [lane[:rows] for lane in table]


def plain_walk(order, lengths, lanes):
    """One step at a time, one lane after the other."""
    order, table, at = list(order), [[] for _ in range(lanes)], [None] * lanes
    while order or any(at):
        for lane in range(lanes):
            if at[lane] is None and order:
                at[lane] = (order.pop(0), 0)
            table[lane].append(at[lane])
            if at[lane] is not None:
                game, step = at[lane]
                at[lane] = (game, step + 1) if step + 1 < lengths[game] else None
    return table


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12), lanes=st.integers(1, 5), at_once=st.integers(1, 9)
)
def test_lanes_walk_as_the_plain_loop_does_however_many_steps_are_asked_for_at_once(lengths, lanes, at_once):
    order = np.random.default_rng([0, 0]).permutation(len(lengths))
    assert walk(lengths, lanes, at_once) == plain_walk(order, lengths, lanes)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), of=st.integers(1, 4), epochs=st.integers(1, 3))
def test_shares_together_show_every_game_once_an_epoch(lengths, of, epochs):
    seen = []
    for index in range(of):
        lanes = walk(lengths, 2, 5, share=Share(index, of), epochs=epochs)
        seen += [at for lane in lanes for at in lane if at is not None]
    wanted = [(game, step) for game, length in enumerate(lengths) for step in range(length)] * epochs
    assert sorted(seen) == sorted(wanted)


def test_epochs_follow_each_other_without_padding():
    lanes = walk([3, 4, 5], 1, 7, epochs=4)
    assert None not in lanes[0]
    starts = [game for game, step in lanes[0] if step == 0]
    assert [sorted(starts[i : i + 3]) for i in range(0, 12, 3)] == [[0, 1, 2]] * 4
    assert len({tuple(starts[i : i + 3]) for i in range(0, 12, 3)}) > 1


def test_a_queue_without_end_stops_where_no_game_can_be_shown():
    assert queue(3, epochs=None, usable=lambda game: False).take() is None


def test_games_that_are_not_usable_are_passed_over():
    assert walk([2, 2, 2], 1, 4, seed=None, usable=lambda game: game != 1) == [[(0, 0), (0, 1), (2, 0), (2, 1)]]


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), lanes=st.integers(1, 4), before=st.integers(0, 20))
def test_a_schedule_goes_on_from_its_state(lengths, lanes, before):
    def new():
        return LanePlan(lanes, queue(len(lengths), epochs=2), np.array(lengths))

    one, other = new(), new()
    one.advance(before)
    other.load(one.state())
    assert one.advance(13) == other.advance(13)


def test_a_share_is_one_of_those_there_are():
    with pytest.raises(ValueError, match="part 2 of 2; expected 0 to 1"):
        Share(2, 2)


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    steps=st.integers(1, 9),
    cuts=st.lists(st.integers(0, 100), min_size=8, max_size=8),
)
def test_windows_cover_every_step_once(lengths, steps, cuts):
    index = WindowIndex(np.array(lengths), steps)
    windows = [index.window(number, lambda game: 1 + cuts[game] % steps) for number in range(len(index))]
    seen = [(game, start + i) for game, start, count in filter(None, windows) for i in range(count)]
    assert sorted(seen) == [(game, step) for game, length in enumerate(lengths) for step in range(length)]
    assert all(count <= steps for _, _, count in filter(None, windows))


def test_a_game_is_cut_anywhere_from_epoch_to_epoch_however_few_games_there_are():
    plan = WindowPlan(1, 8, np.array([40]), 0, Share(), 60, lambda game: True, replacement=False)
    starts = set()
    while segments := plan.advance(8):
        starts |= {segment.step % 8 for segment in segments}
    assert starts == set(range(8))


@given(size=st.integers(1, 300), keys=st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_shuffling_is_a_permutation(size, keys):
    assert sorted(shuffled(number, size, keys) for number in range(size)) == list(range(size))


def test_shuffling_mixes():
    order = np.array([shuffled(number, 10_000, [1, 2, 3, 4]) for number in range(10_000)])
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05
