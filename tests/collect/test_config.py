from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.collect.config import CollectConfig, format_seeds, parse_seeds
from strathack.dataset.errors import InputError


def test_seeds_are_numbers_and_half_open_ranges():
    assert parse_seeds("2, 4,10:13,11") == (2, 4, 10, 11, 12)


@given(st.sets(st.integers(0, 10**6), min_size=1))
def test_seeds_read_back_what_was_written(seeds):
    assert parse_seeds(format_seeds(seeds)) == tuple(sorted(seeds))


@pytest.mark.parametrize(
    "text", ["5:", ":5", "a:b", "a", "9:3", "3:3", "-1", "-3:4", "1,,2", "", "1.5", "٣", f"{2**63}"]
)
def test_unreadable_seeds_are_refused(text):
    with pytest.raises(InputError, match="seeds: "):
        parse_seeds(text)


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
    ],
)
def test_every_option_is_checked_by_name(option, value, message):
    with pytest.raises(InputError, match=message):
        CollectConfig(Path("out"), **{option: value})


def test_no_workers_and_an_address_contradict_each_other():
    with pytest.raises(InputError, match="does not go with --address"):
        CollectConfig(Path("out"), workers=0, address="auto")
