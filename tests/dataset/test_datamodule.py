"""Streams under PyTorch's loader and Lightning's trainer."""

import itertools
import logging
import shutil
import time
import warnings
from contextlib import AbstractContextManager

import h5py
import numpy as np
import pytest
from made_up_games import write_games

pl = pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")

from strathack.dataset import Dataset  # noqa: E402
from strathack.dataset.datamodule import (  # noqa: E402
    DemonstrationBatches,
    DemonstrationModule,
    EpochLoader,
    Position,
    StreamSpec,
)
from strathack.dataset.errors import InputError, RunError  # noqa: E402
from strathack.dataset.remote.stores import UnreachableError  # noqa: E402
from strathack.dataset.schedule import Share  # noqa: E402

T, B = 8, 2
LENGTHS = [5, 8, 40, 1, 24, 33, 17, 60, 12, 90, 21, 33]


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    folder = tmp_path_factory.mktemp("games")
    write_games(folder, LENGTHS)
    return folder


def loader(games, workers, position=None, share=None, kind="unrolls", **options):
    spec = StreamSpec(Dataset(games), kind, {"lanes": B, "steps": T, "places": True, **options}, None, share or Share())
    batches = DemonstrationBatches(spec, position or Position([0] * max(workers, 1)))
    return torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers)


def fingerprint(batch):
    return tuple(sorted((name, np.asarray(value).tobytes()) for name, value in batch.items()))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_ranks_show_every_step_once(games, workers):
    seen = []
    for rank in range(2):
        for batch in loader(games, workers, share=Share(rank, 2)):
            mask = batch["mask"]
            seen += zip(batch["game"][mask].tolist(), batch["step"][mask].tolist(), strict=True)
    assert sorted(seen) == [(game, step) for game, length in enumerate(LENGTHS) for step in range(length)]


@pytest.mark.parametrize(("kind", "workers"), [("unrolls", 0), ("unrolls", 1), ("unrolls", 2), ("windows", 2)])
def test_an_interrupted_stream_goes_on_with_the_same_batches(games, workers, kind):
    whole = [fingerprint(batch) for batch in loader(games, workers, kind=kind, epochs=2)]
    for before in (1, 6):
        position = Position([0] * max(workers, 1))
        for batch in itertools.islice(loader(games, workers, kind=kind, epochs=2), before):
            position.take(batch)
        resumed = Position([0] * max(workers, 1))
        resumed.load_state_dict(position.state_dict())
        rest = [fingerprint(batch) for batch in loader(games, workers, resumed, kind=kind, epochs=2)]
        assert rest == whole[before:]


def test_a_position_of_other_workers_is_refused():
    with pytest.raises(
        InputError, match="the state is that of 2 streams, there are 1 here; use as many loader workers"
    ):
        Position([0]).load_state_dict(Position([3, 2]).state_dict())


class Learner(pl.LightningModule):
    """Notes what it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append((int(batch["stream"]), int(batch["number"]), batch["step"].sum().item()))
        return self.weight.sum()

    def validation_step(self, batch, index):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(games, folder, steps, *, workers, every, resume=None):
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    learner = Learner()
    data = DemonstrationModule(games, lanes=B, steps=T, workers=workers, batches_per_epoch=7, options={"places": True})
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[pl.callbacks.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=every, save_top_k=-1)],
    )  # fmt: skip
    trainer.fit(learner, data, ckpt_path=resume)
    return learner.seen


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_resumes_at_the_same_batch(games, tmp_path, workers):
    whole = train(games, tmp_path / "whole", 20, workers=workers, every=5)
    assert len(set(whole)) == 20
    for step in (10,) if workers else (5, 15):
        resume = tmp_path / "whole" / f"step={step}.ckpt"
        rest = train(games, tmp_path / f"rest{step}", 20, workers=workers, every=100, resume=resume)
        assert rest == whole[step:]


class LateBatches(DemonstrationBatches):
    """Whose second worker begins only after batches of the first one may have been taken."""

    def __iter__(self):
        if torch.utils.data.get_worker_info().id == 1:
            time.sleep(0.5)
        return super().__iter__()


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_come_late_begin_where_the_others_have(games, persistent):
    spec = StreamSpec(Dataset(games), "unrolls", {"lanes": B, "steps": T, "epochs": None})
    position, seen = Position([0, 0]), []
    late = torch.utils.data.DataLoader(
        LateBatches(spec, position), batch_size=None, num_workers=2, persistent_workers=persistent, prefetch_factor=1
    )
    for taken in (3, 4, 3):  # of several passes
        for batch in itertools.islice(late, taken):
            position.take(batch)
            seen.append((int(batch["stream"]), int(batch["number"])))
    assert seen == [(place % 2, place // 2 + 1) for place in range(10)]


def test_an_epoch_has_as_many_batches_as_it_says(games):
    spec = StreamSpec(Dataset(games), "unrolls", {"lanes": B, "steps": T, "epochs": None})
    position = Position([0])
    epochs = EpochLoader(spec, position, 5, 0)
    assert len(epochs) == 5
    numbers = []
    for _ in range(2):
        for batch in epochs:
            position.take(batch)
            numbers.append(batch["number"])
    assert numbers == list(range(1, 11))


def test_contradictions_are_refused(games):
    with pytest.raises(InputError, match="kind: 'rolls' is unknown"):
        StreamSpec(Dataset(games), "rolls")
    with pytest.raises(InputError, match="random windows need stored frames"):
        StreamSpec(Dataset(games), "windows", {}, lambda: None)
    with pytest.raises(InputError, match="workers: -1 is below 0"):
        DemonstrationModule(games, lanes=1, steps=1, workers=-1)
    with pytest.raises(InputError, match="reuse: "):
        DemonstrationModule(games, lanes=1, steps=1, options={"reuse": True})


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_loader_finds_damaged_is_said_in_one_line(games, tmp_path, workers):
    shutil.copytree(games, tmp_path / "games")
    shard = sorted((tmp_path / "games").glob("*.h5"))[0]
    with h5py.File(shard) as file:
        place = file["data/game_2/obs/blstats"].id.get_chunk_info(0).byte_offset
    content = bytearray(shard.read_bytes())
    content[place + 50] ^= 1
    shard.write_bytes(content)
    spec = StreamSpec(Dataset(tmp_path / "games"), "unrolls", {"lanes": B, "steps": T, "epochs": 1})
    with pytest.raises(InputError, match=r"shard-00000\.h5: .*game_2.*blstats") as error:
        list(EpochLoader(spec, Position([0]), 10**6, workers))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_place_that_cannot_be_reached_any_more_is_said_in_one_line(games, workers):
    class Gone(AbstractContextManager):
        def open(self, *_):
            raise UnreachableError("https://x/y: cannot be reached (it is off)")

        def __exit__(self, *_):
            pass

        close = __exit__

    spec = StreamSpec(Dataset(games), "unrolls", {"lanes": B, "steps": T, "epochs": 1}, Gone)
    with pytest.raises(RunError, match=r"^https://x/y: cannot be reached \(it is off\)$"):
        list(EpochLoader(spec, Position([0]), 10**6, workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_outlive_an_epoch_go_on(games, workers):
    whole = [fingerprint(batch) for batch in itertools.islice(loader(games, workers, epochs=None), 12)]
    position = Position([0] * workers)
    batches = DemonstrationBatches(loader(games, workers, epochs=None).dataset.spec, position)
    lasting = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=workers, persistent_workers=True)
    seen = []
    for _ in range(3):
        for batch in itertools.islice(lasting, 4):
            position.take(batch)
            seen.append(fingerprint(batch))
    assert seen == whole
