"""Names and items as the fast bot reads them, against the package's own code."""

import importlib

import nle.nethack as nh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nethackers")
items = importlib.import_module("strathack.collect.demonstrators.fast.items")
objects = importlib.import_module("autoascend.objects")
Item = importlib.import_module("autoascend.item").Item

PATTERNS = {
    "{}": "{}",
    "{}s": "{}s",
    "scroll of {}": "scrolls labeled {}",
    "potion of {}": "{} potion",
    "wand of {}": "{} wands",
    "spellbooks of {}": "{} spellbook",
    "ring of {}": "{} ring",
    "pair of {}": "pair of {}",
    "{} amulet": "{} gems",
}
NAMES = [nh.objdescr.from_idx(i).oc_name for i in range(nh.NUM_OBJECTS) if nh.objdescr.from_idx(i).oc_name]
DESCRIPTIONS = [nh.objdescr.from_idx(i).oc_descr for i in range(nh.NUM_OBJECTS) if nh.objdescr.from_idx(i).oc_descr]
TRANSLATED = [
    "wakizashi",
    "osaku",
    "pair of yugake",
    "kabuto",
    "flint stones",
    "unlabeled scrolls",
    "knives",
    "eucalyptus leaves",
    "pair of lenses",
    "small glob of gray ooze",
    "apples",
    "lumps of royal jelly",
]

names = st.one_of(
    st.sampled_from(TRANSLATED),
    st.builds(str.format, st.sampled_from([*PATTERNS, *PATTERNS.values()]), st.sampled_from(NAMES + DESCRIPTIONS)),
    st.text("abcde ", max_size=12),
)


def outcome(function, *args):
    try:
        return function(*args)
    except Exception as error:  # noqa: BLE001
        return type(error)


@settings(max_examples=60)
@given(names)
def test_names_mean_what_they_mean_to_the_bot(name):
    assert outcome(items.parse_name, name) == outcome(items._PARSE_NAME, name)


def test_names_give_lists_of_their_callers():
    first, _ = items.parse_name("dagger")
    first.clear()
    assert items.parse_name("dagger")[0] == [objects.from_name("dagger")]


@pytest.mark.parametrize("glyph", [nh.GLYPH_OBJ_OFF + i for i in range(1, nh.NUM_OBJECTS, 7)])
def test_possibilities_are_the_bots_and_the_callers(glyph):
    expected = outcome(items._possibilities_from_glyph, glyph)
    found = outcome(items.possibilities_from_glyph, glyph)
    assert found == expected
    if isinstance(found, list):
        found.append(None)
        assert items.possibilities_from_glyph(glyph) == expected


def dagger():
    return Item([objects.from_name("dagger")], [nh.GLYPH_OBJ_OFF + 11], text="a dagger")


def test_a_fact_is_computed_once_for_what_an_item_can_be():
    asked = []

    class Thing:
        def name(self):
            asked.append(self.objs)
            return self.objs[0]

    name = items.once(Thing.name)
    thing = Thing()
    thing.objs = ["one"]
    assert [name(thing), name(thing)] == ["one", "one"]
    thing.objs = ["other"]  # learned: another list
    assert [name(thing), name(thing)] == ["other", "other"]
    assert asked == [["one"], ["other"]]


def test_a_copied_item_is_another_with_lists_of_its_own():
    item = dagger()
    items._facts(item)["is_launcher"] = False
    copied = items._copy(item)
    assert copied is not item
    assert {key: value for key, value in vars(copied).items() if key != "facts"} == {
        key: value for key, value in vars(item).items() if key != "facts"
    }
    assert copied.objs is not item.objs
    assert copied.glyphs is not item.glyphs
    assert items._facts(copied) == {"is_launcher": False}


def test_a_container_is_weighed_anew_and_a_possible_one_is_not_a_known_one():
    sack = objects.from_name("sack")
    item = Item([sack], objects.possible_glyphs_from_object(sack), text="a bag")
    assert items.is_possible_container(item)
    assert items.unit_weight(item) == items._unit_weight(item) == 100_000
    item.content = type("Content", (), {"weight": lambda self: 7, "__iter__": lambda self: iter(())})()
    assert not items.is_possible_container(item)
    assert items.unit_weight(item) == items._unit_weight(item) == sack.wt + 7
