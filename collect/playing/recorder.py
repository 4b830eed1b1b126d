"""Records a game step by step; memory holds the compressed chunks and at most one chunk of uncompressed frames."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from strathack.dataset.actions import KEY_CODES
from strathack.dataset.chunks import ChunkEncoder, Effort, pad_chunk
from strathack.dataset.schema import DIGESTED_OBSERVATIONS, OBSERVATIONS, BLStat

PLACE = [BLStat.DEPTH, BLStat.XP, BLStat.DNUM, BLStat.DLEVEL]
"""Indices into blstats of depth, experience level, dungeon and level in it."""


@dataclass
class Reached:
    """How far a game came, gathered from the bottom line of every recorded frame.

    Attributes:
        experience_level: The highest experience level.
        max_depth: The greatest depth.
        deepest_dungeon: Number of the dungeon in which that depth was reached first.
        turns: The last turn.
        places: Every (depth, experience level, dungeon, level in it) seen, for the BALROG progression.
    """

    experience_level: int = 0
    max_depth: int = 0
    deepest_dungeon: int = 255
    turns: int = 0
    places: set[tuple[int, int, int, int]] = field(default_factory=set)

    def update(self, blstats: np.ndarray) -> None:
        """Takes in the blstats of frames, i32 [n, 27]."""
        depths = blstats[:, BLStat.DEPTH]
        deepest = int(depths.argmax())
        if depths[deepest] > self.max_depth:
            self.max_depth = int(depths[deepest])
            self.deepest_dungeon = int(blstats[deepest, BLStat.DNUM])
        self.turns = max(self.turns, int(blstats[:, BLStat.TIME].max()))
        self.experience_level = max(self.experience_level, int(blstats[:, BLStat.XP].max()))
        for depth, level, dungeon, dungeon_level in np.unique(blstats[:, PLACE], axis=0).tolist():
            self.places.add((depth, level, dungeon, dungeon_level))


class _FrameArray:
    """One observation array: a chunk of frames being filled, and the compressed chunks before it."""

    def __init__(self, key: str, source: np.ndarray, encoder: ChunkEncoder | None, digest: bool) -> None:
        spec = OBSERVATIONS[key]
        # NLE's colours are int8 but never negative; as a view of uint8 they are copied without conversion.
        source = source.view(np.uint8) if source.dtype == np.int8 else source
        # Copying a frame in one piece is several times faster than copying it as 24 rows.
        self.source = source.reshape(-1)
        assert np.shares_memory(self.source, source), "the environment's array, not a copy of it, is read"
        self.frames = np.zeros((spec.chunk_steps, source.size), dtype=spec.dtype)
        self.chunks: list[bytes] = []
        self._encoder = encoder
        self._sha256 = hashlib.sha256() if digest else None

    def flush(self, steps: int, *, last: bool = False) -> None:
        """Compresses the first ``steps`` frames; a game shorter than one chunk gets a chunk of its own length."""
        frames = self.frames[:steps]
        if self._sha256 is not None:
            self._sha256.update(frames.data)
        if self._encoder is not None:
            full = frames if last and not self.chunks else pad_chunk(frames, len(self.frames))
            self.chunks.append(self._encoder.encode(full))

    @property
    def digest(self) -> bytes:
        """SHA-256 of every frame flushed so far, in order."""
        assert self._sha256 is not None, "only digested arrays are asked"
        return self._sha256.digest()


class FrameRecorder:
    """Records a game's frames.

    Args:
        observation: The environment's own arrays by key; they are read when a frame is recorded.
        observations: The observation keys to keep.
        effort: How hard to compress them.

    Attributes:
        steps: Frames recorded.
        reached: How far the game came.
    """

    def __init__(
        self, observation: Mapping[str, np.ndarray], observations: Sequence[str], *, effort: Effort = "normal"
    ) -> None:
        encoder = ChunkEncoder(effort)
        wanted = dict.fromkeys([*observations, *DIGESTED_OBSERVATIONS])
        self._arrays = {
            key: _FrameArray(
                key, observation[key], encoder if key in observations else None, key in DIGESTED_OBSERVATIONS
            )
            for key in wanted
        }
        self._observations = tuple(observations)
        # What to copy for each frame: (array, length of its chunks, frames of the chunk, the environment's array).
        self._copies = [(a, len(a.frames), a.frames, a.source) for a in self._arrays.values()]
        self._last_digested = [a for key, a in self._arrays.items() if key in DIGESTED_OBSERVATIONS][-1]
        self._checkpoints: list[bytes] = []
        self._finished = False
        self.steps = 0
        self.reached = Reached()

    def take(self) -> None:
        """Records the environment's current frame."""
        step = self.steps
        for frames_of, length, frames, source in self._copies:
            row = step % length
            frames[row] = source
            if row == length - 1:
                self._flush(frames_of, length)
        self.steps = step + 1

    def finish(self) -> None:
        """Compresses the remaining frames. To be called once, after the last step."""
        assert not self._finished, "a game is finished once"
        self._finished = True
        for frames_of, length, _, _ in self._copies:
            if self.steps % length:
                self._flush(frames_of, self.steps % length, last=True)

    def _flush(self, frames_of: _FrameArray, steps: int, *, last: bool = False) -> None:
        frames_of.flush(steps, last=last)
        if frames_of is self._arrays["blstats"]:
            self.reached.update(frames_of.frames[:steps])
        if frames_of is self._last_digested:  # chunks are equally long, so all others are flushed
            self._checkpoints.append(self._digest()[:8])

    def _digest(self) -> bytes:
        total = hashlib.sha256()
        for key in DIGESTED_OBSERVATIONS:
            total.update(self._arrays[key].digest)
        return total.digest()

    @property
    def chunks(self) -> dict[str, Sequence[bytes]]:
        """Encoded chunks by observation key, for the keys to keep."""
        return {key: self._arrays[key].chunks for key in self._observations}

    @property
    def frames_sha256(self) -> str:
        """SHA-256 of the SHA-256 of each digested array, in the order of ``DIGESTED_OBSERVATIONS``."""
        return self._digest().hex()

    @property
    def checkpoints(self) -> np.ndarray:
        """u64 [⌈T / 1,024⌉]: the first eight bytes of the digest after every 1,024 frames and at the end."""
        return np.frombuffer(b"".join(self._checkpoints), dtype="<u8")


