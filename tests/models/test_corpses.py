"""What a policy remembers of corpses: against a plain loop, in scenes, and in a game of the bot."""

import re
import string
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
from strathack.dataset.actions import ACTION_NAMES  # noqa: E402
from strathack.dataset.schema import BLStat  # noqa: E402
from strathack.dataset.streams import unrolls  # noqa: E402
from strathack.models.corpses import (  # noqa: E402
    AGES,
    CODES,
    COMPARED,
    OTHER,
    SAME,
    SIDE,
    UNKNOWN,
    CorpseMemory,
    CorpsesEncoder,
)
from strathack.models.policy import Policy  # noqa: E402

HERE = SIDE**2 // 2
OBJECTS = ')[%*!?/="+($`0'
MONSTERS = string.ascii_letters + "@&':;~"


def inputs_of(frames):
    """Frames of one lane: (rows of the map, hero's column and row, message, turn, level, at hero, first)."""
    steps = len(frames)
    chars = np.full((steps, 1, 24, 80), ord(" "), np.uint8)
    cursor, blstats = np.zeros((steps, 1, 2), np.uint8), np.zeros((steps, 1, 27), np.int32)
    first = np.zeros((steps, 1), bool)
    for step, (rows, (x, y), message, turn, level, at_hero, begins) in enumerate(frames):
        chars[step, 0, 0, : len(message)] = list(message.encode())
        for row, cells in enumerate(rows):
            chars[step, 0, 1 + row, : len(cells)] = list(cells.encode())
        cursor[step, 0] = (y + 1, x) if at_hero else (0, 40)
        places = [BLStat.X, BLStat.Y, BLStat.TIME, BLStat.DLEVEL]
        blstats[step, 0, places] = x, y, turn, level
        first[step] = begins
    arrays = {"tty_chars": chars, "tty_cursor": cursor, "blstats": blstats, "first": first}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def followed(frames):
    """All that is told at each frame: u8 [T, SIDE² + 1]."""
    memory = CorpseMemory()
    return memory(inputs_of(frames), memory.initial_state(1))[0][:, 0]


def codes_of(frames):
    """What is told of the cells at each frame: u8 [T, SIDE, SIDE]."""
    return followed(frames)[:, : SIDE**2].view(-1, SIDE, SIDE)


def compared(frames):
    """What is told of the corpse that each frame's message names."""
    return followed(frames)[:, SIDE**2].tolist()


def scene(row, message="", turn=1, level=1, *, at_hero=True, begins=False):
    """A map of one row, whose hero is the @."""
    return (["", row], (row.index("@"), 1), message, turn, level, at_hero, begins)


def code(age, *, destroyed=False, upon=False):
    """The code of an age and a kind."""
    return 1 + 4 * sum(age >= edge for edge in AGES) + 2 * upon + destroyed


def told(codes, beside=0):
    """What is told of the cell so far to the right of the hero."""
    return codes[:, SIDE // 2, SIDE // 2 + beside].tolist()


def test_a_corpse_ages_from_the_kill_on_also_under_the_hero():
    frames = [
        scene(".@n.", turn=3),
        scene(".@%.", "You kill the newt!", 4),
        scene("..@.", "You see here a newt corpse.", 5),
    ]
    assert told(codes_of(frames), 1)[:2] == [0, code(0)]
    ages = [4, 5, 9, 10, 49, 50, 59, 60, 5000]
    frames += [scene("..@.", turn=4 + age) for age in ages]
    assert told(codes_of(frames))[2:] == [code(1), *map(code, ages)]
    assert len({code(age) for age in (0, *AGES)}) == len(AGES) + 1


def test_what_was_destroyed_is_told_apart():
    frames = [scene(".@Z."), scene(".@%.", "You destroy the kobold zombie!")]
    assert told(codes_of(frames), 1) == [0, code(0, destroyed=True)]


def test_a_missile_that_lies_upon_a_corpse_counts_and_so_does_a_kill_where_no_monster_was_seen_before():
    frames = [scene(".@..F"), scene(".@.).", "The dagger hits the lichen.  You kill the lichen!")]
    assert told(codes_of(frames), 2) == [0, code(0)]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([scene(".@n."), scene(".@%.", "You see a newt.")], id="nothing is said to be killed"),
        pytest.param([scene(".@% "), scene(".@%n"), scene(".@%.", "You kill it!")], id="it lay there before"),
        pytest.param([scene(".@%."), scene(".@n."), scene(".@%.")], id="a monster stood on it"),
        pytest.param([scene(".@ ."), scene(".@%.", "You kill it!")], id="the cell was not seen before"),
        pytest.param([scene("..@."), scene(".@%.", "You kill it!")], id="the hero stood on it"),
        pytest.param([scene(".@n."), scene(".@%.", "You kill it!", level=2)], id="it is on another level"),
        pytest.param([scene(".@n."), scene(".@%.", "You kill it!", begins=True)], id="another game has begun"),
        pytest.param([scene(".@n."), scene(".@%.", "You kill it!"), scene(".@..")], id="it is gone"),
        pytest.param(
            [scene(".@n."), scene(".@%.", "You kill it!"), scene(".@.."), scene(".@f.")], id="it is gone for good"
        ),
        pytest.param([scene(".@|."), scene(".@%.", "You destroy it!")], id="an engulfer was seen there"),
        pytest.param([scene(".@.."), scene(".@).", "You feel more confident in your weapon skills.")], id="skills"),
    ],
)
def test_nothing_is_told_where(frames):
    assert told(codes_of(frames), 1)[-1] == 0


