from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.collect.options import CollectConfig, ExpandConfig
from strathack.collect.playing.seeds import Seeds
from strathack.dataset.codec import from_plain, to_plain
from strathack.dataset.errors import InputError
from strathack.dataset.schema import OBSERVATIONS, ObservationKeys


def test_seeds_are_numbers_and_half_open_ranges():
    assert Seeds.parse("2, 4,10:13,11") == (2, 4, 10, 11, 12)


@given(st.sets(st.integers(0, 10**6)))
def test_seeds_read_back_what_was_written(seeds):
    assert Seeds.parse(str(Seeds.of(seeds))) == tuple(sorted(seeds))


@pytest.mark.parametrize("text", ["5:", ":5", "a:b", "a", "9:3", "3:3", "-1", "-3:4", "1,,2", "1.5", "٣", f"{2**63}"])
def test_unreadable_seeds_are_refused(text):
    with pytest.raises(InputError, match="number|empty|largest"):
        Seeds.parse(text)


@given(st.lists(st.sampled_from(list(OBSERVATIONS)), unique=True))
def test_observation_keys_read_back_what_was_written(names):
    keys = ObservationKeys(key for key in OBSERVATIONS if key in names)
    assert ObservationKeys.parse(str(keys)) == keys


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("workers", -1, "workers: -1 is below 0"),
        ("games_per_shard", 0, "games_per_shard: 0 is below 1"),
        ("retries", -1, "retries: -1 is below 0"),
        ("max_steps", 0, "max_steps: 0 is not above 0"),
        ("max_seconds", -2.0, "max_seconds: -2.0 is not above 0"),
        ("max_seconds", float("nan"), "max_seconds: nan is not above 0"),
        ("clock", "noon", "clock: 'noon' is neither an instant like"),
        ("character", "xyz", "character: unknown role 'xyz'"),
        ("roles", "val,xyz", "roles: unknown role 'xyz'"),
        ("observations", "tty_chars,inv", "observations: unknown key 'inv'"),
        ("seeds", "", "seeds: none given"),
        ("seeds", "3:1", "seeds: the range '3:1' is empty"),
        ("extend", 1, "extend: 1 is no bool"),
        ("sedes", "1", "sedes is unknown; did you mean 'seeds'"),
    ],
)
def test_every_option_is_checked_by_name(option, value, message):
    with pytest.raises(InputError, match=message):
        from_plain(CollectConfig, {"out": "out", option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow_bot": True, "check_bot": True}, "check_bot: compares the fast bot, which --slow-bot does not run"),
        ({"slow_bot": True, "demonstrator": "a.b:c"}, "slow_bot: is for autoascend, the demonstrator is a.b:c"),
        ({"check_bot": True, "demonstrator": "my/bot"}, "check_bot: is for autoascend, the demonstrator is my/bot"),
    ],
)
def test_how_the_bot_plays_is_for_the_bot(options, message):
    with pytest.raises(InputError, match=message):
        from_plain(CollectConfig, {"out": "out", **options})


def test_how_the_bot_plays_is_no_setting_of_the_dataset():
    fast, slow = (CollectConfig(out=Path("out"), slow_bot=slow) for slow in (False, True))
    assert (fast.bot, slow.bot) == ("fast", "installed")
    assert fast.settings() == slow.settings()


def test_no_workers_and_an_address_contradict_each_other():
    with pytest.raises(InputError, match="does not go with --address"):
        CollectConfig(out=Path("out"), workers=0, address="auto")


def test_a_replay_brings_at_least_one_observation():
    with pytest.raises(InputError, match="observations: none given"):
        from_plain(ExpandConfig, {"data": "a", "out": "b", "observations": "none"})
    assert CollectConfig(out=Path("out"), observations=ObservationKeys.parse("none")).observations == ()


def test_options_survive_being_written():
    options = from_plain(CollectConfig, {"out": "a/b", "seeds": "4,7:9", "roles": "val,arc", "clock": "seed"})
    assert options.seeds == (4, 7, 8)
    assert options.roles == ("arc", "val")
    assert to_plain(options) | {"seeds": "4,7:9"} == to_plain(options)
    assert from_plain(CollectConfig, to_plain(options)) == options
