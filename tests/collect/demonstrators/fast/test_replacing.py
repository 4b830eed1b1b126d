"""Functions in the place of others."""

import importlib
import math
import types

import pytest

pytest.importorskip("nethackers")
replacing = importlib.import_module("strathack.collect.demonstrators.fast.replacing")
Replacement, replaced = replacing.Replacement, replacing.replaced


class Owner:
    def one(self):
        return 1

    @staticmethod
    def two():
        return 2


def test_what_is_replaced_comes_back_even_after_an_error():
    before = dict(vars(Owner))
    replacements = [Replacement(Owner, "one", lambda self: 10), Replacement(Owner, "two", staticmethod(lambda: 20))]

    def fail():
        with replaced(replacements):
            assert (Owner().one(), Owner().two()) == (10, 20)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert dict(vars(Owner)) == before
    assert isinstance(vars(Owner)["two"], staticmethod)


def test_a_later_replacement_stands_in_an_earlier_ones_place():
    with replaced([Replacement(Owner, "one", lambda self: 10), Replacement(Owner, "one", lambda self: 11)]):
        assert Owner().one() == 11
    assert Owner().one() == 1


def test_what_is_not_there_cannot_be_replaced():
    with pytest.raises(AttributeError, match="math has no 'no_such_function' to replace"):
        Replacement(math, "no_such_function", None)

    class Heir(Owner):
        pass

    with pytest.raises(AttributeError, match="Heir has no 'one' to replace"):
        Replacement(Heir, "one", None)


def test_the_names_of_what_is_replaced():
    module = types.ModuleType("some.module")
    module.function = len
    assert str(Replacement(module, "function", None)) == "some.module.function"
    assert str(Replacement(Owner, "one", None)) == f"{__name__}.Owner.one"
