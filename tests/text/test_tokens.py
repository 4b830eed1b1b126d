"""What steps cost in tokens."""

from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from strathack import cli
from strathack.dataset.errors import InputError
from strathack.text.history import ACTION
from strathack.text.tokens import SPECIAL, Cost, load_tokenizer, trained_tokenizer

DATA = Path(__file__).parents[2] / "data" / "autoascend-1k"
TEXTS = [f"{ACTION}north\nvertical wall adjacent west", "a +1 long sword (weapon in hand) ü"] * 20


def test_a_trained_tokenizer_keeps_every_byte_and_has_special_tokens():
    tokenizer = trained_tokenizer(TEXTS, 400)
    for text in (*TEXTS[:2], "quite another text: é\x80"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert [tokenizer.encode(token).tokens for token in SPECIAL] == [[token] for token in SPECIAL]
    assert len(tokenizer.encode(TEXTS[0]).ids) < len(TEXTS[0])


def test_costs_are_means_over_steps():
    tokenizer = trained_tokenizer(TEXTS, 300)
    cost = Cost.of(["é", f"{ACTION}é"], tokenizer)
    assert cost.bytes == (2 + 2 + len(ACTION)) / 2
    assert cost.tokens == (2 + 3) / 2


def test_a_tokenizer_of_ones_own_is_read_and_gets_the_special_tokens(tmp_path):
    trained_tokenizer(TEXTS, 300).save(str(tmp_path / "tokenizer.json"))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert load_tokenizer(path).encode(ACTION).tokens == [ACTION]
    with pytest.raises(InputError, match="nowhere: no tokenizer.json"):
        load_tokenizer(Path("nowhere"))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer.json: no tokenizer"):
        load_tokenizer(tmp_path)


def test_diffs_cost_fewer_tokens_than_whole_observations(capsys):
    words = ["text", "tokens", str(DATA), "--games", "2", "--steps", "60", "--vocabulary", "2000"]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line.split("│")[2:] for line in printed.splitlines() if line.startswith("│")}
    costs = {history: [float(cell.strip().replace(",", "")) for cell in cells[:-1]] for history, cells in rows.items()}
    assert costs["diff"][0] < costs["full"][0]
    assert costs["diff"][1] < costs["full"][1]
    assert costs["diff"][2] == pytest.approx(1024 / costs["diff"][1], rel=0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--games", "1"], "games: 1 is below 2"),
        (["--games", "1001", "--steps", "100"], "1000 games of 100 steps or more; 1001 wanted"),
        (["--tokenizer", "nowhere"], "nowhere: no tokenizer.json"),
    ],
)
def test_what_cannot_be_told_is_refused(capsys, words, said):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["text", "tokens", str(DATA), *words])
    assert said in capsys.readouterr().err
