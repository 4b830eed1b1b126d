"""The comparison of the fast bot with the bot: it finds what differs, and leaves no trace."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from strathack.collect.commands import collect
from strathack.collect.options import CollectConfig
from strathack.collect.playing.clock import Clock
from strathack.collect.playing.environment import Setup, challenge
from strathack.collect.playing.game import let_play
from strathack.collect.playing.recorder import GameRecorder
from strathack.collect.playing.seeds import Seeds
from strathack.collect.playing.session import Session
from strathack.dataset.folder import DatasetFolder

pytest.importorskip("nethackers")
autoascend = importlib.import_module("strathack.collect.demonstrators.autoascend")
bot = importlib.import_module("strathack.collect.demonstrators.fast.bot")
checking = importlib.import_module("strathack.collect.demonstrators.fast.checking")
strategies = importlib.import_module("strathack.collect.demonstrators.fast.strategies")
State = checking.State


def played(how, max_steps=150):
    """The error that ended the game, and its recorder."""
    demonstrator = autoascend.AutoAscend(how)
    with challenge(Setup.of_seed(3, "@", fix_moon_phase=True)) as (env, observation):
        recorder = GameRecorder(observation, ())
        session = Session(env, observation, 3, recorder, demonstrator.make_labels(), max_steps=max_steps)
        error = let_play(demonstrator, session)
    recorder.finish()
    return error, recorder


def recorded(recorder):
    labels = (recorder.strategy, recorder.substrategy, recorder.published)
    return recorder.keys_sha256, recorder.frames_sha256, *(array.tobytes() for array in labels)


def test_the_checked_the_fast_and_the_installed_bot_play_the_same():
    games = {how: played(how) for how in ("checked", "fast", "installed")}
    assert [error for error, _ in games.values()] == [None] * 3
    assert len({recorded(recorder) for _, recorder in games.values()}) == 1


def planted(monkeypatch, name, wrong):
    """Puts a wrong function among the replacements."""
    parts = {
        part: tuple(replace(one, new=wrong(one.new)) if str(one).endswith(name) else one for one in replacements)
        for part, replacements in bot.PARTS.items()
    }
    assert parts != bot.PARTS
    monkeypatch.setattr(bot, "PARTS", parts)


def test_a_wrong_result_is_found(monkeypatch):
    def wrong(right):
        def bfs(agent, y=None, x=None):
            moves = right(agent, y, x)
            if agent.step_count > 40:
                moves[moves > 3] += 1
            return moves

        return bfs

    planted(monkeypatch, "Agent.bfs", wrong)
    error, recorder = played("checked")
    assert isinstance(error, checking.DifferenceError)
    assert str(error).startswith("seed 3, step 41: autoascend.agent.Agent.bfs gives ")
    assert recorder.steps == 41


def test_a_wrong_side_effect_is_found(monkeypatch):
    def wrong(right):
        def update_level(agent):
            right(agent)
            if agent.step_count > 30:
                agent.current_level().seen[0, 0] ^= True

        return update_level

    planted(monkeypatch, "Agent.update_level", wrong)
    assert "autoascend.agent.Agent.update_level leaves level.seen array" in str(played("checked")[0])


def test_a_draw_too_many_is_found(monkeypatch):
    def wrong(right):
        def neighbors(agent, y, x, shuffle=True, diagonal=True):
            tiles = right(agent, y, x, shuffle, diagonal)
            if shuffle and agent.step_count > 30:
                agent.rng.rand()
            return tiles

        return neighbors

    planted(monkeypatch, "Agent.neighbors", wrong)
    assert "autoascend.agent.Agent.neighbors leaves agent.rng" in str(played("checked")[0])


def test_a_step_by_what_is_declared_not_to_change_anything_is_found(monkeypatch):
    def wrong(right):
        def current_level(agent):
            if agent.step_count > 20:
                agent.env.step(0)
            return right(agent)

        return current_level

    planted(monkeypatch, "Agent.current_level", wrong)
    error = str(played("checked", max_steps=40)[0])
    assert "Agent.current_level steps the game; the bot's own: is declared not to change anything" in error


def test_a_wrong_condition_is_found(monkeypatch):
    def wrong(right):
        def engulfed_fight(agent):
            return strategies.make(lambda: iter([agent.step_count > 30]))

        return engulfed_fight

    planted(monkeypatch, "engulfed_fight", wrong)
    error = str(played("checked")[0])
    assert "engulfed_fight gives ('result', True); the bot's own: ('result', False)" in error


def test_a_new_field_is_found_and_the_command_says_so(monkeypatch, tmp_path):
    def wrong(right):
        return lambda logic: right(logic) or setattr(logic, "extra", 1)

    planted(monkeypatch, "GlobalLogic.update", wrong)
    config = CollectConfig(
        out=tmp_path / "data", seeds=Seeds([3]), clock=Clock("seed"), workers=0, check_bot=True, quiet=True
    )
    assert collect(config) == 1
    (game,) = DatasetFolder(tmp_path / "data").games()
    cause = game.row["cause"].decode()
    assert cause.startswith("DifferenceError: seed 3, step ")
    assert "global_logic.GlobalLogic.update leaves global_logic.extra" in cause


class Owner:
    def __init__(self, **fields):
        vars(self).update(fields)


def stand_in():
    """An object with the fields in which an agent keeps its state."""
    level = Owner(
        seen=np.zeros(4, np.bool_), altars={(1, 2): -1}, corpses_to_eat={(0, 0): {5: 10}}, items=np.empty(3, object)
    )
    level.items[:] = [[], (), []]
    items = Owner(all_items=[Owner(objs=["axe"], content=None, container_id=None)], total_weight=3)
    inventory = Owner(items=items, item_manager=Owner(known={}), items_below_me=None)
    agent = Owner(
        rng=np.random.RandomState(0),
        blstats=Owner(dungeon_number=0, level_number=1),
        levels={(0, 1): level},
        inventory=inventory,
        monster_tracker=Owner(mask=np.ones(2)),
        global_logic=Owner(item_priority=Owner(take=False)),
        character=Owner(skills=np.zeros(2)),
        stats_logger=Owner(events={"panic": 0}),
        memo=None,
    )
    return agent, level


def change(agent, level):
    level.seen[1] = True
    level.altars[3, 4] = 0
    level.corpses_to_eat[0, 0][6] = 11
    level.corpses_to_eat[1, 1] = {7: 1}
    level.items[0] = ["new"]
    agent.inventory.items.all_items = [Owner(objs=["sword"], content=None, container_id=None)]
    agent.memo = np.zeros(3)
    agent.new = 1
    agent.monster_tracker.mask = np.zeros(2)
    agent.rng.rand(3)


def test_a_state_comes_back_as_it_was():
    agent, level = stand_in()
    seen, corpses = level.seen, level.corpses_to_eat[0, 0]
    before = State(agent)
    change(agent, level)
    assert before.difference(State(agent)) is not None
    before.restore()
    assert before.difference(State(agent)) is None
    assert level.seen is seen  # not another array with the same content: the bot may hold it
    assert level.corpses_to_eat == {(0, 0): {5: 10}}
    assert level.corpses_to_eat[0, 0] is corpses
    assert not hasattr(agent, "new")
    assert agent.rng.rand() == np.random.RandomState(0).rand()


@pytest.mark.parametrize(
    ("what", "field"),
    [
        (lambda agent, level: level.seen.fill(True), "level.seen"),
        (lambda agent, level: level.altars.update({(9, 9): 1}), "level.altars"),
        (lambda agent, level: level.corpses_to_eat[0, 0].update({5: 11}), "level.corpses_to_eat"),
        (lambda agent, level: setattr(agent.inventory.items, "total_weight", 4), "items.total_weight"),
        (lambda agent, level: setattr(agent, "memo", np.zeros(1)), "agent.memo"),
        (lambda agent, level: agent.rng.rand(), "agent.rng"),
        (lambda agent, level: setattr(agent.inventory.items.all_items[0], "objs", ["sword"]), "item.objs"),
        (lambda agent, level: level.items.__setitem__(slice(None), [[], [], ["axe"]]), "level.items"),
        (lambda agent, level: agent.stats_logger.events.update(panic=1), "stats_logger.events"),
    ],
)
def test_each_kind_of_change_is_told(what, field):
    agent, level = stand_in()
    before = State(agent)
    what(agent, level)
    assert before.difference(State(agent))[0] == field


def test_the_order_of_a_dictionary_counts():
    agent, level = stand_in()
    level.altars[3, 4] = 0
    before = State(agent)
    level.altars[1, 2] = level.altars.pop((1, 2))
    assert before.difference(State(agent))[0] == "level.altars"
