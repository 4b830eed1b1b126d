"""One contract for all algorithms: each learns a chain that cloning cannot, goes on exactly, and refuses the rest."""

import math
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_games import made_up, provenance, write_games

pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.chunks import ChunkEncoder, pad_chunk  # noqa: E402
from strathack.dataset.errors import InputError  # noqa: E402
from strathack.dataset.schema import ENDS, ORIGINS  # noqa: E402
from strathack.dataset.shard import encode_shard  # noqa: E402
from strathack.models.heads import PolicyOutput  # noqa: E402
from strathack.models.offline import training  # noqa: E402
from strathack.models.offline.losses import mixed  # noqa: E402
from strathack.models.offline.networks import TARGET, Valued, ValuedPolicy  # noqa: E402
from strathack.models.offline.options import OfflineConfig, used_options  # noqa: E402
from strathack.models.offline.training import OfflineModule  # noqa: E402
from strathack.models.options import PublishConfig, TrainConfig  # noqa: E402
from strathack.models.policy import Policy  # noqa: E402
from strathack.models.presets import preset  # noqa: E402
from strathack.models.publishing import publish  # noqa: E402
from strathack.models.running import quieten  # noqa: E402
from strathack.models.saving import load_policy, load_values  # noqa: E402
from strathack.models.training import train_policy  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

ALGORITHMS = ("awac", "iql", "cql", "rem")
SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
ON, BACK, LENGTH = 3, 90, 3
SMALL = (
    "encoder.embedding=4; encoder.crop_channels=[8]; encoder.crop_units=16; encoder.screen_channels=[8];"
    "encoder.screen_units=16; encoder.message=16; encoder.size=32; encoder.blstats=0; encoder.previous_action=0;"
    "core.hidden=16"
)
FLAT = f"heads.kind=flat; {SMALL}"


@pytest.fixture(scope="module", autouse=True)
def quiet():
    quieten()


def chain(seed, steps=60):
    """A walk that mostly goes back to the start; three steps on in a row end the game, with the only reward."""
    rng = np.random.default_rng(seed)
    place, places, actions = 0, [], []
    while len(places) < steps and place < LENGTH:
        on = rng.random() < 0.35
        places.append(place)
        actions.append(ON if on else BACK)
        place = place + 1 if on else 0
    over = place == LENGTH
    steps = len(places)
    data, _ = made_up(seed, steps, SCREEN)
    row = data.row.copy()
    row["end"] = ENDS["death" if over else "step_limit"]
    rewards = np.zeros(steps, "<f4")
    rewards[-1] = 100.0 * over
    frames = {
        "tty_chars": np.tile((ord("a") + np.array(places, "u1"))[:, None, None], (1, 24, 80)),
        "tty_colors": np.full((steps, 24, 80), 7, "u1"),
        "tty_cursor": np.tile(np.array([12, 40], "u1"), (steps, 1)),
    }
    encoder = ChunkEncoder()
    encoded = {key: [encoder.encode(pad_chunk(values, steps))] for key, values in frames.items()}
    row["keys_sha256"] = b""
    return replace(data, row=row, frames=encoded, actions=np.array(actions, "u1"), rewards=rewards)


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    for seed in range(120):
        (folder / f"game_{seed}.h5").write_bytes(encode_shard(chain(seed), provenance(observations=SCREEN)))
    return folder


def config_of(games, out, algorithm, **options):
    # Advantages are small here; AWAC divides them by the temperature, IQL multiplies them by it. CQL's gap, which draws
    # the values towards what most demonstrators do, is to weigh little beside them.
    temperature = {"awac": 0.1, "iql": 10.0}.get(algorithm, 1.0)
    wanted = {"discount": 0.9, "target_rate": 0.1, "td_weight": 10.0, "heads": 8, "temperature": temperature}
    values = OfflineConfig(**{name: wanted[name] for name in used_options(algorithm) if name in wanted})
    offline = {} if algorithm == "bc" else {"offline": values}
    chosen = {
        "set": FLAT, "lanes": 8, "unroll": 16, "steps": 12, "validate_every": 6, "checkpoint_every": 4, "log_every": 5,
        "device": "cpu", "precision": "32", "quiet": True, "warmup": 5, "learning_rate": 3e-3, **offline,
    }  # fmt: skip
    return TrainConfig(data=[games], out=out, algorithm=algorithm, **{**chosen, **options})