DARK = [scene("#@#n#", turn=1), scene("#@###", "You kill the newt!", 2)]
"""A kill two cells away in a corridor, where one sees what lies beside oneself alone."""


def test_what_was_killed_in_the_dark_is_told_once_it_is_seen():
    codes = codes_of([*DARK, scene("##@%#", turn=7), scene("###@#", turn=8)])
    assert told(codes, 2)[1] == 0
    assert [told(codes, 1)[2], told(codes)[3]] == [code(5), code(6)]


def test_what_was_killed_in_the_dark_and_left_nothing_is_forgotten():
    frames = [*DARK, scene("##@##", turn=3), scene("#@###", turn=4), scene("##@%#", turn=5)]
    assert not codes_of(frames).any()


@pytest.mark.parametrize("word", ["kill", "destroy"])
@pytest.mark.parametrize("monster", ["n", "nnn"])
def test_what_falls_upon_what_lay_there_is_told_apart(word, monster):
    frames = [scene(".@%."), *(scene(f".@{one}.") for one in monster), scene(".@%.", f"You {word} it!"), scene("..@.")]
    codes = codes_of(frames)
    assert told(codes, 1)[-2] == told(codes)[-1] == code(0, destroyed=word == "destroy", upon=True)


def test_what_falls_upon_what_fell_is_told_apart_with_its_own_age():
    frames = [scene(".@n.", turn=1), scene(".@%.", "You kill it!", 2), scene(".@n.", turn=30)]
    frames += [scene(".@%.", "You kill it!", 31), scene(".@n.", turn=32), scene(".@%.", "You destroy it!", 33)]
    assert told(codes_of(frames), 1)[3:] == [code(0, upon=True), code(1, upon=True), code(0, upon=True, destroyed=True)]


def test_what_falls_where_something_was_taken_from_is_told_as_ever():
    frames = [scene(".@%."), scene("..@."), scene(".@.."), scene(".@n."), scene(".@%.", "You kill it!")]
    assert told(codes_of(frames), 1)[-1] == code(0)


@pytest.mark.parametrize(
    ("kill", "corpse", "told"),
    [
        ("You kill the newt!", "You see here a newt corpse.", SAME),
        ("You kill the newt!", "There is a newt corpse here; eat it? [ynq] (n)", SAME),
        ("You kill the newt!", "There is a partly eaten newt corpse here; eat it? [ynq] (n)", SAME),
        ("You bite it.  You kill the gnome lord!  You feel", "You see here 2 gnome lord corpses.", SAME),
        ("The kitten bites the newt.  The newt is killed!", "You see here a newt corpse.", SAME),
        ("You kill the homunculus!", "You see here a homunculus corpse.", SAME),
        ("You kill the bat!", "There is a gnome corpse here; eat it? [ynq] (n)", OTHER),
        ("You kill the bat!", "There is a giant bat corpse here; eat it? [ynq] (n)", SAME),  # of one word
        ("You destroy the kobold zombie!", "There is a kobold corpse here; eat it? [ynq] (n)", OTHER),
        ("You kill the newt--More--", "You see here a newt corpse.", UNKNOWN),
        ("You see a newt.", "You see here a newt corpse.", UNKNOWN),
        ("You kill the newt!", "You see here a newt.", 0),
        ("You kill the newt!", "", 0),
    ],
)
def test_a_named_corpse_is_compared_with_what_fell(kill, corpse, told):
    frames = [scene(".@n."), scene(".@%.", kill), scene("..@.", corpse, 9), scene(".@%.", corpse, 10)]
    assert compared(frames)[2:] == [told, UNKNOWN if told else 0]


