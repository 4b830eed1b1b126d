from __future__ import annotations

import pytest

from strathack.dataset.errors import InputError
from strathack.rl.recipes import RECIPES
from strathack.rl.schedules import Schedule


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("0.5", {0: 0.5, 10**6: 0.5}),
        ("linear:1:0.2:10", {0: 1, 5: 0.6, 10: 0.2, 99: 0.2}),
        ("exponential:0.5:0.9", {0: 0.5, 2: 0.5 * 0.81, 10**5: 0}),
        ("exponential:0.5:0.9:0.1", {0: 0.5, 1: 0.45, 99: 0.1}),
    ],
)
def test_a_weight_goes_as_it_is_written(text: str, weights: dict[int, float]) -> None:
    schedule = Schedule.parse(text)
    assert {update: schedule.at(update) for update in weights} == pytest.approx(weights)
    assert Schedule.parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("half", "'half' in 'half' is no number"),
        ("-1", "-1 in '-1' is below 0 or not finite"),
        ("nan", "nan in 'nan' is below 0 or not finite"),
        ("exponental:1:0.9", "'exponental' in 'exponental:1:0.9' is unknown; did you mean 'exponential'?"),
        ("linear:1:0", "'linear:1:0' has 2 numbers; expected linear:weight:end:updates"),
        ("linear:1:0:0", "'linear:1:0:0' goes over 0 updates; expected at least 1"),
        ("exponential:1:1.5", "'exponential:1:1.5' is multiplied by 1.5 with each update"),
        ("exponential:0.1:0.9:0.2", "'exponential:0.1:0.9:0.2' begins at 0.1, below its floor of 0.2"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, line: str) -> None:
    with pytest.raises(InputError) as refusal:
        Schedule.parse(text)
    assert line in str(refusal.value)


def test_kickstarting_decays_as_in_its_paper() -> None:
    schedule = RECIPES["kickstart"].kickstart_weight
    assert [schedule.at(update) for update in (0, 1)] == pytest.approx([0.5, 0.5 * 0.99998])
