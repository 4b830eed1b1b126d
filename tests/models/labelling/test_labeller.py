"""Labellers: what they see, what they learn, and how their labels come into datasets."""

import json
import math
import signal
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from made_up_games import made_up, provenance, write_games

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from shrinking import made_up_inputs  # noqa: E402

from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.chunks import ChunkEncoder, pad_chunk  # noqa: E402
from strathack.dataset.errors import FormatError, InputError  # noqa: E402
from strathack.dataset.labels import STRATEGIES  # noqa: E402
from strathack.dataset.shard import encode_shard  # noqa: E402
from strathack.dataset.streams import unrolls  # noqa: E402
from strathack.models.config import SymbolsConfig  # noqa: E402
from strathack.models.labelling.applying import apply, inferred  # noqa: E402
from strathack.models.labelling.labeller import Labeller, LabellerConfig, load_labeller  # noqa: E402
from strathack.models.labelling.metrics import LabelSums, label_result, label_sums  # noqa: E402
from strathack.models.labelling.options import LabelApplyConfig, LabelTrainConfig  # noqa: E402
from strathack.models.labelling.training import LabellingModule, train_labeller  # noqa: E402
from strathack.models.options import TrainConfig  # noqa: E402
from strathack.models.places import checkpoint_at  # noqa: E402
from strathack.models.running import quieten  # noqa: E402
from strathack.models.saving import load_values, save_values  # noqa: E402
from strathack.models.training import train_policy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
SMALL = SymbolsConfig(
    embedding=4, crop_channels=(8,), crop_units=16, screen_channels=(8,), screen_units=8, message=8, blstats=0,
    previous_action=0, size=16,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quiet():
    quieten()


def small_labeller(action=0, seed=0):
    torch.manual_seed(seed)
    return Labeller(LabellerConfig(SMALL, 12, action, "strategy", STRATEGIES)).eval()


def foretold(seed, steps):
    """A game whose strategies are shown at the end of their runs alone, so that only a look ahead tells them."""
    data, _ = made_up(seed, steps, SCREEN)
    rng = np.random.default_rng(seed)
    runs = rng.integers(2, 7, steps)
    strategy = np.repeat(rng.integers(0, 2, steps), runs)[:steps].astype("u1")
    ends = np.zeros(steps, bool)
    ends[np.cumsum(runs)[np.cumsum(runs) <= steps] - 1] = True
    chars = np.full((steps, 24, 80), ord(" "), "u1")
    chars[ends] = np.where(strategy[ends] == 0, ord("<"), ord(">")).astype("u1")[:, None, None]
    frames = {
        "tty_chars": chars,
        "tty_colors": np.full((steps, 24, 80), 7, "u1"),
        "tty_cursor": np.tile(np.array([12, 40], "u1"), (steps, 1)),
    }
    encoder = ChunkEncoder()
    encoded = {
        key: [encoder.encode(pad_chunk(values[at : at + 1024], min(1024, steps))) for at in range(0, steps, 1024)]
        for key, values in frames.items()
    }
    return replace(data, frames=encoded, strategy=strategy), strategy, ends


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foretold")
    lengths = [1500, 300, 700, 90, 411, 256, 512, 1, 130, 600, 33, 800, 1100, 64, 222, 340]
    for seed, steps in enumerate(lengths):
        game, _, _ = foretold(seed, steps)
        (folder / f"game_{seed}.h5").write_bytes(encode_shard(game, provenance(observations=SCREEN)))
    return folder


def config_of(games, out, **options):
    chosen = {
        "hidden": 16, "lanes": 4, "unroll": 32, "steps": 12, "validate_every": 6, "checkpoint_every": 4, "log_every": 5,
        "device": "cpu", "precision": "32", "quiet": True, "learning_rate": 1e-2, "warmup": 5,
    }  # fmt: skip
    return LabelTrainConfig(data=[games], out=out, **{**chosen, **options})


def with_first(shape, starts):
    first = np.zeros(shape, bool)
    for step, lane in starts:
        first[step, lane] = True
    return first


@pytest.mark.parametrize("known", [True, False])
def test_a_game_is_labelled_by_its_own_steps_whatever_runs_beside_and_after_it(known):
    labeller = small_labeller()
    rng = np.random.default_rng(0)
    first = with_first((20, 3), [(0, 0), (7, 0), (0, 1), (13, 2), (14, 2)])
    inputs = made_up_inputs(rng, 20, 3, first)
    starts = tuple(np.flatnonzero(first.any(1)).tolist()) if known else None
    with torch.no_grad():
        logits, _ = labeller(inputs, labeller.initial_state(3), starts)
        for lane, start, stop in [(0, 0, 7), (0, 7, 20), (1, 0, 20), (2, 0, 13), (2, 13, 14), (2, 14, 20)]:
            alone = {name: value[start:stop, lane : lane + 1] for name, value in inputs.items()}
            own, _ = labeller(alone, labeller.initial_state(1))
            torch.testing.assert_close(logits[start:stop, lane], own[:, 0], atol=1e-5, rtol=1e-4)


def test_in_a_validation_no_game_read_backwards_begins_in_padding(games, tmp_path):
    module = train_labeller(config_of(games, tmp_path / "run", steps=1, validate_every=1)).module.eval()
    batch = made_up_inputs(np.random.default_rng(0), 20, 2, with_first((20, 2), [(0, 0), (0, 1)]))
    batch |= {"mask": torch.ones(20, 2, dtype=torch.bool), "strategy": torch.zeros(20, 2, dtype=torch.uint8)}
    batch["starts"] = (0,)
    batch["mask"][12:, 1] = False
    with torch.no_grad():
        padded = module.learn(batch, module.initial_memory(2)).scores
        alone = {name: value[:12, 1:] for name, value in batch.items() if name != "starts"} | {"starts": (0,)}
        expected = module.learn(alone, module.initial_memory(1)).scores
    torch.testing.assert_close(padded[:12, 1], expected[:, 0], atol=1e-5, rtol=1e-4)


def test_what_came_before_is_remembered_from_unroll_to_unroll():
    labeller = small_labeller()
    inputs = made_up_inputs(np.random.default_rng(1), 16, 2, with_first((16, 2), [(0, 0), (0, 1)]))
    with torch.no_grad():
        encoded, first = labeller.encode(inputs), inputs["first"]
        whole, _ = labeller.remember(encoded, first, labeller.initial_state(2))
        state, parts = labeller.initial_state(2), []
        for at in (0, 5, 6):
            stop = {0: 5, 5: 6, 6: 16}[at]
            part, state = labeller.remember(encoded[at:stop], first[at:stop], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)


def plain(labeller, game, cuts, ahead):
    """Labels a game by the plain loop.

    For each block: what came before, from the game's start; what comes later, up to ``ahead`` steps after the block.
    """
    steps = len(game)
    inputs = {key: torch.from_numpy(game.obs[key][:])[:, None] for key in SCREEN}
    inputs["first"] = torch.from_numpy(with_first((steps, 1), [(0, 0)]))
    encoded, logits = labeller.encode(inputs), []
    before, _ = labeller.remember(encoded, inputs["first"], labeller.initial_state(1))
    for start, stop in zip([0, *cuts], [*cuts, steps], strict=True):
        until = min(stop + ahead, steps)
        later = labeller.foresee(encoded[start:until], inputs["first"][start:until])[: stop - start]
        logits.append(labeller.head(torch.cat([before[start:stop], later], -1))[:, 0])
    return torch.cat(logits).softmax(-1)


@pytest.mark.parametrize(("lanes", "ahead"), [(1, 64), (3, 64), (16, 64), (3, 0), (5, 256)])
def test_labels_are_those_of_the_plain_loop(games, lanes, ahead):
    labeller, dataset = small_labeller(), Dataset(games)
    seen = []
    found = inferred(labeller, dataset, lanes, ahead, seen.append)
    assert sum(seen) == dataset.steps
    cuts = {place: [] for place in range(len(dataset))}
    with closing(unrolls(dataset, lanes=lanes, steps=256, observations=(), places=True, seed=None)) as stream:
        for batch in stream:
            for lane in np.flatnonzero(batch["mask"][0] & (batch["step"][0] > 0)):
                cuts[int(batch["game"][0, lane])].append(int(batch["step"][0, lane]))
    with torch.no_grad():
        for place, game in enumerate(dataset):
            expected = plain(labeller, game, cuts[place], ahead)
            chosen = expected[torch.arange(len(game)), torch.from_numpy(found[place].names).long()].numpy()
            assert np.abs(chosen - expected.max(-1).values.numpy()).max() < 1e-4, "ties apart, the same names"
            assert np.abs(found[place].probability - chosen).max() < 1e-3


@pytest.mark.slow
def test_a_labeller_learns_what_only_later_steps_tell_and_labels_games_with_it(games, tmp_path, run):
    ended = train_labeller(
        config_of(games, tmp_path / "run", steps=250, validate_every=250, learning_rate=3e-3, hidden=32)
    )
    assert ended.module.validated.accuracy > 0.9
    shown = run("label", "apply", tmp_path / "run", games, tmp_path / "out", "--quiet")
    assert shown.status == 0, shown.err
    dataset = Dataset(tmp_path / "out")
    assert f"16 games, {dataset.steps:,} steps labelled" in shown.out
    right, hidden = [], []
    for game in dataset:
        _, strategy, ends = foretold(int(game.row["core"]), len(game))
        names = game.arrays["strategy_inferred"].names(slice(None))
        right.append(names == np.array(STRATEGIES)[strategy])
        hidden.append(~ends)
        assert np.array_equal(game.strategy[:], strategy), "what was reported is as it was"
    right, hidden = np.concatenate(right), np.concatenate(hidden)
    assert right[hidden].mean() > 0.85, "at these steps the screen shows nothing of the strategy"
    assert run("dataset", "verify", tmp_path / "out", "--quiet").status == 0
    # A policy learns from them by their name.
    cloned = train_policy(
        TrainConfig(
            data=[tmp_path / "out"], out=tmp_path / "clone", label="strategy_inferred", steps=3, lanes=2, quiet=True,
            set="encoder.blstats=0; core.hidden=16; heads.hidden=8", device="cpu", validate_every=3,
        )
    )  # fmt: skip
    assert cloned.module.policy.config.strategies == STRATEGIES
    assert cloned.module.validated.strategy_accuracy is not None
    twice = LabelApplyConfig(run=tmp_path / "run", data=tmp_path / "out", out=tmp_path / "twice", quiet=True)
    with pytest.raises(InputError, match="out: has strategy_inferred already, which is not written over"):
        apply(twice)


def test_keys_are_seen_where_they_are_asked_for(games, tmp_path):
    ended = train_labeller(config_of(games, tmp_path / "run", actions=True))
    labeller = load_labeller(ended.folder)
    inputs = made_up_inputs(np.random.default_rng(0), 6, 2, with_first((6, 2), [(0, 0), (0, 1)]))
    with torch.no_grad():
        outputs = [
            labeller({**inputs, "actions": torch.full((6, 2), key, dtype=torch.uint8)}, labeller.initial_state(2))[0]
            for key in (3, 90, 255)
        ]
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.isfinite(outputs[2]).all()
    (found,) = inferred(labeller, Dataset(games).take([1]), 4, 64)
    assert len(found.names) == 300


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(games, tmp_path, monkeypatch):
    whole = train_labeller(config_of(games, tmp_path / "whole"))
    end_batch = LabellingModule.end_batch

    def interrupting(self, *arguments):
        end_batch(self, *arguments)
        if self.trainer.global_step == 5:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(LabellingModule, "end_batch", interrupting)
        cut = train_labeller(config_of(games, tmp_path / "cut"))
    assert cut.interrupted == signal.SIGTERM
    resumed = train_labeller(LabelTrainConfig(resume=cut.folder, quiet=True))
    weights, expected = (one.module.labeller.state_dict() for one in (resumed, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert resumed.module.validated == whole.module.validated
    assert json.loads((resumed.folder / "validation.json").read_text())["steps"] == whole.module.validated.steps


def test_applying_goes_on_where_it_was_cut(games, tmp_path, monkeypatch):
    train_labeller(config_of(games, tmp_path / "run"))
    config = LabelApplyConfig(
        run=tmp_path / "run", data=games, out=tmp_path / "out", quiet=True, games_per_shard=4, lanes=5
    )
    from strathack.models.labelling import applying

    monkeypatch.setattr(applying, "GAMES_AT_A_TIME", 5)
    label, calls = applying.inferred, []

    def cut(labeller, dataset, *rest):
        calls.append(len(dataset))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return label(labeller, dataset, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(applying, "inferred", cut)
        with pytest.raises(KeyboardInterrupt):
            apply(config)
    assert len(Dataset(tmp_path / "out")) == 10
    checkpoint = checkpoint_at(tmp_path / "run")
    mine = checkpoint.read_bytes()
    values = load_values(checkpoint)
    save_values(checkpoint, {**values, "about": {"trained": "further"}})
    with pytest.raises(InputError, match="holds games of other settings: labeller_sha256 is "):
        apply(config)
    checkpoint.write_bytes(mine)
    with pytest.raises(InputError, match="what is there was made of other games, labels or splits"):
        apply(replace(config, select="core != 3"))
    assert apply(config) == (16, Dataset(games).steps)
    whole = replace(config, out=tmp_path / "whole")
    apply(whole)
    for game in Dataset(tmp_path / "whole"):
        other = Dataset(tmp_path / "out")[game.name]
        assert np.array_equal(game.arrays["strategy_inferred"][:], other.arrays["strategy_inferred"][:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "substrategy"}, "no step has a substrategy to learn from"),
        ({"hidden": 0}, "hidden: 0 is below 1"),
        ({"unroll": 2000}, "unroll: 2000 steps are more than the longest game has"),
        ({"select": "core == 99"}, "no game in the train split"),
    ],
)
def test_what_cannot_be_learned_is_refused(games, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        train_labeller(config_of(games, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["corpses", "events"])
def test_a_labeller_does_not_remember(part):
    with pytest.raises(InputError, match=f"encoder.{part}: a labeller remembers nothing"):
        LabellerConfig(SymbolsConfig(**{part: 8}), names=STRATEGIES)


def test_games_that_a_labeller_cannot_see_are_refused(games, tmp_path):
    train_labeller(config_of(games, tmp_path / "run"))
    write_games(tmp_path / "blind", [50, 60], keys=("tty_cursor",))
    config = LabelApplyConfig(run=tmp_path / "run", data=games, out=tmp_path / "out", quiet=True)
    with pytest.raises(InputError, match="blind: the labeller needs tty_chars, tty_colors; the dataset has tty_cursor"):
        apply(replace(config, data=tmp_path / "blind"))
    with pytest.raises(InputError, match="no game meets the condition; nothing to label"):
        apply(replace(config, select="core == 99"))
    with pytest.raises(InputError, match="ahead: 300 is above 256, the steps that are read at a time"):
        replace(config, ahead=300)
    assert not (tmp_path / "out").exists()


def test_a_policy_is_no_labeller(games, tmp_path):
    train_policy(TrainConfig(data=[games], out=tmp_path / "clone", steps=1, lanes=2, quiet=True, device="cpu",
                      set="encoder.blstats=0; core.hidden=16; heads.hidden=8", validate_every=1))  # fmt: skip
    with pytest.raises(FormatError, match="no labeller in it; strathack label train makes such runs"):
        load_labeller(tmp_path / "clone")


def test_results_of_sums():
    """Against counting by hand, with labels that are not known and a name that is never right."""
    logits = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [4, 0, 0]]).log_softmax(-1)
    labels = torch.tensor([0, 0, 2, -1])
    halves = label_sums(logits[:2], labels[:2]) + label_sums(logits[2:], labels[2:])
    result = label_result(LabelSums.empty(3) + halves, ("a", "b", "c"))
    sure = float(logits[0, 0].exp())
    assert result.steps == 3
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.majority == pytest.approx(2 / 3)
    assert result.macro_recall == pytest.approx((0.5 + 1) / 2)
    assert result.nll == pytest.approx(-(2 * logits[0, 0] + logits[1, 0]).item() / 3, abs=1e-5)
    assert result.calibration_error == pytest.approx(abs(sure - 2 / 3), abs=1e-6)
    assert [(row.name, row.steps, row.recall, row.precision) for row in result.by_name] == [
        ("a", 2, 0.5, 1.0), ("c", 1, 1.0, 1.0)
    ]  # fmt: skip
    assert math.isnan(label_result(LabelSums.empty(3), ("a", "b", "c")).nll), "which is no perfect labeller"
