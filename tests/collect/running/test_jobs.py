import pytest

from strathack.collect.options import DemonstrationOptions
from strathack.collect.playing.characters import CharacterWish, Roles
from strathack.dataset.errors import InputError
from strathack.dataset.folder import DatasetFolder
from strathack.dataset.writer import agreed_settings


def test_settings_that_differ_are_named_with_both_values(tmp_path):
    one = DemonstrationOptions().settings()
    other = DemonstrationOptions(character=CharacterWish("val"), max_steps=5).settings()
    assert agreed_settings(tmp_path, one) is None
    DatasetFolder(tmp_path).write_settings(one)
    assert agreed_settings(tmp_path, one) == one
    with pytest.raises(InputError, match="character is '@' there and 'val' here; max_steps is None there and 5 here"):
        agreed_settings(tmp_path, other)


def test_settings_that_were_kept_as_they_were_typed_are_parsed_before_they_are_compared(tmp_path):
    DatasetFolder(tmp_path).write_settings({"roles": "Val,sam"})
    assert agreed_settings(tmp_path, {"roles": "sam,val"}, {"roles": Roles.parse}) == {"roles": "sam,val"}
    with pytest.raises(InputError, match="roles is 'Val,sam' there and 'sam,val' here"):
        agreed_settings(tmp_path, {"roles": "sam,val"})
