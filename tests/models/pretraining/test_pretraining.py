"""Pre-training on screens alone: losses and pairs against plain loops, what is learned, and what takes it up."""

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_games import made_up, provenance, write_games

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.actions import NO_ACTION  # noqa: E402
from strathack.dataset.chunks import ChunkEncoder, pad_chunk  # noqa: E402
from strathack.dataset.errors import FormatError, InputError  # noqa: E402
from strathack.dataset.schema import ORIGINS  # noqa: E402
from strathack.dataset.shard import encode_shard  # noqa: E402
from strathack.models.options import TrainConfig  # noqa: E402
from strathack.models.pretraining import pairs as pairing  # noqa: E402
from strathack.models.pretraining.losses import info_nce, progress_loss, signed_log_time  # noqa: E402
from strathack.models.pretraining.measuring import progress_along  # noqa: E402
from strathack.models.pretraining.networks import load_pretrained, load_progress, without_turn  # noqa: E402
from strathack.models.pretraining.options import PretrainConfig  # noqa: E402
from strathack.models.pretraining.pairs import NONE, History, far_pairs, later_pairs, places_of  # noqa: E402
from strathack.models.pretraining.training import PretrainingModule, PretrainingSums, pretrain, result_of  # noqa: E402
from strathack.models.running import quieten  # noqa: E402
from strathack.models.saving import load_values  # noqa: E402
from strathack.models.training import train_policy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
SMALL = (
    "encoder.embedding=4; encoder.crop_channels=[8]; encoder.crop_units=16; encoder.screen_channels=[8];"
    "encoder.screen_units=16; encoder.message=16; encoder.size=32"
)


@pytest.fixture(scope="module", autouse=True)
def quiet():
    quieten()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(2, 5), st.integers(0, 1000), st.floats(0.05, 2))
def test_info_nce_is_that_of_a_plain_loop(pairs, size, seed, temperature):
    rng = np.random.default_rng(seed)
    anchors, later = rng.normal(size=(2, pairs, size))
    candidates = rng.random((pairs, pairs)) < 0.7
    np.fill_diagonal(candidates, True)
    tensors = [torch.from_numpy(one) for one in (anchors, later)]
    with torch.autocast("cpu", torch.bfloat16):  # which is not to change anything
        nll, right = info_nce(*tensors, temperature, torch.from_numpy(candidates))
    for i in range(pairs):
        similarity = {
            j: float(anchors[i] @ later[j] / np.linalg.norm(anchors[i]) / np.linalg.norm(later[j]) / temperature)
            for j in range(pairs)
            if candidates[i, j]
        }
        expected = math.log(sum(math.exp(one) for one in similarity.values())) - similarity[i]
        assert float(nll[i]) == pytest.approx(expected, abs=1e-4)
        assert bool(right[i]) == (max(similarity.values()) == similarity[i])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=12))
def test_candidates_are_all_later_frames_that_there_are_each_once(pairs):
    lane, second, known = (torch.tensor(values) for values in zip(*pairs, strict=True))
    found = pairing.candidates_of(pairing.Pairs(second - 1, second, lane, known))
    there = {(one, step) for one, step, is_there in pairs if is_there}
    for i, (mine, step, _) in enumerate(pairs):
        frames = [pairs[j][:2] for j in range(len(pairs)) if found[i, j]]
        assert found[i, i]
        assert sorted(frames) == sorted(there | {(mine, step)})


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(-10_000, 10_000)), min_size=1, max_size=20))
def test_the_progress_loss_is_that_of_a_plain_loop(pairs):
    said, steps = zip(*pairs, strict=True)
    loss = progress_loss(torch.tensor(said), torch.tensor(steps))
    for value, one, delta in zip(loss.tolist(), said, steps, strict=True):
        target = math.copysign(math.log(1 + abs(delta)), delta) if delta else 0.0
        assert value == pytest.approx((one - target) ** 2, rel=1e-4, abs=1e-4)
    assert signed_log_time(torch.tensor([0, 1, -1])).tolist() == pytest.approx([0, math.log(2), -math.log(2)])


