"""The table of tiles."""

import hashlib

import numpy as np
import pytest

pytest.importorskip("PIL")

from strathack.models.tiles import area_weights, tile_table


def test_the_tiles_are_the_paper_s():
    table = tile_table()
    assert table.shape == (256, 16, 6, 6, 3)
    digest = hashlib.sha256(table.tobytes()).hexdigest()
    assert digest == "5582de63c4d8be4a8f001a077cbacd052170ee4510bc0ab5b91485186692df40"
    assert not table[ord(" ")].any()
    assert not table[:, 0].any()
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


def test_areas_are_shared_out_whole():
    weights = area_weights(11, 6)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights.sum(0), 6 / 11)
    np.testing.assert_allclose(area_weights(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
