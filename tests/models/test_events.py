"""What a policy remembers of events: against a plain loop, in scenes, and in games of the bot."""

from contextlib import closing
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, changed_by, made_up_inputs  # noqa: E402

from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.schema import HUNGER_STATES, BLStat  # noqa: E402
from strathack.dataset.streams import unrolls  # noqa: E402
from strathack.models.events import (  # noqa: E402
    AGES,
    FEVER,
    GUARD,
    HEALTHS,
    KINDS,
    NEEDS,
    PRAYER,
    EventMemory,
    EventsEncoder,
    health_of,
)
from strathack.models.policy import Policy  # noqa: E402

SAID = {
    "": None, "You begin praying to Anhur.": PRAYER, '"Please drop that gold and follow me."': GUARD,
    '"I repeat, drop that hidden money and follow me!"': GUARD, "Are you sure you want to pray? [yn] (n)": None,
    "The werejackal bites!  You feel feverish.": FEVER, "You feel purified.": None,
}  # fmt: skip
GAMES = Path(__file__).parents[2] / "data" / "autoascend-1k"


def inputs_of(turns, messages, first):
    """Frames by their turns, i32 [T, B], their messages, and whether they begin a game, bool [T, B]."""
    chars = np.full((*turns.shape, 24, 80), ord(" "), np.uint8)
    for place in np.ndindex(turns.shape):
        chars[place][0, : len(messages[place])] = list(messages[place].encode())
    blstats = np.zeros((*turns.shape, 27), np.int32)
    blstats[..., BLStat.TIME] = turns
    arrays = {"tty_chars": chars, "blstats": blstats, "first": first}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def kind_of(turn, noted):
    """What is told at a turn of an event that was at another turn, or never."""
    if noted is None:
        return int(turn > 300)
    return 2 + sum(turn - noted > age for age in AGES)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_is_told_is_that_of_a_plain_loop_wherever_unrolls_are_cut(data):
    shape = steps, lanes = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))

    def drawn(values):
        return np.array(data.draw(st.lists(values, min_size=steps * lanes, max_size=steps * lanes))).reshape(shape)

    messages, first = drawn(st.sampled_from(list(SAID))), drawn(st.booleans())
    turns = np.cumsum(drawn(st.integers(0, 400)).astype(np.int32), 0, dtype=np.int32)
    expected, noted = np.zeros((*shape, 3), int), [{} for _ in range(lanes)]
    for step, lane in np.ndindex(shape):
        if first[step, lane]:
            noted[lane] = {}
        if messages[step, lane] == "You feel purified.":
            noted[lane].pop(FEVER, None)
        if (event := SAID[messages[step, lane]]) is not None:
            noted[lane][event] = turns[step, lane]
        expected[step, lane] = [kind_of(turns[step, lane], noted[lane].get(event)) for event in (PRAYER, GUARD, FEVER)]
    memory, inputs = EventMemory(), inputs_of(turns, messages, first)
    cut = data.draw(st.integers(0, steps))
    state, told = memory.initial_state(lanes), []
    for part in (slice(0, cut), slice(cut, steps)):
        if part.start < part.stop:
            kinds, state = memory({name: value[part] for name, value in inputs.items()}, state)
            told.append(kinds)
    assert torch.cat(told).tolist() == expected.tolist()
    assert expected.max() < KINDS


@pytest.mark.parametrize(
    ("points", "most", "above"),
    [(16, 30, 0), (15, 30, 0), (14, 30, 1), (9, 30, 2), (20, 100, 2), (19, 100, 3), (16, 100, 4), (14, 100, 5),
     (15, 100, 4), (5, 5, HEALTHS - 1), (5, 100, HEALTHS - 1), (6, 100, 5)],
)  # fmt: skip
def test_hit_points_are_classed_as_the_bot_classes_them(points, most, above):
    blstats = torch.zeros(1, 27, dtype=torch.int32)
    blstats[0, BLStat.HP], blstats[0, BLStat.HPMAX] = points, most
    assert health_of(blstats).tolist() == [above]


def test_each_need_is_encoded_together_with_the_last_prayer_and_guards_by_themselves():
    encoder = EventsEncoder(16)
    points = [(30, 30), (14, 30), (9, 30), (19, 100), (16, 100), (14, 100), (3, 30)]
    needs, told = [], []
    for prayer, guard, fever in product(range(KINDS), range(KINDS), (0, 1, 2, 5)):
        for (now, most), hunger in product(points, range(HUNGER_STATES)):
            told.append((prayer, guard, fever))
            needs.append((now, most, hunger))
    blstats = torch.zeros(len(needs), 27, dtype=torch.int32)
    blstats[:, [BLStat.HP, BLStat.HPMAX, BLStat.HUNGER]] = torch.tensor(needs, dtype=torch.int32)
    encoded = encoder(torch.tensor(told, dtype=torch.uint8), blstats)
    assert len(encoded.unique(dim=0)) == KINDS * KINDS * 2 * HEALTHS * HUNGER_STATES, "a fever's age does not count"
    encoded.sum().backward()
    assert encoder.codes.weight.grad.any(1).all(), "each has weights of its own"


def test_a_policy_sees_what_it_is_told_of_prayers():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    policy = Policy(SHRUNK["symbols-events"]).eval()
    inputs = made_up_inputs(rng, 20, 3, rng.random((20, 3)) < 0.1)
    kinds, _ = policy.memories["events"](inputs, policy.initial_state(3))
    prayed = kinds[..., PRAYER] >= 2
    assert 0.1 < prayed.float().mean() < 0.9
    changed = changed_by(policy.encoders[0].events.codes.weight[2 * NEEDS : KINDS * NEEDS], policy, inputs)
    assert changed[prayed].all()
    assert not changed[0][~prayed[0]].any()


@pytest.fixture(scope="module")
def noted():
    """The top lines of a game of the bot, and what is told at each frame: u8 [T, E]."""
    memory, seen = EventMemory(), ("tty_chars", "blstats")
    state, lines, told = memory.initial_state(1), [], []
    with closing(unrolls(Dataset(GAMES).take([7]), lanes=1, steps=512, observations=seen, epochs=1)) as stream:
        for batch in stream:
            kinds, state = memory({name: torch.from_numpy(batch[name]) for name in (*seen, "first")}, state)
            lines += [line.tobytes() for line in batch["tty_chars"][batch["mask"]][:, 0]]
            told.append(kinds[torch.from_numpy(batch["mask"])])
    return lines, torch.cat(told)


def test_prayers_of_a_game_of_the_bot_are_as_far_apart_as_it_waits(noted):
    lines, told = noted
    says = [b"You begin praying" in line for line in lines]
    prayers = [step for step in range(1, len(says)) if says[step] and not says[step - 1]]
    assert len(prayers) > 2
    assert (told[prayers, PRAYER] == 2).all()
    before = told[[step - 1 for step in prayers], PRAYER]
    assert ((before == 1) | (before > 2 + AGES.index(400))).all()


def test_the_bot_drops_its_gold_as_a_guard_says_and_takes_up_none_while_that_is_noted(noted):
    lines, told = noted
    noticed = (told[:, GUARD] == 2).nonzero()[:, 0].tolist()
    assert noticed
    meanwhile = [lines[step] for step in noticed]
    assert any(b"You drop" in line and b"gold piece" in line for line in meanwhile)
    assert not any(b"$ - " in line for line in meanwhile)