def unrolled(lengths, steps):
    """Games one after another in each lane, cut into unrolls: (game, age), −1 for padding, [unrolls, T, B]."""
    lanes = [[(game, age) for game, length in of_lane for age in range(length)] for of_lane in lengths]
    total = -(-max(map(len, lanes)) // steps) * steps
    full = np.full((total, len(lanes), 2), -1)
    for lane, places in enumerate(lanes):
        full[: len(places), lane] = places
    return full.reshape(-1, steps, len(lanes), 2)


LENGTHS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=5), min_size=1, max_size=3)


@settings(deadline=None, max_examples=30)
@given(LENGTHS, st.integers(2, 16), st.integers(0, 100), st.integers(2, 200))
def test_pairs_are_of_one_game_and_as_far_apart_as_they_say(lengths, steps, seed, longest):
    numbered = [[(100 * lane + place, length) for place, length in enumerate(of)] for lane, of in enumerate(lengths)]
    torch.manual_seed(seed)
    history = History(("tty_cursor",), -(-longest // steps))
    lanes = len(lengths)
    memory = history.empty(lanes, torch.device("cpu"))
    for unroll in unrolled(numbered, steps):
        game, age = torch.from_numpy(unroll[..., 0]), torch.from_numpy(unroll[..., 1])
        mask, first = game >= 0, age == 0
        # A frame that tells where it is: game and age, as two numbers below 256.
        frames = torch.stack([game.clamp(min=0) % 251, age.clamp(min=0)], -1).to(torch.uint8)
        batch = {"tty_cursor": frames}
        places = places_of(first, mask, memory["age"])
        assert torch.equal(places.age[mask], age[mask])
        near = later_pairs(places, mask, 8, 0.9)
        for one, other, lane, known in zip(near.first, near.second, near.lane, near.known, strict=True):
            if known:
                assert game[one, lane] == game[other, lane] >= 0
                assert other > one
        far = far_pairs(places, mask, memory["history_age"], 8, longest)
        earlier = history.frames(memory, batch, far)["tty_cursor"]
        for place in torch.nonzero(far.known).flatten().tolist():
            step, lane = far.step[place], far.lane[place]
            assert mask[step, lane]
            assert int(earlier[place, 0]) == int(game[step, lane]) % 251
            assert int(age[step, lane]) - int(earlier[place, 1]) == int(far.distance[place])
            assert 1 <= far.distance[place] <= longest
        memory = history.after(memory, batch, first, places)
        for lane in range(lanes):
            ages = memory["history_age"][lane]
            assert (ages[ages != NONE] < memory["age"][lane]).all()


def test_distances_are_geometric_also_near_the_end():
    torch.manual_seed(0)
    mask = torch.ones(6, 1, dtype=torch.bool)
    first = torch.zeros_like(mask)
    places = places_of(first, mask, torch.zeros(1, dtype=torch.int64))
    near = later_pairs(places, mask, 60_000, 0.8)
    assert torch.equal(near.known, near.first < 5)
    distance = (near.second - near.first)[near.first == 2]
    weights = 0.8 ** torch.arange(3)
    shares = torch.bincount(distance, minlength=4)[1:] / len(distance)
    torch.testing.assert_close(shares, weights / weights.sum(), atol=0.015, rtol=0)


@given(st.integers(0, 10**9), st.integers(0, 60), st.sampled_from(["", " Hungry", " Conf T", ":", "7"]))
def test_the_turn_is_not_seen(turn, at, after):
    line = f"{'Dlvl:1 $:0 HP:16(16) Pw:2(2) AC:7 Xp:1/0'[:at]:{at}} T:{turn}{'' if after == '7' else after}"
    chars = torch.full((2, 24, 80), ord("x"), dtype=torch.uint8)
    chars[:, -1] = ord(" ")
    told = torch.tensor(list(line[:80].encode()), dtype=torch.uint8)
    chars[0, -1, : len(told)] = told
    seen = without_turn(chars)
    blank = f"{line[: at + 1]}{' ' * len(f'T:{turn}')}{line[at + 3 + len(str(turn)) :]}"[:80]
    expected = blank if len(line[:80]) >= at + 3 else line[:80]
    assert bytes(seen[0, -1].tolist()).decode() == f"{expected:80}"
    assert torch.equal(seen[1], chars[1])
    assert torch.equal(seen[:, :-1], chars[:, :-1])


def test_distances_are_geometric_and_log_uniform():
    torch.manual_seed(0)
    first = torch.zeros(400, 50, dtype=torch.bool)
    first[0] = True
    mask = torch.ones_like(first)
    places = places_of(first, mask, torch.zeros(50, dtype=torch.int64))
    near = later_pairs(places, mask, 400, 0.9)
    early = near.first < 300
    distance = (near.second - near.first)[early].double()
    assert distance.mean() == pytest.approx(10, rel=0.05)
    assert (distance == 1).double().mean() == pytest.approx(0.1, abs=0.01)
    far = far_pairs(places, mask, torch.full((50, 3), NONE), 400, 10_000)
    old = far.step == 399
    logs = far.distance[old].double().log() / math.log(399)
    assert logs.mean() == pytest.approx(0.5, abs=0.1)
    assert logs.min() < 0.1
    assert logs.max() > 0.9


def clockwork(seed, steps):
    """A game without keys, whose screen shows at which of sixteen stages it is, amid noise."""
    data, _ = made_up(seed, steps, SCREEN)
    rng = np.random.default_rng(seed)
    stage = (np.arange(steps) * 16 // steps).astype("u1")
    frames = {
        "tty_chars": np.tile((ord("a") + stage)[:, None, None], (1, 24, 80)).astype("u1"),
        "tty_colors": rng.integers(0, 16, (steps, 24, 80)).astype("u1"),
        "tty_cursor": np.tile(np.array([12, 40], "u1"), (steps, 1)),
    }
    frames["tty_colors"][:, :, :40] = 7
    encoder = ChunkEncoder()
    encoded = {
        key: [encoder.encode(pad_chunk(values[at : at + 1024], min(1024, steps))) for at in range(0, steps, 1024)]
        for key, values in frames.items()
    }
    row = data.row.copy()
    row["origin"], row["keys_sha256"] = ORIGINS["screens"], b""
    return replace(
        data, row=row, frames=encoded, actions=np.full(steps, NO_ACTION, "u1"), rewards=np.zeros(steps, "f4")
    )


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clockwork")
    for seed, steps in enumerate([640, 400, 512, 330, 256, 700, 480, 90, 610, 350, 800, 320, 512, 400, 288, 640]):
        shard = encode_shard(clockwork(seed, steps), provenance(observations=SCREEN))
        (folder / f"game_{seed}.h5").write_bytes(shard)
    return folder


def config_of(games, out, **options):
    chosen = {
        "set": SMALL, "lanes": 4, "unroll": 16, "steps": 12, "validate_every": 6, "checkpoint_every": 4, "log_every": 5,
        "device": "cpu", "precision": "32", "quiet": True, "warmup": 5, "learning_rate": 3e-3,
    }  # fmt: skip
    longest = {} if options.get("objective") == "encoder" else {"longest": 200}
    return PretrainConfig(data=[games], out=out, **{**chosen, **longest, **options})


@pytest.fixture(scope="module")
def alone(games, tmp_path_factory):
    """Objective → a run of it alone."""
    place = tmp_path_factory.mktemp("alone")
    return {
        objective: pretrain(config_of(games, place / objective, objective=objective))
        for objective in ("encoder", "progress")
    }


def test_progress_and_order_are_learned_from_screens_without_keys_and_rewards(games, tmp_path):
    ended = pretrain(config_of(games, tmp_path / "run", steps=300, validate_every=300))
    result = ended.module.validated
    assert result.explained > 0.4
    assert result.order > 0.7, "within a stage there is no telling"
    # A guess among n frames costs log n nats, which is at least this in the mean.
    assert result.nll < -math.log(result.chance) - 0.3
    assert result.accuracy > 1.3 * result.chance
    assert result.loss == pytest.approx(result.nll + result.squared_error)


@pytest.mark.parametrize("objective", ["encoder", "progress"])
def test_one_alone_is_trained_where_it_is_asked_for(games, alone, tmp_path, objective):
    ended = alone[objective]
    scalars = ended.module.validated.scalars()
    assert ("nll" in scalars) is (objective == "encoder")
    assert ("squared_error" in scalars) is (objective == "progress")
    if objective == "encoder":
        with pytest.raises(InputError, match="an encoder alone; strathack pretrain --objective progress"):
            load_progress(ended.folder)
    else:
        with pytest.raises(InputError, match="a model of progress alone; strathack pretrain --objective encoder"):
            train_policy(TrainConfig(data=[games], out=tmp_path / "clone", weights=ended.folder, set=SMALL, quiet=True))


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(games, tmp_path, monkeypatch):
    whole = pretrain(config_of(games, tmp_path / "whole"))
    end_batch = PretrainingModule.end_batch

    def interrupting(self, *arguments):
        end_batch(self, *arguments)
        if self.trainer.global_step == 5:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingModule, "end_batch", interrupting)
        cut = pretrain(config_of(games, tmp_path / "cut"))
    assert cut.interrupted == signal.SIGTERM
    resumed = pretrain(PretrainConfig(resume=cut.folder, quiet=True))
    weights, expected = (one.module.pretrained.state_dict() for one in (resumed, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert resumed.module.validated == whole.module.validated


@pytest.fixture(scope="module")
def playable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playable")
    write_games(folder, [60, 80, 50, 90, 70, 64, 80, 33], keys=(*SCREEN, "blstats"))
    return folder


@pytest.mark.parametrize("freeze", [None, "encoder"])
def test_a_clone_begins_with_the_encoder_and_may_keep_it(alone, playable, tmp_path, freeze):
    run = alone["encoder"].folder
    cloned = train_policy(
        TrainConfig(
            data=[playable], out=tmp_path / "clone", weights=run, set=f"{SMALL}; core.hidden=16; heads.hidden=8",
            steps=3, lanes=2, unroll=8, quiet=True, device="cpu", validate_every=3, freeze=freeze, precision="32",
        )
    )  # fmt: skip
    theirs = load_pretrained(run).contrastive.encoder.state_dict()
    mine = cloned.module.policy.encoders[0].state_dict()
    same = {name for name, value in theirs.items() if torch.equal(mine[name], value)}
    if freeze:
        assert same == set(theirs) - {"out.weight"}, "which has more inputs here"
        wide = theirs["out.weight"].shape[1]
        assert torch.equal(mine["out.weight"][:, :wide], theirs["out.weight"])
        assert not mine["out.weight"][:, wide:].any()
        resumed = train_policy(TrainConfig(resume=cloned.folder, steps=5, quiet=True))
        assert torch.equal(resumed.module.policy.encoders[0].out.bias, theirs["out.bias"])
    else:
        assert not same & {"out.weight", "out.bias"}
    assert cloned.module.policy.config.encoder.blstats > 0


def test_an_encoder_of_another_make_is_refused(alone, playable, tmp_path):
    run = alone["encoder"].folder
    options = {"data": [playable], "out": tmp_path / "clone", "weights": run, "quiet": True, "device": "cpu"}
    with pytest.raises(InputError, match=r"its encoder does not fit the policy's \(symbols\): .* is \["):
        train_policy(TrainConfig(**options))
    with pytest.raises(InputError, match=r"its encoder does not fit the policy's \(symbols\): crop_out.weight is \["):
        train_policy(TrainConfig(**options, set=f"{SMALL}; encoder.crop=11"))
    with pytest.raises(InputError, match=r"its encoder does not fit the policy's \(pixels\)"):
        train_policy(TrainConfig(**options, policy="lstm"))
    policy = train_policy(
        TrainConfig(
            data=[playable], out=tmp_path / "policy", steps=1, lanes=2, quiet=True, set=SMALL, device="cpu",
            validate_every=1,
        )
    ).folder  # fmt: skip
    with pytest.raises(FormatError, match="no pretrained encoder or model of progress in it; strathack pretrain"):
        load_pretrained(policy)
    with pytest.raises(InputError, match="weights: the policy is what the checkpoint holds; leave policy out"):
        train_policy(TrainConfig(**{**options, "weights": policy}, policy="lstm"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"continuation": 1.0}, "continuation: 1.0; expected a number between 0 and 1"),
        ({"unroll": 1}, "unroll: 1 steps hold no pair of frames"),
        ({"temperature": 0.0}, "temperature: 0.0 is not above 0"),
        ({"objective": "encoder", "longest": 100}, "longest: --objective encoder has no use for it"),
        ({"objective": "progress", "projection": 3}, "projection: --objective progress has no use for it"),
        ({"set": f"{SMALL}; core.hidden=4"}, "set: core.hidden: an encoder is trained, of the screen alone"),
        ({"set": f"{SMALL}; encoder.blstats=4"}, "set: encoder.blstats: an encoder is trained, of the screen alone"),
        ({"policy": "symbols-smal"}, "did you mean"),
        ({"select": "core == 99"}, "no game in the train split"),
    ],
)
def test_what_cannot_be_learned_is_refused(games, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        pretrain(config_of(games, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_other_screens_than_are_there_are_refused(tmp_path):
    write_games(tmp_path / "blind", [50, 60, 70, 80, 90, 50, 60, 70], keys=("tty_cursor",))
    with pytest.raises(InputError, match="blind: the encoder needs tty_chars, tty_colors; the dataset has tty_cursor"):
        pretrain(config_of(tmp_path / "blind", tmp_path / "run"))


def test_what_is_said_along_a_game_is_what_the_model_says_of_its_frames(games, alone):
    progress = load_progress(alone["progress"].folder)
    dataset = Dataset(games)
    game = dataset.take([0])
    since, first = progress_along(progress, game, 40)
    frames = {key: torch.from_numpy(game[0].obs[key][:]) for key in SCREEN}
    with torch.no_grad():
        encoded = progress.encode(frames)
        assert np.isnan(since[:40]).all()
        assert not np.isnan(since[40:]).any()
        for step in (40, 300, len(game[0]) - 1):
            assert since[step] == pytest.approx(float(progress.between(encoded[step - 40], encoded[step])), abs=1e-4)
            assert first[step] == pytest.approx(float(progress.between(encoded[0], encoded[step])), abs=1e-4)
    assert np.isnan(progress_along(progress, game, 10_000)[0]).all(), "a lag longer than the game"
    with pytest.raises(InputError, match="progress: 16 games; expected one, with steps"):
        progress_along(progress, dataset, 40)


def test_the_command_says_what_was_learned(run_here, games, tmp_path):
    ended = run_here(
        "pretrain", games, "--out", tmp_path / "run", "--steps", 4, "--validate-every", 4, "--lanes", 2, "--unroll", 16,
        "--set", SMALL, "--quiet", "--device", "cpu",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "of later frames found (by chance " in ended.out
    assert "of pairs in the right order" in ended.out
    assert load_values(tmp_path / "run" / "last.safetensors")["about"]["longest_game"] == max(
        map(len, Dataset(games).select(split="train"))
    )


def test_nothing_is_known_without_a_pair():
    found = result_of(PretrainingSums.empty())
    assert math.isnan(found.loss), "which is no perfect model"
    assert found.nll is None
    assert found.squared_error is None
