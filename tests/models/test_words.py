"""The message's words as a vector: what a plain loop gives, wherever the words stand."""

import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from strathack.models.encoders import top_lines  # noqa: E402
from strathack.models.words import WordsEncoder, trigrams  # noqa: E402


def screens(*tops):
    chars = torch.full((len(tops), 24, 80), ord(" "), dtype=torch.uint8)
    for screen, lines in zip(chars, tops, strict=True):
        for row, line in enumerate(lines):
            screen[row, : len(line)] = torch.tensor(list(line.encode()), dtype=torch.uint8)
    return chars


MESSAGES = screens(
    ["You kill the newt!"],
    ["You kill the newt!  You see here a newt corpse."],
    ["You have a little trouble lifting", "k - a chest."],
    [],
    ["You kill the newt!"],
    ["You destroy the kobold zombie!"],
)


@pytest.mark.parametrize("lanes", [None, 3])
def test_the_encoder_is_the_plain_loop(lanes):
    torch.manual_seed(0)
    encoder = WordsEncoder(8)
    sums = []
    for screen in MESSAGES:
        text = bytes(screen[:2].flatten().tolist())
        bag = torch.zeros(encoder.out.in_features)
        for start in range(len(text) - 2):
            part = text[start : start + 3]
            if part.strip():
                (row,) = trigrams(torch.tensor([list(part)], dtype=torch.uint8))[0].tolist()
                bag = bag + encoder.trigrams.weight[row]
        sums.append(F.elu(encoder.out(F.elu(bag))))
    expected, found = torch.stack(sums), encoder(top_lines(MESSAGES, 2), lanes)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value.square().sum(), list(encoder.parameters())) for value in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_words_are_the_same_wherever_they_stand():
    encoder = WordsEncoder(8)
    there = screens(["   the newt bites!   "], ["            the newt bites! "], ["the newt bites!"])
    encoded = encoder(top_lines(there, 2))
    torch.testing.assert_close(encoded[0], encoded[1])
    # At the line's begin, the blank before is missing.
    assert not torch.allclose(encoded[0], encoded[2])
