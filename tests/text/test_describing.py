"""Observations in words: byte for byte those of the compiled wrapper, and fair ones that give nothing away."""

import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nle import nethack

from strathack.dataset import Dataset
from strathack.dataset.errors import InputError
from strathack.dataset.streams import unrolls
from strathack.text import describe
from strathack.text.geometry import DIRECTIONS, DISTANCES, direction_of, distance_of
from strathack.text.names import COLORS, FEATURES, STOPS_SIGHT, UNSEEN, glyph_names, plural
from strathack.text.surroundings import RAYS

ROOT = Path(__file__).parents[2]
PARTS = ("blstats", "glyphs", "message", "inventory", "cursor")
"""The parts as the fixture calls them."""

STONE, FLOOR = nethack.GLYPH_CMAP_OFF, nethack.GLYPH_CMAP_OFF + FEATURES.index("room floor")


def glyphs_of(*names):
    """The glyphs of objects, by their names."""
    numbers = {nethack.objdescr.from_idx(index).oc_name: index for index in range(nethack.NUM_OBJECTS)}
    return [nethack.GLYPH_OBJ_OFF + numbers[name] for name in names]


def observation(glyphs=None, row=10, column=40, message="", **changes):
    screen = np.full((24, 80), ord(" "), np.uint8)
    screen[0, : len(message)] = np.frombuffer(message.encode(), np.uint8)
    blstats = np.zeros(27, np.int64)
    blstats[:2] = column, row
    made = {
        "glyphs": np.full((21, 79), STONE, np.int16) if glyphs is None else glyphs, "blstats": blstats,
        "tty_chars": screen, "tty_colors": np.zeros((24, 80), np.uint8), "tty_cursor": np.array([row + 1, column]),
        "inv_strs": np.zeros((55, 80), np.uint8), "inv_letters": np.zeros(55, np.uint8),
    }  # fmt: skip
    return made | changes


def test_every_published_observation_is_described_byte_for_byte(shared):
    folder = shared / "fixtures" / "text"
    arrays = dict(np.load(folder / "observations.npz"))
    with lzma.open(folder / "expected.json.xz") as file:
        expected = json.load(file)
    assert len(expected) == 888
    for step, wanted in enumerate(expected):
        found = describe({key: array[step] for key, array in arrays.items()}, "wrapper")
        assert list(found) == [wanted[name] for name in PARTS], step


def seen_plainly(shown, row, column, names):
    """Yields name, plural, distance and direction of what is seen, by a plain loop over squares and rays."""

    def of(number, y, x):
        offset = y - row, x - column
        return names.names[number], names.plurals[number], distance_of(*offset), direction_of(*offset)

    for y, x in np.ndindex(shown.shape):
        number = names.afar[shown[y, x], UNSEEN if names.symbols[shown[y, x]] else 0]
        if number and (y, x) != (row, column):
            yield of(number, y, x)
    for down, right in RAYS:
        for step in range(1, 10):
            y, x = row + step * down, column + step * right
            number = names.near[shown[y, x]] if 0 <= y < 21 and 0 <= x < 79 else None
            if number:
                yield of(number, y, x)
            if number is None or names.names[number] in STOPS_SIGHT:
                break


def told_plainly(shown, row, column, dialect):
    """The glyph part by plain loops over names, distances and directions."""
    seen = sorted(seen_plainly(shown, row, column, glyph_names(dialect)), key=lambda one: one[2:])
    lines = []
    for name, many, distance in dict.fromkeys(one[:3] for one in seen):
        directions = [one[3] for one in seen if one[0] == name and one[2] == distance]
        single = [one for one in directions if directions.count(one) == 1]
        several = [one for one in dict.fromkeys(directions) if directions.count(one) > 1]
        lines += [(f"{called} {DISTANCES[distance]}", ds) for called, ds in ((name, single), (many, several)) if ds]
    latest = dict(lines)
    texts = []
    for called, ds in lines:
        words = [DIRECTIONS[one] for one in (latest[called] if dialect == "wrapper" else ds)]
        commas = ", ".join(words[:-1]) + f", and {words[-1]}"
        texts.append(f"{called} {commas if len(words) > 2 else ' and '.join(words)}")
    return "\n".join(texts)


@given(
    seed=st.integers(0, 2**32 - 1), row=st.integers(0, 20), column=st.integers(0, 78),
    dialect=st.sampled_from(["wrapper", "fair"]), share=st.sampled_from([0.01, 0.2, 1.0]),
)  # fmt: skip
def test_the_map_in_words_is_that_of_a_plain_loop(seed, row, column, dialect, share):
    rng = np.random.default_rng(seed)
    # Boots and scales, whose plurals are their singulars, are common, so that words meet.
    common = glyphs_of("speed boots", "gray dragon scales", "iron shoes", "lenses")
    drawn = np.where(
        rng.random((21, 79)) < 0.1, rng.choice(common, (21, 79)), rng.integers(0, nethack.MAX_GLYPH, (21, 79))
    )
    shown = np.where(rng.random((21, 79)) < share, drawn, FLOOR).astype(np.int16)
    assert describe(observation(shown, row, column), dialect).glyphs == told_plainly(shown, row, column, dialect)


