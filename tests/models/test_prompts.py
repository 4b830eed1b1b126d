"""Which keys a prompt offers, and what actions gain by it."""

import pytest

torch = pytest.importorskip("torch")

from strathack.models.prompts import OfferedKeys, offered_keys  # noqa: E402


def lines_of(*texts):
    return torch.tensor([list(text.ljust(80).encode()) for text in texts], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("What do you want to throw? [$h or ?*]", "$h"),
        ("What do you want to throw? [$ or ?*]", ""),
        ("What do you want to eat? [$a-ch or ?*]", "$abch"),
        ("What do you want to wield? [- ab-d or ?*]", "-abcd"),
        ("What do you want to drop? [$a-cf-hA-C or ?*]", "$abcfghABC"),
        ("There is a kobold corpse here; eat it? [ynq] (n)", "ynq"),
        ("What do you want to use or apply? [*]", ""),
        ("What do you want to wield? [- or ?*]", "-"),
        ("You swap places with Idefix - a good dog", ""),
        ("", ""),
    ],
)
def test_what_the_top_line_offers(line, offered):
    found = offered_keys(lines_of(line))[0].nonzero().flatten().tolist()
    assert found == sorted(map(ord, offered))


def test_offered_keys_gain_and_those_that_answer_nothing_lose():
    lines = ["What to eat? [a-c or ?*]", "Really attack? [yn] (n)", "You see here [a].", "You see here y."]
    chars = torch.full((4, 24, 80), ord(" "), dtype=torch.uint8)
    chars[:, 0] = lines_of(*lines)
    encoder = OfferedKeys([ord("a"), ord("y"), 0, 27])
    gains = encoder(chars)
    assert gains.tolist() == [
        [3.0, -20.0, -20.0, 0.0],
        [-20.0, 3.0, -20.0, 0.0],
        [3.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
    gains.sum().backward()
    assert encoder.weight.grad.tolist() == [2.0, 1.0, 0.0, 0.0]


def test_where_nothing_is_offered_escaping_alone_is_left():
    chars = torch.full((1, 24, 80), ord(" "), dtype=torch.uint8)
    chars[:, 0] = lines_of("What do you want to throw? [$ or ?*]")
    assert OfferedKeys([ord("b"), 27, ord("$")])(chars).tolist() == [[-20.0, 0.0, -20.0]]


def test_a_prompt_that_goes_on_in_the_next_line_offers_too():
    chars = torch.full((1, 24, 80), ord(" "), dtype=torch.uint8)
    chars[0, 0] = lines_of("You have a little trouble lifting k - an unlocked chest containing 3 items.")[0]
    chars[0, 1] = lines_of("e--[ynq] (q)")[0]
    assert OfferedKeys([ord("q"), ord("k")])(chars).tolist() == [[3.0, 0.0]]
