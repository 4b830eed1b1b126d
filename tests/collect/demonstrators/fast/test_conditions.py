"""Which corpses the fast bot may eat, against the package's own code."""

import importlib
from types import SimpleNamespace

import nle.nethack as nh
import pytest

pytest.importorskip("nethackers")
conditions = importlib.import_module("strathack.collect.demonstrators.fast.conditions")
Agent = importlib.import_module("autoascend.agent").Agent
Character = importlib.import_module("autoascend.character").Character

ROLES = {"caveman": Character.CAVEMAN, "another": Character.VALKYRIE}
RACES = ("HUMAN", "DWARF", "ELF", "GNOME", "ORC")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("race", RACES)
def test_a_corpse_is_eaten_if_the_bot_would_eat_it(role, race):
    agent = SimpleNamespace(
        character=SimpleNamespace(race=getattr(Character, race), role=ROLES[role]), blstats=SimpleNamespace(time=1000)
    )
    answers = {True: 0, False: 0}
    for monster in range(nh.NUMMONS):
        for died in (1000, 951, 950, 0, -10_000):
            expected = Agent._is_corpse_editable(agent, monster, died)
            answers[expected] += 1
            assert conditions.is_corpse_editable(agent, monster, died) == expected, (monster, died)
    assert min(answers.values()) > 100


def test_what_is_known_of_one_eater_is_not_taken_for_another():
    gnome = next(index for index in range(nh.NUMMONS) if nh.permonst(index).mname == "gnome lord")
    stats = SimpleNamespace(time=10)
    eaters = [SimpleNamespace(race=race, role=Character.WIZARD) for race in (Character.GNOME, Character.HUMAN)]
    for _ in range(2):
        told = [
            conditions.is_corpse_editable(SimpleNamespace(character=one, blstats=stats), gnome, 0) for one in eaters
        ]
        assert told == [False, True], "gnomes eat no gnomes"