class GameRecorder(FrameRecorder):
    """Records a game's steps.

    Args:
        observation: The environment's own arrays by key; they are read when a step is recorded.
        observations: The observation keys to keep.
    """

    def __init__(self, observation: Mapping[str, np.ndarray], observations: Sequence[str]) -> None:
        super().__init__(observation, observations)
        self._actions = bytearray()
        self._rewards = array("f")
        self._strategy = bytearray()
        self._substrategy = bytearray()
        self._published = array("b")

    def record(self, action: int, strategy: int, substrategy: int, published: int) -> None:
        """Records the current observation, the action about to be taken on it, and the step's labels."""
        self.take()
        self._actions.append(action)
        self._strategy.append(strategy)
        self._substrategy.append(substrategy)
        self._published.append(published)

    def record_reward(self, reward: float) -> None:
        """Records the reward that followed the step just recorded."""
        self._rewards.append(reward)

    def finish(self) -> None:
        """Compresses the remaining frames. To be called once, after the last step."""
        super().finish()
        # The demonstrator or the environment may have failed between a step and its reward.
        self._rewards.extend([0.0] * (self.steps - len(self._rewards)))

    @property
    def actions(self) -> np.ndarray:
        """The actions, u8 [T]."""
        return np.frombuffer(bytes(self._actions), dtype=np.uint8)

    @property
    def rewards(self) -> np.ndarray:
        """The rewards, f32 [T]."""
        return np.array(self._rewards, dtype="<f4")

    @property
    def strategy(self) -> np.ndarray:
        """The strategy codes, u8 [T]."""
        return np.frombuffer(bytes(self._strategy), dtype=np.uint8)

    @property
    def substrategy(self) -> np.ndarray:
        """The substrategy codes, u8 [T]."""
        return np.frombuffer(bytes(self._substrategy), dtype=np.uint8)

    @property
    def published(self) -> np.ndarray:
        """The published labels, i8 [T]."""
        return np.array(self._published, dtype=np.int8)

    @property
    def keys_sha256(self) -> str:
        """SHA-256 of the bytes sent to the game."""
        return hashlib.sha256(KEY_CODES[self.actions].tobytes()).hexdigest()
