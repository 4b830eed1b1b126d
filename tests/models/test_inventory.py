"""The inventory's encoder gives what a plain loop over frames and items gives, gradients included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
F = torch.nn.functional

from shrinking import made_up_inventories  # noqa: E402

from strathack.models.inventory import InventoryEncoder, trigrams  # noqa: E402

WIDTH = 80
text = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=3, max_size=30)


def line(content):
    return torch.from_numpy(np.frombuffer(content.encode().ljust(WIDTH, b"\0"), np.uint8).copy())[None]


def rows(content):
    return [row for row in trigrams(line(content))[0].tolist() if row]


@given(text, text)
def test_a_texts_trigrams_do_not_depend_on_what_stands_before(before, content):
    assert len(rows(content)) == len(content) - 2
    assert rows(before + content)[-(len(content) - 2) :] == rows(content)
    assert all(0 < row < 4096 for row in rows(content))


def test_an_empty_line_has_no_trigrams():
    assert rows("") == []


def test_different_items_have_different_trigrams():
    names = ["3 daggers", "a dagger (weapon in hand)", "an uncursed food ration", "a cursed food ration"]
    assert len({tuple(rows(name)) for name in names}) == len(names)


def plain(encoder, strings, letters):
    frames = []
    for texts, keys in zip(strings, letters, strict=True):
        total = torch.zeros(encoder.out.in_features)
        for content, key in zip(texts, keys, strict=True):
            if key:
                places = [row for row in trigrams(content[None])[0].tolist() if row]
                total = total + encoder.item(encoder.names.weight[places].sum(0) + encoder.letters.weight[key.long()])
        frames.append(F.elu(encoder.out(total)))
    return torch.stack(frames)


@pytest.mark.parametrize("lanes", [None, 3])
def test_the_encoder_is_the_plain_loop(lanes):
    torch.manual_seed(0)
    encoder = InventoryEncoder(8)
    made = made_up_inventories(np.random.default_rng(0), (12,))
    strings, letters = (torch.from_numpy(made[key]) for key in ("inv_strs", "inv_letters"))
    # As in real games, most is as it was in the lane's frame before.
    strings[6:9], letters[6:9] = strings[3:6], letters[3:6]
    found, expected = encoder(strings, letters, lanes), plain(encoder, strings, letters)
    torch.testing.assert_close(found, expected)
    parameters = list(encoder.parameters())
    gradients = [torch.autograd.grad(value.square().sum(), parameters) for value in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_what_a_letter_holds_makes_a_difference_and_so_does_the_letter():
    torch.manual_seed(0)
    encoder = InventoryEncoder(8)
    strings, letters = torch.zeros(4, 55, 80, dtype=torch.uint8), torch.zeros(4, 55, dtype=torch.uint8)
    for frame, (content, letter) in enumerate([("3 daggers", "b"), ("3 darts", "b"), ("3 daggers", "c")]):
        strings[frame, 0], letters[frame, 0] = line(content)[0], ord(letter)
    encoded = encoder(strings, letters)
    assert all(not torch.allclose(encoded[one], encoded[other]) for one in range(4) for other in range(one))
    assert encoded.isfinite().all()
