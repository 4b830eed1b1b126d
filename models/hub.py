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
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        **_: Any,
    ) -> Any:
        """Loads a policy; see :func:`strathack.models.saving.load_policy`.

        Raises:
            InputError: If there is no such policy, or it is of the other class.
            FormatError: If the file is no checkpoint of a policy.
            RunError: If the hub cannot be reached.
        """
        from strathack.models.saving import load_policy

        path = Path(model_id) / MODEL
        if not Path(model_id).is_dir():
            path = downloaded(
                model_id, MODEL, revision, cache_dir=cache_dir, force=force_download, token=token, here=local_files_only
            )
        return load_policy(path, map_location, cls)

    def generate_model_card(self, *_: Any, **facts: Any) -> ModelCard:
        """Returns the policy's card; its figures are those of the evaluation that was saved with it.

        Args:
            facts: Further arguments of :func:`strathack.models.cards.card_of`.
        """
        from strathack.models.cards import card_of

        return ModelCard(card_of(self.config, self.about, **facts))
