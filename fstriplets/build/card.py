"""What a dataset says of itself to others: Croissant metadata and a dataset card.

Croissant 1.1 (MLCommons) with its responsible-AI vocabulary; one FileObject with its sha256 a shard.
"""

from __future__ import annotations

from typing import Any

from fstriplets.records import schema
from fstriplets.shards import Store, list_stats

__all__ = ["croissant", "dataset_card"]

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "int32": "sc:Integer"}
_MANIFESTS = ("photos", "faces", "edits", "triplets")


def croissant(store: Store, run: dict[str, Any]) -> dict[str, Any]:
    """Croissant metadata of a finished dataset, as a JSON-LD document."""
    shards = [
        {
            "@type": "cr:FileObject",
            "@id": stats.shard,
            "name": stats.shard,
            "contentUrl": f"shards/{stats.split}/{stats.shard}.tar",
            "contentSize": f"{stats.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": stats.sha256,
        }
        for stats in list_stats(store)
        if stats.samples
    ]
    manifests = [
        {
            "@type": "cr:FileSet",
            "@id": f"{name}-parts",
            "name": f"{name}-parts",
            "encodingFormat": "application/x-parquet",
            "includes": f"manifests/{name}/*.parquet",
        }
        for name in _MANIFESTS
    ]
    licences = sorted({*run["counts"]["licences"], *run["counts"]["weights_licences"]} - {""})
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "fstriplets",
        "description": "Face-swap training triplets: source, target, result, and the lineage of each.",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "version": "1.0.0",
        "license": licences or ["unknown"],
        "rai:dataCollection": "Photos grouped by person, with licence and consent a photo; manifests/photos.",
        "rai:dataUseCases": "Training and evaluating face-swap networks on consented or synthetic adults.",
        "rai:dataManipulationProtocol": "Aligned crops; GAN or geometric edits named in manifests/edits.",
        "rai:personalSensitiveInformation": "Faces. A person can be taken out by identity_id.",
        "distribution": [*shards, *manifests],
        "recordSet": [_record_set(name) for name in _MANIFESTS],
    }


def dataset_card(run: dict[str, Any]) -> str:
    """The dataset's README.md (Markdown)."""
    counts, config = run["counts"], run["config"]
    total = sum(counts["splits"].values())
    lines = [
        "# Face-swap training triplets",
        "",
        f"{total} (source, target, result) triplets of {counts['identities']} people at"
        f" {config['image_size']} px, built by fstriplets {run['versions']['fstriplets']}.",
        "The result is the ground truth: the source's identity on the target's pose, expression,"
        " hair and background.",
        "",
        _table("Kind", counts["kinds"]),
        _table("Edit", counts["edits"]),
        _table("Split", counts["splits"]),
        "## Read it",
        "",
        "```python",
        "import fstriplets",
        'for sample in fstriplets.open_triplets("."):',
        '    sample["source"], sample["target"], sample["result"], sample["meta"]',
        "```",
        "",
        "`shards/` are WebDataset tar files, `manifests/` parquet tables: photos, faces, edits, triplets.",
        "",
        "## Licences and consent",
        "",
        _table("Licence of the photos", counts["licences"]),
        _table("Consent", counts["consents"]),
        _table("Licence of the weights that edited", counts["weights_licences"], "no weights used"),
        "For training on faces of adults who agreed to it, or of synthetic people. Not for impersonating,"
        " deceiving or identifying anybody.",
        "",
    ]
    return "\n".join(lines)


def _record_set(manifest: str) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{manifest}/{column.name}",
            "name": column.name,
            "dataType": _TYPES.get(str(column.type), "sc:Float"),
            "source": {"fileSet": {"@id": f"{manifest}-parts"}, "extract": {"column": column.name}},
        }
        for column in schema(manifest)
        if not str(column.type).startswith(("list", "map"))
    ]
    return {"@type": "cr:RecordSet", "@id": manifest, "name": manifest, "field": fields}


def _table(title: str, counts: dict[str, int], unnamed: str = "unknown") -> str:
    rows = "\n".join(f"| {name or unnamed} | {n} |" for name, n in sorted(counts.items()))
    return f"| {title} | triplets |\n|---|---|\n{rows}\n" if counts else ""
