"""What is computed once for distinct cells is what a plain computation gives, gradients included."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

from shrinking import made_up_inputs  # noqa: E402

from strathack.models.config import PRINTABLE, SymbolsConfig  # noqa: E402
from strathack.models.encoders import (  # noqa: E402
    BLSTAT_FEATURES,
    MessageEncoder,
    SymbolsEncoder,
    TilesEncoder,
    blstat_features,
    cells_around,
    neighbours,
    patches,
    screen_cells,
)
from strathack.models.tiles import BLANK, tile_table  # noqa: E402

N = 7


def frames(seed=0):
    inputs = made_up_inputs(np.random.default_rng(seed), N, 1, np.zeros((N, 1), dtype=bool))
    inputs = {name: value.flatten(0, 1) for name, value in inputs.items()}
    # As on real screens, most is blank and much is the same.
    inputs["tty_chars"][:, 5:20, 10:70] = ord(" ")
    inputs["tty_chars"][3] = inputs["tty_chars"][2]
    return inputs


def crop(inputs, side):
    return cells_around(screen_cells(inputs), inputs["tty_cursor"], side)


def test_the_crop_has_the_cursor_in_its_middle_and_black_outside():
    inputs = frames()
    cells = crop(inputs, 9)
    for n in range(N):
        row, column = inputs["tty_cursor"][n].tolist()
        for dy in range(-4, 5):
            for dx in range(-4, 5):
                y, x = row + dy, column + dx
                expected = BLANK
                if 0 <= y < 24 and 0 <= x < 80:
                    expected = int(inputs["tty_chars"][n, y, x]) * 16 + int(inputs["tty_colors"][n, y, x])
                assert cells[n, dy + 4, dx + 4] == expected


@pytest.mark.parametrize("characters", [PRINTABLE, range(256)])
def test_the_message_is_the_one_hot_product(characters):
    torch.manual_seed(0)
    encoder, chars = MessageEncoder(16, characters), frames()["tty_chars"]
    chars[0, 0, :6] = torch.tensor([0, 31, 32, 126, 127, 255])
    places = torch.tensor([characters.index(byte) if byte in characters else len(characters) for byte in range(256)])
    one_hot = F.one_hot(places[chars[:, 0].long()], len(encoder.weight) // 80).flatten(1).float()
    plain = F.elu(encoder.out(F.elu(one_hot @ encoder.weight + encoder.bias)))
    found = encoder(chars)
    torch.testing.assert_close(found, plain)
    (expected,) = torch.autograd.grad(plain.square().sum(), encoder.weight)
    (gradient,) = torch.autograd.grad(found.square().sum(), encoder.weight)
    torch.testing.assert_close(gradient, expected)


def test_tiles_are_the_pixels():
    torch.manual_seed(0)
    encoder, inputs = TilesEncoder(18, (8, 8, 8, 8), 16), frames()
    cells = crop(inputs, 18)
    image = torch.from_numpy(tile_table().copy()).flatten(0, 1)[cells]
    image = image.permute(0, 5, 1, 3, 2, 4).reshape(N, 3, 108, 108)
    drawn = F.elu(encoder.first(image.float() / 255))
    expected = torch.autograd.grad(drawn.square().sum(), list(encoder.first.parameters()))
    torch.testing.assert_close(encoder(inputs), encoder({"screen_image": image}), atol=1e-5, rtol=1e-5)
    for first in (encoder._first_of_distinct, encoder._first_looked_up):
        torch.testing.assert_close(first(cells), drawn, atol=1e-5, rtol=1e-5)
        found = torch.autograd.grad(first(cells).square().sum(), list(encoder.first.parameters()))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("part", ["crop", "screen"])
def test_convolutions_over_distinct_cells_are_convolutions(part):
    torch.manual_seed(0)
    encoder = SymbolsEncoder(SymbolsConfig(embedding=4, crop_channels=(8,) * 4, screen_channels=(8,) * 4), 121)
    inputs, table = frames(), torch.randn(4096, 4, requires_grad=True)
    if part == "crop":
        layers, windows = encoder.crop, (neighbours(crop(inputs, 9), 3), None)
        plain = table[crop(inputs, 9)].permute(0, 3, 1, 2)
        kernels = [(3, 3)] * 4
    else:
        layers, windows = encoder.screen, (patches(screen_cells(inputs)), None, torch.int16)
        plain = table[screen_cells(inputs).long()].permute(0, 3, 1, 2)
        kernels = [(3, 8), (3, 3), (3, 3), (3, 3)]
    for layer, kernel in zip(layers, kernels, strict=True):
        weight = layer.weight.view(layer.out_features, *kernel, -1).permute(0, 3, 1, 2)
        plain = F.elu(F.conv2d(plain, weight, layer.bias, stride=kernel if kernel == (3, 8) else 1))
    expected, found = plain.permute(0, 2, 3, 1).flatten(1), encoder._convolved(part, table, *windows)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (one,), (other,) = (torch.autograd.grad(value.square().sum(), table) for value in (found, expected))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_no_previous_action_is_none_of_them():
    encoder = SymbolsEncoder(SymbolsConfig(), 121)
    inputs = frames()
    seen = []
    for action in (255, 0, 120):
        inputs["previous_action"][:] = action
        seen.append(encoder(inputs))
    assert not any(torch.allclose(seen[one], seen[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


def test_bottom_line_numbers():
    blstats = torch.zeros(2, 27, dtype=torch.int32)
    blstats[0, 10], blstats[0, 11] = 5, 10  # hit points
    blstats[0, 20], blstats[0, 26] = 20_000, -10  # turns, alignment
    blstats[0, 21], blstats[0, 23], blstats[0, 25] = 2, 1, 0b101  # hunger, dungeon, conditions
    features = blstat_features(blstats)
    assert features.shape == (2, BLSTAT_FEATURES)
    assert features.abs().max() < 4
    assert features[0, 27] == 0.5
    assert features[0, 26] == pytest.approx(-np.log(11) / 4)
    assert features[0, 29:36].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert features[0, 36:40].tolist() == [1, 0, 1, 0]
    assert features[0, 49:].argmax() == 1
