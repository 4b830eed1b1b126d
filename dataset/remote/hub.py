"""The Hugging Face hub, through the package huggingface_hub: uploads of folders, and folders of policies."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from strathack.dataset.errors import InputError, RunError
from strathack.dataset.manifest import sha256_of
from strathack.dataset.remote.addresses import without_secrets

Kind = Literal["dataset", "model"]

UPLOADING = "the upload broke off; the same command goes on, and does not send again what has arrived"

NOT_UPLOADED = ("*.unfinished", ".tmp-*", ".published.json")
"""What a write that was cut off left, and what is told of a folder to this machine alone."""

REPLACED = ("*.h5", "games/*.parquet", "steps/*.parquet")
"""Files of an earlier upload that go if they are not in the folder any more: a newer dataset may have fewer."""


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError('the hub needs the package huggingface_hub: pip install "strathack[hub]"') from None


@contextmanager
def _asking(what: str, broken: str = UPLOADING) -> Iterator[None]:
    """Turns the hub's refusals into errors of one line, without any token in it.

    Args:
        what: What is asked for.
        broken: What is said if the hub cannot be reached or breaks off.

    Raises:
        InputError: If the hub refuses.
        RunError: If it cannot be reached, or breaks off.
    """
    try:
        yield
    except (InputError, RunError):
        raise
    # The hub's errors, httpx's and those of threads that upload have nothing in common.
    except Exception as error:
        cause = error if hasattr(error, "response") else error.__cause__ or error
        status = getattr(getattr(cause, "response", None), "status_code", None)
        said = without_secrets(" ".join(str(cause).split()))[:200]
        if type(error).__name__ == "LocalTokenNotFoundError" or status == 401:
            raise InputError(f"{what}: there is no token that the hub knows; log in by: hf auth login") from error
        if status == 403:
            raise InputError(f"{what}: the token may not do that there ({status})") from error
        if status is not None and status < 500 and status not in (408, 429):
            raise InputError(f"{what}: refused ({status}): {said}") from error
        raise RunError(f"{what}: {broken} ({type(cause).__name__}: {said})") from error


def upload(folder: Path, name: str, kind: Kind, *, private: bool) -> str:
    """Uploads a folder to a repository, which is made if it is new; files that are there already are not sent again.

    Args:
        folder: The folder.
        name: ``user/name``.
        kind: What the repository is of.
        private: Whether a new repository is a private one.

    Returns:
        The address of the commit.

    Raises:
        InputError: If the hub does not know the token, or the token may not write.
        RunError: If the upload broke off.
    """
    with _asking(f"push: {name}"):
        api = _hub().HfApi()
        # First, since the hub says that a repository is there to anybody, and it may take long to find out later.
        api.whoami()
        api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, repo_type=kind, folder_path=folder, ignore_patterns=list(NOT_UPLOADED),
            delete_patterns=list(REPLACED), commit_message="Upload by strathack",
        )  # fmt: skip
    return str(commit.commit_url if hasattr(commit, "commit_url") else commit)


def repository_of(address: str) -> tuple[str, str | None]:
    """Returns the repository of a model and its revision, of an address ``hf://user/name@revision``.

    Raises:
        InputError: If the address is of another form.
    """
    found = re.fullmatch(r"hf://(?:models/)?([\w.-]+/[\w.-]+?)(?:@([^@/]+))?", address, flags=re.ASCII)
    if found is None or found[1].startswith("datasets/"):
        raise InputError(f"{without_secrets(address)}: no address of a policy; expected hf://user/name@revision")
    return found[1], found[2]


def downloaded(
    name: str,
    file: str,
    revision: str | None = None,
    *,
    cache_dir: str | Path | None = None,
    force: bool = False,
    token: str | bool | None = None,
    here: bool = False,
) -> Path:
    """Returns a file of a model's repository, downloaded into the hub's own cache, and checked.

    Args:
        name: ``user/name``.
        file: The file's name.
        revision: Branch, tag or commit.
        cache_dir: Another cache.
        force: Download it even if it is in the cache.
        token: Another token than the one that the user logged in with; False for none.
        here: Look in the cache alone.

    Raises:
        InputError: If there is no such repository, revision or file, or it may not be read.
        RunError: If it cannot be reached and is not in the cache, or its checksum differs twice.
    """
    hub = _hub()
    errors = importlib.import_module("huggingface_hub.errors")
    what = f"hf://{name}{f'@{revision}' if revision else ''}"

    def download(force: bool) -> Path:
        try:
            return Path(
                hub.hf_hub_download(
                    name, file, revision=revision, cache_dir=cache_dir, force_download=force, token=token,
                    local_files_only=here,
                )
            )  # fmt: skip
        except errors.LocalEntryNotFoundError:
            raise RunError(f"{what}: cannot be reached, and {file} of it is not in the cache") from None
        except errors.GatedRepoError:
            raise InputError(f"{what}: may not be read; log in by: hf auth login") from None
        except errors.RevisionNotFoundError:
            raise InputError(f"{what}: there is no such revision") from None
        except errors.RepositoryNotFoundError:
            raise InputError(f"{what}: there is no such policy, or the token may not read it") from None
        except errors.EntryNotFoundError:
            raise InputError(f"{what}: no {file} in it; expected a policy that strathack published") from None

    with _asking(what, "broke off"):
        path = download(force)
        if not _is_whole(path):
            path = download(force=True)
            if not _is_whole(path):
                path.unlink()
                raise RunError(f"{what}: the checksum of {file} differs, twice; it is fetched anew the next time")
    return path


def _is_whole(path: Path) -> bool:
    """Returns whether a file in the hub's cache, which names a large one by its SHA-256, has that checksum."""
    name = path.resolve().name
    return not re.fullmatch(r"[0-9a-f]{64}", name) or sha256_of(path) == name