def preference(folder):
    """At each place of the chain, by how much the policy's logit for going on is above that for going back."""
    policy = load_policy(folder)
    frames = {
        "tty_chars": torch.arange(LENGTH).add(ord("a")).to(torch.uint8)[:, None, None, None].expand(-1, 1, 24, 80),
        "tty_colors": torch.full((LENGTH, 1, 24, 80), 7, dtype=torch.uint8),
        "tty_cursor": torch.tensor([12, 40], dtype=torch.uint8).expand(LENGTH, 1, 2),
        "first": torch.tensor([[True], [False], [False]]),
        "previous_action": torch.full((LENGTH, 1), 255, dtype=torch.uint8),
    }
    with torch.no_grad():
        output, _ = policy.unroll({name: value.contiguous() for name, value in frames.items()}, policy.initial_state(1))
    return (output.action_logits[..., ON] - output.action_logits[..., BACK]).flatten()


@pytest.mark.parametrize(
    "algorithm", ["iql", *(pytest.param(one, marks=pytest.mark.slow) for one in ("bc", "awac", "cql", "rem"))]
)
def test_it_learns_from_rewards_what_cloning_does_not(games, tmp_path, algorithm):
    ended = train_policy(config_of(games, tmp_path / "run", algorithm, steps=250, validate_every=250))
    found = preference(ended.folder)
    if algorithm == "bc":
        assert (found < 0).all(), "most demonstrators go back"
    else:
        assert (found > 0).all(), found
        assert ended.module.validated.td_error >= 0
        assert not (ended.folder / "best.safetensors").exists(), "the smallest TD error is not the best policy"


def conservative_values(reward, options):
    """Where CQL's loss on the chain is the least: values of going on and of going back at each place, [places, 2]."""
    shares, values = np.array([0.35, 0.65]), np.zeros((LENGTH, 2))
    for _ in range(3000):
        best = options.discount * values.max(1)
        targets = np.stack([[*best[1:], reward], np.full(LENGTH, best[0])], axis=1)
        likely = np.exp(values) / np.exp(values).sum(1, keepdims=True)
        values -= 0.05 * (2 * options.td_weight * shares * (values - targets) + likely - shares)
    return values


@pytest.mark.slow
def test_cql_comes_to_where_its_loss_is_the_least(games, tmp_path):
    config = config_of(games, tmp_path / "run", "cql", steps=250, validate_every=250)
    module = train_policy(config).module
    squares = module.returns[1] / module.returns[0]
    expected = conservative_values(min(100 / float(squares.sqrt()), config.offline.reward_clip), config.offline)
    found = preference(tmp_path / "run")
    assert found.tolist() == pytest.approx((expected[:, 0] - expected[:, 1]).tolist(), abs=0.15)


@pytest.mark.parametrize("algorithm", ["awac", "rem"])
def test_it_learns_with_strategies(games, tmp_path, algorithm):
    ended = train_policy(config_of(games, tmp_path / "run", algorithm, set=f"{SMALL}; heads.hidden=8"))
    policy = load_policy(ended.folder)
    assert policy.config.heads.combine == ("values" if algorithm == "rem" else "mixture")
    assert torch.isfinite(preference(ended.folder)).all()
    assert ended.module.validated.strategy_nll is not None


