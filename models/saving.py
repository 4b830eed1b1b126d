"""Checkpoints: tensors as safetensors, everything else as JSON in the same file's header. Loading runs no code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor, nn

from strathack.dataset.errors import FormatError, InputError
from strathack.dataset.files import atomic_write
from strathack.models.cleaved import AnyPolicy, config_from_values, make_policy
from strathack.models.places import checkpoint_at
from strathack.models.upgrading import with_printable_messages

FORMAT = "strathack-checkpoint"
VERSION = 2

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)

POLICY = "policy."
"""Prefix of the names of a policy's weights in ``state_dict``."""

STATE = "cloning"
"""Where checkpoints keep the state of learning: so called since the first runs, which cloned."""

VALIDATED = "validated"
"""Where a checkpoint holds the validation of its very weights, if they were validated."""


def save_values(path: Path, values: Mapping[str, Any]) -> None:
    """Writes nested dictionaries, lists and tuples of tensors and plain values, whole or not at all.

    Raises:
        TypeError: If a value is of another type.
        OSError: If the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _packed(values, "", tensors)
    metadata = {"format": FORMAT, "version": str(VERSION), "values": json.dumps(skeleton)}
    atomic_write(path, safetensors.torch.save(tensors, metadata))


def load_values(path: Path) -> dict[str, Any]:
    """The inverse of :func:`save_values`.

    Raises:
        InputError: If there is no such file.
        FormatError: If the file is no checkpoint, or of a version that this release does not know.
    """
    with _opened(path) as (file, metadata):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no dictionary)
    values = _values_of(metadata, tensors.__getitem__, path)
    return with_printable_messages(values) if metadata["version"] == "1" else values


def load_plain_values(path: Path) -> dict[str, Any]:
    """Reads what a checkpoint holds beside tensors, each of which is None here; see :func:`load_values`.

    Raises:
        InputError: If there is no such file.
        FormatError: If the file is no checkpoint, or of a version that this release does not know.
    """
    with _opened(path) as (_, metadata):
        return _values_of(metadata, lambda name: None, path)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """Context of a checkpoint that is open: its file and its header's entries.

    Raises:
        InputError: If there is no such file, or it cannot be read.
        FormatError: If the file is no checkpoint, or of a version that this release does not know.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise FormatError(f"{path}: a safetensors file, but no checkpoint of strathack")
            version = metadata.get("version")
            if version not in ("1", str(VERSION)):
                raise FormatError(f"{path}: checkpoint version {version}; this release reads {VERSION} and 1")
            yield file, metadata
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path}: no checkpoint, or not whole: {error}") from None


def _values_of(metadata: Mapping[str, str], tensor: Callable[[str], Tensor | None], path: Path) -> dict[str, Any]:
    """Returns the values that a header tells of.

    Args:
        metadata: The header's entries.
        tensor: Returns the tensor of a name.
        path: The checkpoint, for error messages.

    Raises:
        FormatError: If the header is damaged.
    """
    try:
        values: dict[str, Any] = _unpacked(json.loads(metadata["values"]), tensor)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: its header is damaged: {error}") from None
    return values


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Returns JSON values; every tensor, tuple or dictionary becomes an object with one key, its type."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        # A copy, since safetensors refuses tensors that share memory.
        tensors[name or "value"] = value.detach().cpu().contiguous().clone()
        return {"tensor": name or "value"}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, f"{name}.{index}" if name else str(index), tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            if not isinstance(key, (str, int)):
                raise TypeError(f"{name}: a key of type {type(key).__name__} cannot be saved")
            pairs.append([key, _packed(item, f"{name}.{key}" if name else str(key), tensors)])
        return {"dict": pairs}
    raise TypeError(f"{name}: a {type(value).__name__} cannot be saved")


