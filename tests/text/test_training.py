"""Language models on exports: which tokens carry loss, n-grams as a measure, and a small model that learns."""

import json
import math
import re
from dataclasses import replace
from itertools import product

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from strathack import cli  # noqa: E402
from strathack.dataset.errors import InputError  # noqa: E402
from strathack.text.encoding import IGNORED, Encoded, encode, said_places, said_spans  # noqa: E402
from strathack.text.exporting import ExportFolder, encode_rows  # noqa: E402
from strathack.text.history import Changes, Chunk, tellings  # noqa: E402
from strathack.text.measuring import losses_by_strategy  # noqa: E402
from strathack.text.ngrams import NGrams  # noqa: E402
from strathack.text.options import TrainConfig  # noqa: E402
from strathack.text.tokens import trained_tokenizer  # noqa: E402
from strathack.text.training import extend_positions, first_of, loss_of, padded, train_model  # noqa: E402

STEPS = 6


def row_of(number, telling="tokens"):
    """A chunk whose actions follow from what is seen."""
    seen = [(number + step) % 3 for step in range(STEPS)]
    texts = [f"cursor[\n{'abc'[value]} ü\n]" for value in seen]
    actions = [("north", "far_east", "digit_5")[value] for value in seen]
    strategies = [("fight", "explore")[value == 0] for value in seen]
    changes = Changes(texts.__getitem__, "diff")
    chunk = Chunk(texts[0], [changes.at(step) for step in range(1, STEPS)], actions, tellings(strategies, telling))
    return {
        "prompt": chunk.prompt, "completion": chunk.completion, "game": f"game_{number}", "seed": number, "role": "Val",
        "start": 0, "steps": STEPS, "actions": actions, "strategies": strategies, "substrategies": strategies,
        "score": 0, "dialect": "fair",
    }  # fmt: skip


@pytest.mark.parametrize("telling", ["none", "tokens", "sentences"])
def test_the_player_speaks_from_strategy_or_action_to_the_next_observation(telling):
    row = row_of(0, telling)
    text = row["prompt"] + row["completion"]
    said = [text[begin:end] for begin, end in said_spans(row, telling)]
    assert len(said) == STEPS
    assert all(part.endswith("\n<|observation|>") for part in said[:-1])
    first = {"none": "", "tokens": "<|strategy|>explore\n", "sentences": "I explore the level.\n"}[telling]
    assert said[0] == f"{first}<|action|>north\n<|observation|>"
    assert said[-1].endswith("<|action|>five")
    assert "".join(said).count("<|action|>") == STEPS


@pytest.mark.parametrize("telling", ["none", "tokens", "sentences"])
def test_only_what_the_player_says_carries_loss(telling):
    rows = [row_of(number, telling) for number in range(3)]
    tokenizer = trained_tokenizer([row["prompt"] + row["completion"] for row in rows], 400)
    for row in rows:
        encoded = encode(row, telling, tokenizer, 10_000, world=False)
        text = row["prompt"] + row["completion"]
        expected = "".join(text[begin:end] for begin, end in said_spans(row, telling))
        kept = [label for label in encoded.labels if label != IGNORED]
        # A token may reach over the end of what is said only by the line break before it.
        assert tokenizer.decode(kept, skip_special_tokens=False).replace("\n", "") == expected.replace("\n", "")
        assert all(label in (token, IGNORED) for token, label in zip(encoded.tokens, encoded.labels, strict=True))
        world = encode(row, telling, tokenizer, 10_000, world=True)
        told = tokenizer.decode([one for one in world.labels if one != IGNORED], skip_special_tokens=False)
        assert told == row["completion"]
        assert len(encode(row, telling, tokenizer, 50, world=False).tokens) == 50


@pytest.mark.parametrize("telling", ["none", "tokens", "sentences"])
def test_every_token_that_is_said_belongs_to_a_step_and_a_part(telling):
    row = row_of(0, telling)
    tokenizer = trained_tokenizer([row["prompt"] + row["completion"]], 400)
    text, encoding = row["prompt"] + row["completion"], tokenizer.encode(row["prompt"] + row["completion"])
    said = {}
    for place, (begin, end) in zip(said_places(row, telling, encoding.offsets), encoding.offsets, strict=True):
        if place is not None:
            said[place] = said.get(place, "") + text[begin:end]
    assert [step for step, part in said if part == "action"] == list(range(STEPS))
    assert all(part.startswith("<|action|>") for (_, kind), part in said.items() if kind == "action")
    told = [step for step, before in enumerate(tellings(row["strategies"], telling)) if before]
    assert [step for step, part in said if part == "strategy"] == told


def test_losses_by_strategy_add_up_to_the_loss(export):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    rows = [row_of(number) for number in range(4)]
    tokenizer = trained_tokenizer([row["prompt"] + row["completion"] for row in rows], 400)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_positions=256, n_embd=16, n_layer=1, n_head=2))
    found = losses_by_strategy(model, tokenizer, rows, "tokens", 200)
    loss, tokens = loss_of(model, [encode(row, "tokens", tokenizer, 200, world=False) for row in rows], 2)
    assert sum(count for _, count, _ in found.values()) == tokens
    assert sum(nats for *_, nats in found.values()) == pytest.approx(loss * tokens, rel=1e-5)
    assert {strategy for strategy, _ in found} == {"fight", "explore"}
    steps = sum(found[strategy, "action"][0] for strategy in ("fight", "explore"))
    assert steps <= 4 * STEPS


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=4), st.integers(1, 3))
def test_n_grams_are_distributions_and_see_what_they_learned(texts, order):
    ngrams = NGrams(order, 4)
    ngrams.learn(texts)
    for history in product(range(4), repeat=order - 1):
        assert sum(ngrams.probability(history, token) for token in range(4)) == pytest.approx(1)