@pytest.mark.parametrize(
    "algorithm", ["rem", *(pytest.param(one, marks=pytest.mark.slow) for one in ("awac", "iql", "cql"))]
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(games, tmp_path, monkeypatch, algorithm):
    whole = train_policy(config_of(games, tmp_path / "whole", algorithm))
    end_batch = OfflineModule.end_batch

    def interrupting(self, *arguments):
        end_batch(self, *arguments)
        if self.trainer.global_step == 5:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(OfflineModule, "end_batch", interrupting)
        cut = train_policy(config_of(games, tmp_path / "cut", algorithm))
    assert cut.interrupted == signal.SIGTERM
    resumed = train_policy(TrainConfig(resume=cut.folder, quiet=True))
    weights, expected = (one.module.networks.state_dict() for one in (resumed, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected), "the target network's, too"
    assert torch.equal(resumed.module.returns, whole.module.returns)
    assert resumed.module.validated == whole.module.validated
    names = load_values(cut.folder / "last.safetensors")["state_dict"]
    assert not any(name.startswith("networks.online.policy.") for name in names), "the policy is kept once"


def test_the_target_network_follows_and_remembers_by_itself(games, tmp_path):
    ended = train_policy(config_of(games, tmp_path / "run", "iql", steps=3))
    networks = ended.module.networks
    online, target = (list(one.parameters()) for one in (networks.online, networks.target))
    assert not any(parameter.requires_grad for parameter in target)
    before = [parameter.clone() for parameter in target]
    networks.follow()
    for mine, was, other in zip(target, before, online, strict=True):
        torch.testing.assert_close(mine, was + 0.1 * (other - was))
    state = networks.initial_state(2, torch.device("cpu"))
    assert {name for name in state if name.startswith(TARGET)} == {f"{TARGET}h", f"{TARGET}c"}


def test_the_mean_of_rems_heads_is_what_the_policy_acts_by():
    torch.manual_seed(0)
    policy = Policy(preset("symbols-small").changed(["encoder.size=32", "core.hidden=16", "heads.combine=values"]))
    valued = ValuedPolicy(policy, "rem", 7)
    inputs = {
        "tty_chars": torch.randint(32, 127, (3, 2, 24, 80), dtype=torch.uint8),
        "tty_colors": torch.zeros(3, 2, 24, 80, dtype=torch.uint8),
        "tty_cursor": torch.zeros(3, 2, 2, dtype=torch.uint8),
        "blstats": torch.zeros(3, 2, 27, dtype=torch.int32),
        "previous_action": torch.zeros(3, 2, dtype=torch.uint8),
        "first": torch.zeros(3, 2, dtype=torch.bool),
    }
    with torch.no_grad():
        said, _ = valued(inputs, policy.initial_state(2))
    torch.testing.assert_close(said.values.mean(-2), said.output.action_logits.float(), atol=1e-4, rtol=1e-4)
    assert said.values.std(-2).min() > 0


@pytest.mark.parametrize("combine", ["values", None])
def test_values_are_computed_in_32_bits_also_where_all_else_is_in_bf16(combine):
    torch.manual_seed(0)
    changes = ["encoder.size=32", "core.hidden=16", f"heads.combine={combine}" if combine else "heads.kind=flat"]
    valued = ValuedPolicy(Policy(preset("symbols-small").changed(changes)), "rem", 7)
    features, weights = 30 * torch.randn(3, 2, 16), torch.rand(7)
    expected, _ = valued_of(valued, features)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = valued_of(valued, features)
        torch.testing.assert_close(mixed(found.values, weights), mixed(expected.values, weights))
    torch.testing.assert_close(found.output.action_logits, expected.output.action_logits)
    torch.testing.assert_close(found.values, expected.values)


def valued_of(valued, features):
    """What the heads say of features, as if the core had given these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(valued.policy, "features", lambda inputs, state, starts: (features, None, state))
        return valued({}, {})


def test_targets_are_given_without_dropout():
    networks = training.WithTarget(ValuedPolicy(Policy(preset("symbols-small")), "iql", 2), 0.1).train()
    assert networks.online.training
    assert not any(module.training for module in networks.target.modules())


def plain_parts(algorithm, options, online, slow, steps, shares):
    """Policy's loss, critic's loss and squared TD error of each step, step by step in double precision."""
    logits, theirs, worth = online.output.action_logits.double(), slow.values.double(), online.state_value.double()
    mixed = [(shares[:, None] * one.values.double()).sum(-2) for one in (online, slow)]
    found = torch.zeros(3, *steps.actions.shape, dtype=torch.float64)
    for t, lane in np.ndindex(*steps.actions.shape):
        action, mine = int(steps.actions[t, lane]), online.values[t, lane].double()
        log_probs = logits[t, lane].log_softmax(-1)
        target = float(steps.rewards[t, lane])
        if t + 1 < len(steps.actions) and not steps.terminated[t, lane]:
            following = {
                "awac": theirs[t + 1, lane, 0, logits[t + 1, lane].argmax()], "iql": worth[t + 1, lane],
            }.get(algorithm, mixed[1][t + 1, lane].max())  # fmt: skip
            target += options.discount * float(following)
        if algorithm == "awac":
            error = (mine[0, action] - target) ** 2
            advantage = mine[0, action] - (log_probs.exp() * mine[0]).sum()
            weight = min(math.exp(advantage / options.temperature), options.largest_weight)
            parts = -log_probs[action] * weight, error, error
        elif algorithm == "iql":
            error = ((mine[:, action] - target) ** 2).sum()
            above = theirs[t, lane, :, action].min() - worth[t, lane]
            expectile = options.expectile if above > 0 else 1 - options.expectile
            weight = min(math.exp(above * options.temperature), options.largest_weight)
            parts = -log_probs[action] * weight, error + expectile * above**2, error
        else:
            error = (mixed[0][t, lane, action] - target) ** 2
            gap = mine[0].logsumexp(-1) - mine[0, action]
            parts = (gap, options.td_weight * error, error) if algorithm == "cql" else (0.0, error, error)
        found[:, t, lane] = torch.tensor([float(part) for part in parts], dtype=torch.float64)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_losses_are_of_the_right_networks_and_steps(algorithm):
    torch.manual_seed(3)
    heads = {"iql": 2, "rem": 5}.get(algorithm, 1)
    options = OfflineConfig(discount=0.9, temperature=0.7)
    # So sharp that what AWAC draws of the policy is its likeliest action.
    logits = 60 * torch.randn(4, 3, 4).argsort(-1).float() / 4
    online, slow = (
        Valued(PolicyOutput(logits, torch.zeros(4, 3)), torch.randn(4, 3, heads, 4), torch.randn(4, 3))
        for _ in range(2)
    )
    steps = training.Steps(
        actions=torch.randint(0, 4, (4, 3)), rewards=torch.rand(4, 3), known=torch.ones(4, 3, dtype=torch.bool),
        terminated=torch.rand(4, 3) < 0.3, follows=torch.ones(4, 3, dtype=torch.bool),
    )  # fmt: skip
    module = OfflineModule.__new__(OfflineModule)
    torch.nn.Module.__init__(module)
    module.config = TrainConfig(data=[Path("games")], out=Path("run"), algorithm=algorithm, offline=options)
    torch.manual_seed(4)
    parts = module._parts(online, slow, steps)
    torch.manual_seed(4)
    weights = torch.rand(heads).double()
    expected = plain_parts(algorithm, options, online, slow, steps, weights / weights.sum())
    for found, wanted in zip((parts.policy, parts.critic, parts.td_error), expected, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


def test_only_what_is_known_of_the_next_step_counts(games, tmp_path):
    """An end by death has no next step, a cut game's last step is left out, and so is an unroll's."""
    module = train_policy(config_of(games, tmp_path / "run", "iql", steps=1)).module
    first = torch.zeros(5, 3, dtype=torch.bool)
    first[2, 0] = first[2, 1] = True
    dones = torch.zeros(5, 3, dtype=torch.uint8)
    dones[1, 0] = dones[1, 1] = 1
    mask = torch.ones(5, 3, dtype=torch.bool)
    mask[3:, 2] = False
    module._terminated["train"] = torch.tensor([True, False, True])
    game = torch.tensor([0, 1, 2]).expand(5, 3)
    batch = {"first": first, "dones": dones, "mask": mask, "game": game, "rewards": torch.ones(5, 3)}
    actions = torch.zeros(5, 3, dtype=torch.int64)
    actions[0, 1] = -1
    module.train()
    module.returns.zero_()
    steps, _ = module._steps(batch, torch.where(mask, actions, -1), torch.zeros(3))
    assert steps.terminated.nonzero().tolist() == [[1, 0]]
    assert steps.follows.int().T.tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert steps.known.int().T.tolist() == [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [1, 1, 1, 0, 0]]


def test_rewards_are_divided_by_the_deviation_of_the_returns_so_far(games, tmp_path):
    module = train_policy(config_of(games, tmp_path / "run", "iql", steps=1)).module
    module.train()
    module.returns.zero_()
    rewards = torch.tensor([[0.0, 5.0], [2.0, -3.0]])
    batch = {
        "first": torch.tensor([[True, True], [False, False]]), "dones": torch.zeros(2, 2, dtype=torch.uint8),
        "mask": torch.ones(2, 2, dtype=torch.bool), "game": torch.zeros(2, 2, dtype=torch.int64), "rewards": rewards,
    }  # fmt: skip
    steps, returns = module._steps(batch, torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2))
    scale = ((0 + 25 + 4 + 4.5**2) / 4) ** 0.5
    assert steps.rewards.flatten().tolist() == pytest.approx([0, 5 / scale, 2 / scale, 0])
    assert returns.tolist() == pytest.approx([2, 4.5])


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        ("bc", {"offline": OfflineConfig(discount=0.5)}, "offline.discount: algorithm bc has no use for it"),
        ("iql", {"set": SMALL, "balance": True}, "balance: is of cloning; iql has no use for it"),
        ("awac", {"set": SMALL, "head_weight": 0.5}, "head_weight: is of cloning"),
        ("iql", {"ema": 0.9}, "ema: iql has a target network of its own"),
        ("iql", {"early_stop": 5}, "early_stop: a small TD error of iql makes no good policy"),
        ("iql", {"unroll": 1}, "unroll: 1 steps hold no step with a next one; expected at least 2"),
        ("awac", {"offline": OfflineConfig(expectile=0.9)}, "offline.expectile: algorithm awac has no use for it"),
        ("cql", {"offline": OfflineConfig(heads=10)}, "offline.heads: algorithm cql has no use for it"),
        ("cql", {"set": f"{SMALL}; heads.combine=mixture"}, "heads.combine: mixture; the logits of cql are values"),
        ("iql", {"set": f"{SMALL}; heads.combine=label"}, "heads.combine: label; iql learns of actions"),
    ],
)
def test_what_does_not_go_together_is_refused(games, tmp_path, algorithm, options, message):
    with pytest.raises(InputError, match=message):
        train_policy(config_of(games, tmp_path / "run", algorithm, **options))
    assert not (tmp_path / "run").exists()


def test_a_policy_that_is_published_tells_by_which_algorithm_it_learned(games, tmp_path):
    ended = train_policy(config_of(games, tmp_path / "run", "iql", offline=OfflineConfig(expectile=0.9)))
    told = load_values(publish(PublishConfig(run=ended.folder, out=tmp_path / "policy.safetensors")))["about"][
        "options"
    ]
    assert (told["algorithm"], told["offline.expectile"], told["offline.discount"]) == ("iql", 0.9, 0.999)
    assert not {"head_weight", "offline.heads"} & set(told)


def chains_of(origin, folder, changed=lambda game: game):
    """Games of the chain that came from elsewhere, with some of their data changed."""
    folder.mkdir()
    for seed in range(12):
        game = changed(chain(seed))
        row = game.row.copy()
        row["origin"] = ORIGINS[origin]
        shard = encode_shard(replace(game, row=row), provenance(observations=SCREEN))
        (folder / f"game_{seed}.h5").write_bytes(shard)
    return folder


def test_games_without_keys_are_refused(tmp_path):
    folder = chains_of("screens", tmp_path / "screens")
    with pytest.raises(InputError, match="has games without keys, from which awac cannot learn"):
        train_policy(config_of(folder, tmp_path / "run", "awac", lanes=2, unroll=2))


def test_games_that_tell_no_rewards_are_refused(tmp_path):
    folder = chains_of(
        "ttyrec", tmp_path / "untold", lambda game: replace(game, rewards=np.full_like(game.rewards, np.nan))
    )
    with pytest.raises(InputError, match="game_0 tells no rewards, from which awac would learn"):
        train_policy(config_of(folder, tmp_path / "run", "awac", lanes=2, unroll=2))


def test_which_games_were_over(games):
    dataset = Dataset(games)
    over = training.terminated_games(dataset)
    assert over.tolist() == [game.info["end"] == "death" for game in dataset]
    assert 0 < over.sum() < len(over)
    assert training.terminated_games(dataset.take([])).tolist() == [False]


def test_the_command_tells_its_algorithms(run_here, tmp_path):
    write_games(tmp_path / "games", [50, 60, 70, 80, 90, 50, 60, 70], keys=(*SCREEN, "blstats"))
    ended = run_here("train", tmp_path / "games", "--out", tmp_path / "run", "--algorithm", "dqn")
    assert ended.status == 2
    assert "algorithm" in ended.error
    ended = run_here(
        "train", tmp_path / "games", "--out", tmp_path / "run", "--algorithm", "cql", "--offline.td-weight", 0.5,
        "--steps", 2, "--lanes", 2, "--unroll", 8, "--validate-every", 2, "--quiet", "--device", "cpu",
    )  # fmt: skip
    assert ended.status == 0, ended.err
    assert "frames; checkpoints and metrics.csv in" in ended.out
