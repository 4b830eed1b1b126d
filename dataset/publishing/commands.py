"""``strathack dataset publish``."""

from __future__ import annotations

from strathack.dataset.manifest import MANIFEST, files_of
from strathack.dataset.options import PublishDataConfig
from strathack.dataset.publishing.publish import published_folder


def publish(config: PublishDataConfig) -> int:
    """``strathack dataset publish``.

    Raises:
        InputError: If the games cannot be published as asked.
        RunError: If a file cannot be written, or the upload fails; the same command goes on from there.
    """
    dataset = published_folder(config)
    names = files_of(config.out)
    size = sum((config.out / name).stat().st_size for name in names)
    print(f"{len(dataset):,} games, {dataset.steps:,} steps, {len(names)} files, {size:,} bytes in {config.out}")
    print(f"every file's checksum in {config.out / MANIFEST}")
    if config.push is not None:
        from strathack.dataset.remote.hub import upload

        print(f"uploaded: {upload(config.out, config.push, 'dataset', private=config.private)}")
    return 0