def test_a_fair_description_gives_no_magic_item_away():
    (potion,) = glyphs_of("gain level")
    shown = observation()
    shown["glyphs"][10, 43] = potion
    shown["tty_chars"][11, 43], shown["tty_colors"][11, 43] = ord("!"), COLORS.index("magenta")
    assert describe(shown, "fair").glyphs == "magenta potion near east\n" + describe(observation(), "fair").glyphs
    assert describe(shown, "wrapper").glyphs.startswith("milky potion near east")
    # A menu lies over the potion.
    shown["tty_chars"][11, 43] = ord("a")
    assert describe(shown, "fair").glyphs.startswith("potion near east")


def test_fair_names_do_not_depend_on_what_an_item_does():
    names = glyph_names("fair")
    groups = [("enchant armor", "genocide"), ("amulet of ESP", "amulet of change"), ("conflict", "hunger"),
              ("speed boots", "fumble boots"), ("cloak of protection", "cloak of displacement"),
              ("diamond", "worthless piece of white glass"), ("loadstone", "luckstone")]  # fmt: skip
    for one, other in groups:
        first, second = glyphs_of(one, other)
        assert (names.afar[first] == names.afar[second]).all(), (one, other)
    plain = ("genocide", "elven dagger", "water", "Amulet of Yendor", "blank paper")
    words = {names.names[names.afar[glyph, look]] for glyph in glyphs_of(*plain) for look in range(UNSEEN + 1)}
    assert words == {"scroll", "runed dagger", "clear potion", "Amulet of Yendor", "plain spellbook"}


def test_floors_and_corridors_are_named_nowhere():
    for dialect in ("wrapper", "fair"):
        names = glyph_names(dialect)
        floors = [nethack.GLYPH_CMAP_OFF + FEATURES.index(name) for name in FEATURES if name.split(" ")[-1] == "floor"]
        told = {names.names[number] for glyph in floors for number in (names.near[glyph], *names.afar[glyph])}
        assert told == {"", "air floor", "cloud floor", "water floor"}


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("brown boots", "brown boots"), ("quarterstaff", "quarterstaves"), ("watchman", "watchmen"),
        ("human", "humans"), ("wand of torch", "wands of torch"), ("gnome lord corpse", "gnome lord corpses"),
        ("homunculus", "homunculi"), ("tame kitten", "tame kittens"), ("Master of Thieves", "Masters of Thieves"),
        ("torch", "torches"), ("unknown creature causing you dread", "unknown creatures causing you dread"),
        ("swallow top left", "swallows top left"), ("knife", "knives"), ("tooled horn", "tooled horns"),
        ("ice", "areas of ice"), ("violet fungus", "violet fungi"), ("lurker above", "lurkers above"),
        ("Green-elf", "Green-elves"), ("stairs up", "stairs up"), ("ladder down", "ladders down"),
        ("t up wall", "t up walls"), ("dust vortex", "dust vortices"), ("unlabeled scroll", "unlabeled scrolls"),
    ],
)  # fmt: skip
def test_fair_plurals(noun, expected):
    assert plural(noun) == expected


def test_a_page_of_text_is_told_whole_and_a_message_alone_otherwise():
    page = observation(message="        Things that are here:")
    for row, line in enumerate(("a dagger", "--More--"), 1):
        page["tty_chars"][row, 8 : 8 + len(line)] = np.frombuffer(line.encode(), np.uint8)
    assert describe(page).message == "Things that are here:\na dagger\n--More--"
    assert describe(observation(message="You see here a dagger.")).message == "You see here a dagger."
    assert describe(observation()).message == ""


def test_what_cannot_be_described_is_refused():
    with pytest.raises(InputError, match=r"dialect: 'fare' is unknown; did you mean 'fair'\?"):
        describe(observation(), "fare")
    lacking = observation()
    del lacking["inv_strs"]
    with pytest.raises(InputError, match="describe: the observation lacks inv_strs; expected glyphs, blstats, tty_ch"):
        describe(lacking)


@pytest.mark.slow
def test_further_real_steps_are_those_of_the_compiled_wrapper(tmp_path):
    """Builds an environment with balrog-nle, which no environment can have beside NLE 1.3."""
    python = tmp_path / "oracle" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "oracle"], check=True)
    got = subprocess.run([python, "-m", "pip", "install", "--quiet", "balrog-nle==0.9.0"], capture_output=True)
    if got.returncode:
        pytest.skip("balrog-nle 0.9.0 cannot be installed here")
    keys = ["glyphs", "blstats", "tty_chars", "tty_cursor", "inv_strs", "inv_letters"]
    games = Dataset(ROOT / "data" / "autoascend-1k").take(range(100, 116))
    stream = unrolls(games, lanes=16, steps=400, observations=keys, epochs=1)
    batch = next(iter(stream))
    arrays = {key: np.ascontiguousarray(batch[key]).reshape(-1, *batch[key].shape[2:]) for key in keys}
    stream.close()
    np.savez(tmp_path / "observations.npz", **arrays)
    oracle = ROOT / "tests" / "helpers" / "language_oracle.py"
    subprocess.run([python, oracle, tmp_path / "observations.npz", tmp_path / "texts.json"], check=True)
    expected = json.loads((tmp_path / "texts.json").read_text())
    assert len(expected) == 6400
    for step, wanted in enumerate(expected):
        assert list(describe({key: array[step] for key, array in arrays.items()}, "wrapper")) == wanted, step
