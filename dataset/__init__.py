"""The file format: labels, schema, shards and dataset folders. Imports no other part of strathack."""

from strathack.dataset.errors import CorruptionError, FormatError, InputError, RunError
from strathack.dataset.folder import DatasetFolder, StoredGame
from strathack.dataset.labels import PUBLISHED_STRATEGIES, STRATEGIES, UNLABELLED, Vocabulary
from strathack.dataset.reading import Dataset, Game
from strathack.dataset.schema import DEFAULT_OBSERVATIONS, FORMAT_VERSION, GAME_DTYPE, OBSERVATIONS
from strathack.dataset.shard import GameData, Provenance, encode_shard, open_shard, read_games

__all__ = [
    "DEFAULT_OBSERVATIONS",
    "FORMAT_VERSION",
    "GAME_DTYPE",
    "OBSERVATIONS",
    "PUBLISHED_STRATEGIES",
    "STRATEGIES",
    "UNLABELLED",
    "CorruptionError",
    "Dataset",
    "DatasetFolder",
    "FormatError",
    "Game",
    "GameData",
    "InputError",
    "Provenance",
    "RunError",
    "StoredGame",
    "Vocabulary",
    "encode_shard",
    "open_shard",
    "read_games",
]