def test_a_bigram_by_hand():
    ngrams = NGrams(2, 3)
    ngrams.learn([[0, 1, 0, 1, 0]])
    zero = (3 + 2 / 3) / (5 + 2)
    one = (2 + 2 / 3) / (5 + 2)
    assert ngrams.probability([0], 1) == pytest.approx((2 + one) / (2 + 1))
    assert ngrams.probability([2], 0) == pytest.approx(zero)
    loss = ngrams.loss([Encoded.of([0, 1], [False, True])])
    assert loss == pytest.approx(-math.log((2 + one) / 3))


def test_n_grams_learn_from_the_first_chunks_that_fit():
    chunks = [Encoded.of(range(length), [True] * length) for length in (3, 4, 5)]
    assert [len(tokens) for tokens in first_of(chunks, 8)] == [3, 4]
    assert [len(tokens) for tokens in first_of(chunks, 12)] == [3, 4, 5]
    assert {chunks[0].tokens.itemsize, chunks[0].labels.itemsize} == {4}


@pytest.fixture
def export(tmp_path):
    """Twelve chunks to train on and three to be measured by."""
    folder = ExportFolder(tmp_path / "export")
    folder.begin({"layout": "completion", "to": "parquet", "strategies": "tokens"})
    for number in range(15):
        folder.add(f"game_{number}", encode_rows([row_of(number)], "completion"))
    games = [f"game_{number}" for number in range(15)]
    folder.finish({"train": games[:12], "validation": games[12:], "test": []}, "parquet", 100, str)
    return tmp_path / "export"


def test_a_small_model_learns_and_is_saved_whole(export, tmp_path, capsys):
    out = tmp_path / "model"
    words = ["--steps", "30", "--batch", "4", "--accumulate", "1", "--context", "256", "--vocabulary", "400"]
    words += ["--learning-rate", "3e-3", "--quiet"]
    assert cli.main(["text", "train", str(export), str(out), *words]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["steps"] == 30
    assert 3e6 < result["parameters"] < 5e6
    # Actions follow from what is seen: a model that learned nothing pays log 400 a token.
    assert result["loss"] < 1
    printed = re.search(
        r"30 steps, 3\.\d M parameters; on ([\d,]+) tokens of other games ([\d.]+)", capsys.readouterr().out
    )
    assert int(printed[1].replace(",", "")) == result["tokens"]
    # It is trained further, with more positions, and with the tokenizer that it came with.
    config = TrainConfig(
        data=export, out=tmp_path / "more", model=str(out), context=300, batch=4, accumulate=1, steps=1, quiet=True,
        learning_rate=1e-9,
    )  # fmt: skip
    assert train_model(config).loss == pytest.approx(result["loss"], rel=1e-3)
    (out / "model.safetensors").write_bytes((out / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="model: .*model cannot be loaded"):
        train_model(replace(config, out=tmp_path / "none"))


def test_padding_and_a_batch_s_size_change_no_loss(export):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=400, n_positions=256, n_embd=16, n_layer=1, n_head=2))
    tokenizer = trained_tokenizer([row_of(number)["completion"] for number in range(3)], 400)
    chunks = [encode(row_of(number), "tokens", tokenizer, 150 + 20 * number, world=False) for number in range(3)]
    one, together = loss_of(model, chunks, 1), loss_of(model, chunks, 3)
    assert one[1] == together[1] == sum(label != IGNORED for chunk in chunks for label in chunk.labels[1:])
    assert one[0] == pytest.approx(together[0], rel=1e-5)
    assert padded(chunks)["attention_mask"].sum() == sum(len(chunk.tokens) for chunk in chunks)
    before = model.transformer.wpe.weight.clone()
    extend_positions(model, 300)
    assert torch.equal(model.transformer.wpe.weight[:256], before)
    assert model.config.n_positions == 300


def test_what_cannot_be_trained_on_is_refused(export, tmp_path):
    def refused(said, **options):
        with pytest.raises(InputError, match=said):
            train_model(TrainConfig(**{"data": export, "out": tmp_path / "out", "quiet": True, **options}))

    refused("no export in it; expected export.json", data=tmp_path / "nowhere")
    refused("none of the train chunks' carries loss; take more", context=10, vocabulary=400)
    refused("nowhere: no tokenizer.json", model="nowhere")
    folder = ExportFolder(export)
    settings = folder.settings()
    for changes, said in (
        ({"finished": False}, "the export is not finished; the same text export goes on with it"),
        ({"layout": "messages"}, "is messages in parquet; expected completion in parquet"),
    ):
        (export / "export.json").write_text(json.dumps(settings | changes))
        refused(said)
    with pytest.raises(InputError, match="minutes: 0.0 is not above 0"):
        TrainConfig(data=export, out=tmp_path, minutes=0.0)
