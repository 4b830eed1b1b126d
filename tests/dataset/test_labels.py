import numpy as np
import pytest

from strathack.dataset.labels import PUBLISHED_STRATEGIES, STRATEGIES, UNLABELLED, Vocabulary, count_by_name


def test_the_ordinals_are_the_published_ones_and_recover_is_ours():
    published = "explore fight ground_eat wait_out emergency inventory_eat offer_corpses init solve_sokoban"
    assert (*published.split(), "engulfed_fight", "follow_guard", "cure_disease", "recover") == STRATEGIES
    assert STRATEGIES.index("recover") == 12
    assert STRATEGIES[:-1] == PUBLISHED_STRATEGIES


def test_a_vocabulary_grows_in_the_order_of_first_use():
    vocabulary = Vocabulary(STRATEGIES)
    assert [vocabulary.code(name) for name in ("dig", "fight", "swim", "dig")] == [13, 1, 14, 13]
    assert vocabulary.code("unlabelled") == UNLABELLED == 255
    assert vocabulary.codes["swim"] == 14


def test_a_vocabulary_refuses_doubles_emptiness_and_too_many_names():
    with pytest.raises(ValueError, match="'a' occurs twice"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="empty name"):
        Vocabulary().code("")
    full = Vocabulary(f"name {i}" for i in range(255))
    with pytest.raises(ValueError, match="more than 255 different labels in one game; the last was 'one more'"):
        full.code("one more")


def test_counts_come_by_name_most_frequent_first():
    labels = np.array([1, 1, 0, 255, 1], dtype=np.uint8)
    counts = count_by_name(labels, {"explore": 0, "fight": 1, "init": 7, "unlabelled": 255})
    assert list(counts.items()) == [("fight", 3), ("explore", 1), ("unlabelled", 1)]
