"""A dataset's description for machines: JSON-LD by Croissant 1.1 (MLCommons), over the Parquet tables.

Croissant knows no HDF5: the shards are listed as files with their checksums, the records are those of the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from strathack.dataset.publishing.card import COLUMNS, TAGS, About
from strathack.dataset.publishing.layout import Files, part_pattern
from strathack.dataset.schema import GAME_DTYPE, LABEL_COLUMNS, SCREEN_ROWS, STORED_COLUMNS

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"

_SPDX: Mapping[str, str] = {
    **{
        name.lower(): name
        for name in (
            "AGPL-3.0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-4.0",
            "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "GPL-2.0",
            "GPL-3.0", "ISC", "LGPL-3.0", "MIT", "MPL-2.0", "ODC-By-1.0", "ODbL-1.0", "PDDL-1.0", "Unlicense", "Zlib",
        )
    },
    "odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0",
}  # fmt: skip
"""Licences as the hub calls them → as SPDX does."""

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The vocabulary that the specification asks for."""

_FOLDER: Mapping[str, str] = {
    "@type": "cr:FileObject",
    "@id": "folder",
    "name": "folder",
    "description": "This folder, as a repository of the Hugging Face hub.",
    "contentUrl": ".",
    # The one format of folders that mlcroissant reads; it asks for a checksum of everything, and checks none of these.
    "encodingFormat": "git+https",
    "sha256": "main",
}

HDF5, PARQUET = "application/x-hdf5", "application/x-parquet"

GAME_COLUMNS: Mapping[str, str] = {
    "game": "name of the game",
    "core": "seed of the game itself",
    "disp": "seed of what is only shown",
    "lgen": "seed of the levels; −1 where none was set",
    "clock": "the clock that it was played at",
    "start_time": "that clock's first second, since 1970",
    "character": "the character that was asked for; @ is any",
    "role": "role", "race": "race", "gender": "gender", "alignment": "alignment",
    "steps": "steps", "turns": "turns of the game", "score": "NetHack's score",
    "max_depth": "depth of the deepest level reached",
    "deepest_dungeon": "the branch of that level",
    "experience_level": "the highest experience level",
    "progression": "share of the way to ascension, by BALROG's table",
    "end": "how the game ended", "cause": "what it ended by",
    "completeness": "whether the game was over, or the recording was cut",
    "origin": "where the arrays come from",
    "keys_sha256": "SHA-256 of the keys", "frames_sha256": "digest of all frames",
    "seconds": "seconds that it took to play",
    "split": "train, validation or test, by a hash of the seed",
}  # fmt: skip
"""What each column of the table of games holds."""


def croissant_of(
    about: About, description: str, published: str, files: Files, sums: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """Returns the description of a published folder.

    Args:
        about: What the publisher says.
        description: A sentence about the dataset.
        published: The date, ISO 8601.
        files: What is in the folder.
        sums: Name → SHA-256 of the shards and tables.
        sizes: Name → bytes of the same.
    """
    address = f"https://huggingface.co/datasets/{about.address}" if about.address else "https://huggingface.co/datasets"
    files_told = [_FOLDER, *(_file_object(name, sums[name], sizes[name]) for name in sorted(sums))]
    sets = [_file_set("shards", "*.h5", HDF5, "The games as strathack keeps them, to be read by its Dataset.")]
    for config in ("games", "steps"):
        for split in files.splits:
            told = f"The {config} of the split {split}."
            sets.append(_file_set(f"{config}-{split}-files", part_pattern(config, split), PARQUET, told))
    return {
        "@context": dict(CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": about.name,
        "description": description,
        "license": license_address(about.license),
        "url": address,
        "creator": {"@type": "Organization", "name": about.author},
        "datePublished": published,
        "version": "1.0.0",
        "keywords": list(TAGS),
        "inLanguage": "en",
        "isLiveDataset": False,
        "citeAs": "Piterbarg, Pinto, Fergus: NetHack is Hard to Hack, NeurIPS 2023",
        "distribution": [*files_told, *sets],
        "recordSet": [
            *(_record_set(f"games-{split}", _game_fields(f"games-{split}")) for split in files.splits),
            *(_record_set(f"steps-{split}", _step_fields(f"steps-{split}", files.columns)) for split in files.splits),
        ],
    }


def license_address(license_id: str) -> str:
    """Returns the address of a licence's page; what SPDX does not have under that name as it is given."""
    known = _SPDX.get(license_id.lower())
    return license_id if known is None else f"https://spdx.org/licenses/{known}.html"


def _file_object(name: str, sha256: str, size: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{size} B",
        "encodingFormat": HDF5 if PurePosixPath(name).suffix == ".h5" else PARQUET,
        "sha256": sha256,
    }


def _file_set(name: str, pattern: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "containedIn": {"@id": _FOLDER["@id"]},
        "encodingFormat": kind,
        "includes": pattern,
    }


def _record_set(name: str, fields: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": list(fields)}


def _field(records: str, column: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{records}/{column}",
        "name": column,
        "description": description,
        "dataType": kind,
        "source": {"fileSet": {"@id": f"{records}-files"}, "extract": {"column": column}},
    }


def _game_fields(records: str) -> list[dict[str, Any]]:
    return [_field(records, name, _type_of_game(name), told) for name, told in GAME_COLUMNS.items()]


def _type_of_game(name: str) -> str:
    dtype = GAME_DTYPE[name] if name in (GAME_DTYPE.names or ()) else np.dtype("S1")
    kinds = {"f": "sc:Float", "i": "sc:Integer"}
    return kinds.get(dtype.kind, "sc:Text")


def _step_fields(records: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    fields = []
    for name in columns:
        if name in LABEL_COLUMNS or name in ("game", "actions", "screen"):
            kind = "sc:Text"
        else:
            kind = "sc:Float" if np.dtype(STORED_COLUMNS.get(name, "i8")).kind == "f" else "sc:Integer"
        field = _field(records, name, kind, COLUMNS[name])
        if name == "screen":
            field |= {"isArray": True, "arrayShape": str(SCREEN_ROWS)}
        fields.append(field)
    return fields