def test_menus_are_passed_over_but_not_their_messages():
    frames = [
        scene(".@n.", turn=7), scene(".@%.", "You kill the newt!--More--", 8, at_hero=False),
        scene(" @cd", "Things that are here:", 8, at_hero=False), scene(".@%.", turn=8), scene(".@%.", turn=20),
    ]  # fmt: skip
    assert told(codes_of(frames), 1)[-2:] == [code(0), code(12)]


def test_a_corpse_is_known_under_a_monster_and_after_a_map_of_the_terrain_alone():
    frames = [scene(".@n.", turn=1), scene(".@%.", "You kill the newt!", 2), scene(".@f.", turn=9)]
    frames += [
        scene(".@..", "Showing known terrain and traps only...", 9),
        scene(".@'.", turn=12),
        scene(".@%.", turn=22),
    ]
    assert told(codes_of(frames), 1)[2:] == [code(7), code(7), code(10), code(20)]


def test_a_policy_sees_what_it_is_told_of_corpses():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    policy = Policy(SHRUNK["symbols-corpses"]).eval()
    inputs = made_up_inputs(rng, 20, 3, rng.random((20, 3)) < 0.1)
    codes, _ = policy.memories["corpses"](inputs, policy.initial_state(3))
    assert (codes > 0).any(-1).float().mean() > 0.1
    changed = changed_by(policy.encoders[0].corpses.codes.weight[1:], policy, inputs)
    assert changed[(codes > 0).any(-1)].all()
    assert not changed[0][~(codes[0] > 0).any(-1)].any()


def test_the_map_ends_at_its_borders():
    frames = [scene("@n."), scene("@%.", "You kill the newt!")]
    codes = codes_of(frames)
    assert told(codes, 1)[-1] == code(0)
    assert int((codes[-1] > 0).sum()) == 1, "none is told of again at the other end of the row above"


def killed_in(message, before):
    """The last word of what was killed, its last eight letters; what it was before if the message tells of no kill."""
    if not re.search(" kill| destroy", message):
        return before
    words = re.search(r"(\S+) is (?:kill|destroy)| (?:kill|destroy)[^!.]*?(\S+)[!.]", message)
    return ((words[1] or words[2]) if words else "")[-8:]


def named_in(message):
    """The last word before "corpse"."""
    words = re.search(r"(\S+) corpse", message)
    return words[1][-8:] if words else ""


def look_around(cells, hero, fell, unseen):
    """Changes what fell by what is seen around the hero."""
    for down, across in set(product(range(-3, 4), repeat=2)) - {(0, 0)}:
        place = hero[0] + down, hero[1] + across
        if cells.get(place, " ") in OBJECTS:
            fell.setdefault(place, unseen.pop(place, None))
        elif cells.get(place, " ") not in MONSTERS:
            fell.pop(place, None)
            if max(abs(down), abs(across)) <= 1:
                unseen.pop(place, None)


