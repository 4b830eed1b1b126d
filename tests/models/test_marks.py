"""What NLE tells of cells beside character and colour is seen where it is, and alone there."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shrinking import SHRUNK, made_up_inputs  # noqa: E402

from strathack.models.encoders import screen_cells  # noqa: E402
from strathack.models.marks import CORPSE, MARKS, PET, PILE, STATUE, Marks  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402


def test_flags_are_those_of_nle():
    nethack = pytest.importorskip("nle.nethack")
    assert (PET, CORPSE, STATUE, PILE) == (nethack.MG_PET, nethack.MG_CORPSE, nethack.MG_STATUE, nethack.MG_OBJPILE)


@pytest.mark.parametrize(
    ("flags", "mark"),
    [
        (0, 0), (2, 0), (4, 0), (128, 0), (PET, 1), (PET | 2, 1), (PET | PILE, 1), (CORPSE, 2), (STATUE, 3), (PILE, 4),
        (PILE | 4, 4), (CORPSE | PILE, 5), (STATUE | PILE, 6), (STATUE | CORPSE, 0),
    ],
)  # fmt: skip
def test_the_mark_of_flags(flags, mark):
    assert int(Marks(2).mark_of[flags]) == mark


def test_a_cell_s_embedding_is_the_sum_of_those_of_its_kind_and_its_mark():
    rng, marks, table = np.random.default_rng(0), Marks(3), torch.randn(4096, 3)
    torch.nn.init.normal_(marks.weight)
    inputs = {name: value[0] for name, value in made_up_inputs(rng, 1, 2, np.zeros((1, 2), bool)).items()}
    cells = screen_cells(inputs)
    embedded = marks.embedded(table)[marks.marked(cells, inputs["specials"], 4096).long()]
    seen = set()
    for n, row, column in np.ndindex(2, 24, 80):
        on_map = 1 <= row <= 21 and column < 79
        flags = int(inputs["specials"][n, row - 1, column]) if on_map else 0
        expected = table[int(cells[n, row, column])]
        if flags in MARKS:
            expected = expected + marks.weight[MARKS.index(flags)]
            seen.add(flags)
        torch.testing.assert_close(embedded[n, row, column], expected)
    assert seen == set(MARKS)


def test_a_policy_tells_a_pet_from_what_looks_like_it():
    torch.manual_seed(0)
    policy = Policy(SHRUNK["symbols-marks"]).eval()
    inputs = made_up_inputs(np.random.default_rng(0), 1, 1, np.ones((1, 1), bool))
    inputs["specials"].zero_()

    def logits():
        return policy.unroll(inputs, policy.initial_state(1))[0].action_logits

    before = logits()
    inputs["specials"][0, 0, 10, 10] = PET
    torch.testing.assert_close(logits(), before, atol=0, rtol=0)  # as long as nothing was learned of pets
    logits().square().sum().backward()
    gradient = policy.encoders[0].marks.weight.grad
    assert gradient[0].any()
    assert not gradient[1:].any()
    with torch.no_grad():
        policy.encoders[0].marks.weight[0] += 1
    assert (logits() != before).any()