def _unpacked(value: Any, tensor: Callable[[str], Tensor | None]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensor(content)
    if kind == "tuple":
        return tuple(_unpacked(item, tensor) for item in content)
    return {key: _unpacked(item, tensor) for key, item in content}


class SafetensorsIO(CheckpointIO):
    """Makes Lightning use :func:`save_values` and :func:`load_values` for its checkpoints, without any pickle."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes a checkpoint, whole or not at all.

        Args:
            checkpoint: Nested values.
            path: The file.
            storage_options: The name of the network, if only that is to be saved; see :func:`network_values`.
        """
        save_values(Path(path), network_values(checkpoint, storage_options) if storage_options else checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint."""
        return load_values(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint."""
        Path(path).unlink(missing_ok=True)


def save_policy(path: Path, policy: AnyPolicy, about: Mapping[str, Any] | None = None) -> None:
    """Writes only a policy: its weights and its configuration.

    Args:
        path: The file.
        policy: The policy.
        about: Plain values to save with the policy.
    """
    save_values(path, policy_values(policy, about or {}))


def policy_values(policy: AnyPolicy, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a checkpoint holds of a policy: weights, configuration, and plain values about it."""
    weights = {f"{POLICY}{name}": value for name, value in policy.state_dict().items()}
    return {"state_dict": weights, "policy": policy.config.to_values(), "about": dict(about)}


def network_values(checkpoint: Mapping[str, Any], network: str) -> dict[str, Any]:
    """Returns what a checkpoint holds of a network, without what its training goes on from.

    Args:
        checkpoint: A checkpoint of a run.
        network: Where it has the network's configuration.
    """
    told = ("about", network, VALIDATED, "global_step")
    kept = {name: checkpoint[name] for name in told if name in checkpoint}
    weights = {name: value for name, value in checkpoint["state_dict"].items() if name.startswith(f"{network}.")}
    return {"state_dict": weights, **kept, STATE: {"frames": checkpoint[STATE]["frames"]}}


def frames_of(values: Mapping[str, Any]) -> int:
    """Returns the frames that a checkpoint's policy was cloned on, those of the weights it began with included."""
    about = values["about"]
    if STATE not in values:
        return int(about.get("frames", 0))
    return int(values[STATE]["frames"]) + int(about.get("frames_before", 0))


def weights_digest(network: nn.Module) -> str:
    """Returns a SHA-256 of a network's weights in bf16: the same for a run, and what is published of it in bf16."""
    digest = sha256()
    for name, value in sorted(network.state_dict().items()):
        rounded = value.to(torch.bfloat16) if value.is_floating_point() else value
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(rounded.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def policy_of_values(values: Mapping[str, Any], path: Path) -> AnyPolicy:
    """The inverse of :func:`policy_values`; a checkpoint's other weights are left out.

    Args:
        values: What the checkpoint holds.
        path: The checkpoint, for error messages.

    Raises:
        FormatError: If the values are not those of a policy.
    """
    return _network_of(
        values, path, "policy", lambda config: make_policy(config_from_values(config)), "strathack train", "policy"
    )


def _network_of(
    values: Mapping[str, Any],
    path: Path,
    name: str,
    make: Callable[[Mapping[str, Any]], AnyNetwork],
    made_by: str,
    called: str,
) -> AnyNetwork:
    """Makes the network of a checkpoint; the arguments are those of :func:`load_network`.

    Raises:
        FormatError: If there is none.
    """
    if name not in values:
        raise FormatError(f"{path}: no {called} in it; {made_by} makes such runs")
    try:
        network = make(values[name])
        own = {key: value for key, value in values["state_dict"].items() if key.startswith(f"{name}.")}
        network.load_state_dict({key.removeprefix(f"{name}."): value for key, value in own.items()})
    except (KeyError, TypeError, RuntimeError, InputError) as error:
        raise FormatError(f"{path}: no {called} in it: {' '.join(str(error).split())}") from None
    return network


def load_policy(path: Path, device: str | torch.device = "cpu", kind: type | None = None) -> AnyPolicy:
    """Loads a policy from a checkpoint, in evaluation mode; no code in the file is run.

    Args:
        path: What stands for a checkpoint; see :func:`strathack.models.places.checkpoint_at`.
        device: Device for the policy.
        kind: The class that it has to be of; by default either.

    Raises:
        InputError: If there is no checkpoint, or the policy is of another class.
        FormatError: If the file is no checkpoint of a policy.
    """
    path = checkpoint_at(path)
    values = load_values(path)
    policy = policy_of_values(values, path)
    if kind is not None and not isinstance(policy, kind):
        raise InputError(f"{path}: a {type(policy).__name__}; expected a {kind.__name__}")
    policy.about = dict(values["about"])
    return policy.eval().to(device)


def load_network(
    path: Path,
    name: str,
    make: Callable[[Mapping[str, Any]], AnyNetwork],
    made_by: str,
    called: str,
    device: str | torch.device,
) -> AnyNetwork:
    """Loads a network other than a policy from a checkpoint, in evaluation mode; no code in the file is run.

    Args:
        path: A checkpoint; or a run's folder, for its best checkpoint or, if there is none yet, its last.
        name: Where the checkpoint has the network's configuration; the weights' names begin so, too.
        make: Makes the network from its configuration as plain values.
        made_by: The command that makes such checkpoints.
        called: What the network is called in error messages.
        device: Device for the network.

    Raises:
        InputError: If there is no checkpoint.
        FormatError: If the file is no checkpoint of such a network.
    """
    path = checkpoint_at(path)
    return _network_of(load_values(path), path, name, make, made_by, called).eval().to(device)