def plainly(frames):
    """What is told at each frame, cell by cell: u8 [T, SIDE² + 1]."""
    shown, fell, unseen, kills, killed, before = {}, {}, {}, set(), "", None
    out, names = np.zeros((len(frames), SIDE, SIDE), np.uint8), np.zeros((len(frames), 1), np.uint8)
    for step, (rows, (x, y), message, turn, level, at_hero, begins) in enumerate(frames):
        if begins or level != before:
            shown, fell, unseen, kills, before = {}, {}, {}, set(), level
        kills |= {word for word in ("kill", "destroy") if f" {word}" in message}
        killed = killed_in(message, killed)
        cells = {(row, column): cell for row, line in enumerate(rows) for column, cell in enumerate(line)}
        if at_hero and "known terrain" not in message:
            for place, cell in cells.items():
                if kills and cell in OBJECTS and shown.get(place, " ") in MONSTERS + ".#":
                    fell[place] = turn, "destroy" in kills, place in fell, killed
                    unseen.pop(place, None)
                elif kills and cell == "#" and shown.get(place, " ") in MONSTERS and place not in fell:
                    unseen[place] = turn, "destroy" in kills, False, killed
            kills = set()
            shown = {place: " " if place == (y, x) else cell for place, cell in cells.items()}
            look_around(cells, (y, x), fell, unseen)
        for row, column in product(range(SIDE), repeat=2):
            fallen = fell.get((y + row - SIDE // 2, x + column - SIDE // 2))
            if fallen:
                then, destroyed, upon, _ = fallen
                out[step, row, column] = code(turn - then, destroyed=destroyed, upon=upon)
        if named_in(message):
            name = (fell.get((y, x)) or ("",))[-1]
            names[step] = (SAME if name == named_in(message) else OTHER) if name else UNKNOWN
    return np.concatenate([out.reshape(len(frames), -1), names], 1)


MESSAGES = (
    "",
    "",
    "You kill it!",
    "The kitten kills the newt.",
    "You miss it.  The gnome lord is killed!  You stop.",
    "You see here a newt corpse.",
    "There is a gnome lord corpse here; eat it? [ynq] (n)",
    "You kill the homunculus",
    "You see here 2 homunculus corpses.",
    "You destroy the zombie!",
    "Skills: 3--More--",
    "known terrain",
)


@st.composite
def games(draw):
    """Steps of games on a small map."""
    rng, turn, frames = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), 0, []
    level = 1
    for step in range(draw(st.integers(1, 40))):
        rows = ["".join(rng.choice(list("....#n Zd%%):|'"), 12)) for _ in range(6)]
        if frames and rng.random() < 0.8:  # much stays as it is
            rows = [
                "".join(new if rng.random() < 0.2 else old for new, old in zip(*pair, strict=True))
                for pair in zip(rows, frames[-1][0], strict=True)
            ]
        x, y = int(rng.integers(0, 12)), int(rng.integers(0, 6))
        rows[y] = f"{rows[y][:x]}n{rows[y][x + 1 :]}"  # a hero may look like any monster
        turn += int(rng.integers(0, 9))
        level = int(rng.integers(1, 3)) if rng.random() < 0.05 else level
        begins = step == 0 or rng.random() < 0.05
        frames.append((rows, (x, y), MESSAGES[rng.integers(len(MESSAGES))], turn, level, rng.random() < 0.8, begins))
    return frames


@settings(deadline=None, max_examples=60)
@given(st.lists(games(), min_size=1, max_size=3), st.integers(1, 39))
def test_lanes_are_followed_as_a_plain_loop_follows_each_in_unrolls_of_any_length(of_lanes, cut):
    steps = min(map(len, of_lanes))
    lanes = [inputs_of(frames[:steps]) for frames in of_lanes]
    inputs = {name: torch.cat([lane[name] for lane in lanes], 1) for name in lanes[0]}
    memory = CorpseMemory()
    state, parts = memory.initial_state(len(lanes)), []
    for part in (slice(0, cut), slice(cut, None)):
        unroll = {name: values[part] for name, values in inputs.items()}
        if len(unroll["first"]):
            kept = {name: value.clone() for name, value in state.items()}
            codes, after = memory(unroll, state)
            assert all(torch.equal(state[name], kept[name]) for name in kept), "a state may be used again"
            parts.append(codes)
            state = after
    codes = torch.cat(parts)
    for lane, frames in enumerate(of_lanes):
        np.testing.assert_array_equal(codes[:, lane].numpy(), plainly(frames[:steps]))


def test_the_encoder_is_a_layer_over_one_hot_codes_to_which_nothing_told_adds_nothing():
    torch.manual_seed(0)
    encoder = CorpsesEncoder(5)
    codes = torch.randint(0, CODES, (3, SIDE**2 + 1), dtype=torch.uint8)
    codes[:2] *= torch.rand(2, SIDE**2 + 1) < 0.2
    codes[:, -1] %= len(COMPARED) + 1
    one_hot = torch.nn.functional.one_hot(codes.long(), CODES)[..., 1:].flatten(1).float()
    weight = encoder.codes.weight[1:]
    expected = torch.nn.functional.elu(one_hot[:, : len(weight)] @ weight + encoder.bias)
    torch.testing.assert_close(encoder(codes), expected)
    encoder(codes).sum().backward()
    assert not encoder.codes.weight.grad[0].any()


def test_the_bot_eats_what_is_told_to_be_fresh():
    """Of the corpses that the bot has itself said to eat in its games, nearly all are told to be under 50 turns old."""
    data = Dataset(Path(__file__).parents[2] / "data" / "autoascend-1k").select("core < 1004")
    memory, eaten = CorpseMemory(), []
    state, names = memory.initial_state(len(data)), ("tty_chars", "tty_cursor", "blstats")
    with closing(unrolls(data, lanes=len(data), steps=256, observations=names, epochs=1)) as stream:
        for _, batch in zip(range(24), stream, strict=False):
            codes, state = memory({name: torch.from_numpy(batch[name]) for name in (*names, "first")}, state)
            for step, lane in np.argwhere(batch["actions"] == ACTION_NAMES.index("northwest")):  # y
                if b"corpse here; eat it?" in batch["tty_chars"][step, lane, 0].tobytes():
                    eaten.append(int(codes[step, lane, HERE]))
    fresh = {code(age) for age in AGES if age < 50} | {code(0)}
    assert len(eaten) > 10
    assert np.mean([one in fresh for one in eaten]) > 0.85
