"""Policies on the Hugging Face hub: the methods by which they are saved to a folder there or here, and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin

from strathack.dataset.remote.hub import downloaded
from strathack.models.places import MODEL


class OnHub(PyTorchModelHubMixin):
    """Gives a policy ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``, with checkpoints of this package.

    The weights are read as safetensors alone: unlike in the class above, no pickle is ever loaded in their place.

    Attributes:
        config: The policy's configuration.
        about: Plain values that are saved with the policy: how it was trained, how it acts, what it scored.
    """

    config: Any
    about: dict[str, Any]

    def _save_pretrained(self, save_directory: Path) -> None:
        # Imported here, since what saves and describes policies needs their classes.
        from strathack.models.publishing import write_folder

        write_folder(save_directory, self, self.about)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: str = "cpu",
    ) -> Any:
        """Loads a policy, in evaluation mode. Its configuration is in the checkpoint; no other file is looked at.

        Args:
            pretrained_model_name_or_path: A folder, or ``user/name`` on the hub.
            force_download: Download it even if it is in the hub's cache.
            token: Another token than the one that the user logged in with; False for none.
            cache_dir: Another cache of the hub's.
            local_files_only: Look in the cache alone.
            revision: Branch, tag or commit.
            map_location: The device.

        Raises:
            InputError: If there is no such policy, or it is of the other class.
            FormatError: If the file is no checkpoint of a policy.
            RunError: If the hub cannot be reached.
        """
        from strathack.models.saving import load_policy

        folder = Path(pretrained_model_name_or_path)
        path = folder / MODEL
        if not folder.is_dir():
            path = downloaded(
                str(pretrained_model_name_or_path), MODEL, revision, cache_dir=cache_dir, force=force_download,
                token=token, here=local_files_only,
            )  # fmt: skip
        return load_policy(path, map_location, cls)

    def generate_model_card(self, *_: Any, **facts: Any) -> ModelCard:
        """Returns the policy's card; its figures are those of the evaluation that was saved with it.

        Args:
            facts: Further arguments of :func:`strathack.models.cards.card_of`.
        """
        from strathack.models.cards import card_of

        return ModelCard(card_of(self.config, self.about, **facts))
