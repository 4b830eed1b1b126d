import io
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_games import KEYS, made_up, provenance

from strathack.dataset.errors import FormatError
from strathack.dataset.shard import Provenance, encode_shard, open_shard, read_games


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**9), steps=st.sampled_from([0, 1, 2, 100, 1023, 1024, 1025, 2048, 3000]))
def test_a_shard_gives_back_every_array(seed, steps):
    game, arrays = made_up(seed, steps)
    with h5py.File(io.BytesIO(encode_shard(game, provenance())), "r") as file:
        group = file[f"data/game_{seed}"]
        for name, values in arrays.items():
            assert np.array_equal(group[name][...], values), name
            assert group[name].dtype == values.dtype
        assert file["games"][0] == game.row
        assert group.attrs["num_samples"] == steps
        assert group.attrs["xlogfile"].decode() == game.attributes["xlogfile"]
        assert h5py.check_enum_dtype(group["strategy"].dtype)["recover"] == 12
        assert Provenance.from_attributes(file.attrs) == provenance()


def test_every_array_carries_both_filters_and_metadata_its_checksums():
    game, arrays = made_up(1, 50)
    with h5py.File(io.BytesIO(encode_shard(game, provenance())), "r") as file:
        for name in [*(f"data/game_1/{name}" for name in arrays), "games"]:
            plist = file[name].id.get_create_plist()
            assert [plist.get_filter(i)[0] for i in range(plist.get_nfilters())] == [32015, 3], name
        assert file.id.get_create_plist().get_version()[0] >= 2  # superblocks before that have no checksum


def test_a_game_checks_its_own_lengths():
    game, _ = made_up(1, 50)
    with pytest.raises(ValueError, match="actions has 49 steps, the game has 50"):
        replace(game, actions=game.actions[:-1])
    with pytest.raises(ValueError, match="obs/blstats has 0 chunks, 50 steps need 1"):
        replace(game, frames={**game.frames, "blstats": []})


def test_foreign_and_newer_files_are_refused_by_name(tmp_path):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(FormatError, match=r"text\.h5: not a readable HDF5 file"):
        read_games(text)
    foreign = tmp_path / "foreign.h5"
    h5py.File(foreign, "w").close()
    with pytest.raises(FormatError, match=r"foreign\.h5: not a strathack shard \(its attribute 'format' is 'missing'"):
        read_games(foreign)
    newer = tmp_path / "newer.h5"
    newer.write_bytes(encode_shard(made_up(1, 5)[0], provenance()))
    with h5py.File(newer, "a") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(FormatError, match=r"version 2, this release reads version 1; .* pip install --upgrade"):
        read_games(newer)


def test_a_shard_without_its_table_or_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(encode_shard(made_up(1, 5)[0], provenance()))
    with h5py.File(path, "a") as file:
        del file["games"]
    with pytest.raises(FormatError, match="without /games"):
        read_games(path)
    with h5py.File(path, "a") as file:
        file["games"] = np.zeros(1, dtype=[("seed", "i8")])
    with pytest.raises(FormatError, match=r"not those of version 1: missing \['alignment', .*\], unknown \['seed'\]"):
        read_games(path)


def test_provenance_merges_where_only_command_revision_and_date_differ():
    merged = provenance(command="a").merged_with(provenance(command="b"))
    assert merged == provenance(command="a\nb")
    with pytest.raises(FormatError, match="games of different demonstrator cannot share a shard: 'made up' and 'x'"):
        provenance().merged_with(provenance(demonstrator="x"))


def test_opening_is_a_context_that_closes(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(encode_shard(made_up(1, 5)[0], provenance()))
    with open_shard(path) as file:
        assert set(file["data/game_1/obs"]) == set(KEYS)
    assert not file.id.valid
