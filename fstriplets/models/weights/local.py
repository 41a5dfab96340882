"""Checkpoints of a user's own, which no table can know by hash: editors' generators, networks of losses.

`fstriplets weights import --as stargan --licence … FILE` checks that the file is what it is said to be,
copies it into the weights folder and writes a row with its hash and licence to local.yaml there. From then
on it is weights like any other: hashed on use, and named with its licence on every row it touches.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fstriplets.errors import WeightsError
from fstriplets.models.weights.load import load_state_dict
from fstriplets.models.weights.store import file_sha256, install, weights_folder
from fstriplets.models.weights.table import LOCAL_TABLE, WeightsEntry, entry, load_registry, registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CELEBA_LABELS", "SLOTS", "import_as", "load_network", "require_as", "settings"]

#: What the official CelebA StarGAN's five labels mean.
CELEBA_LABELS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")

#: Name -> what it takes, and the settings a file cannot tell by itself.
SLOTS: dict[str, tuple[str, dict[str, str]]] = {
    "stargan": ("StarGAN generator", {"labels": ",".join(CELEBA_LABELS), "size": "128"}),
    "spade": ("SPADE generator, 19 CelebAMask-HQ classes", {"size": "256"}),
    "mobilefacenet": ("MobileFaceNet of the MobileFSGAN release, or insightface's mbf", {}),
    "vgg19": ("VGG19 of torchvision", {}),
}
#: Those that losses of `train swap` look through; the rest are editors.
_OF_LOSSES = ("mobilefacenet", "vgg19")


def import_as(
    name: str, path: str | Path, licence: str, options: Mapping[str, str] | None = None
) -> WeightsEntry:
    """Install a checkpoint of the user's own as the weights `name`, replacing an earlier one.

    Args:
        name: key of SLOTS.
        path: the checkpoint: safetensors, or what torch.load(weights_only=True) reads.
        licence: what it may be used for; goes onto every row the weights touch.
        options: settings that differ from those in SLOTS.

    Raises:
        WeightsError: unknown name or setting, no licence, or a file that is not such a network.
    """
    if name not in SLOTS:
        raise WeightsError(f"--as {name}: choose one of: {', '.join(SLOTS)}")
    if not licence.strip():
        raise WeightsError("--as needs --licence: it is written on every row these weights touch")
    architecture, defaults = SLOTS[name]
    if unknown := sorted(set(options or {}) - set(defaults)):
        raise WeightsError(f"unknown setting {unknown[0]!r} of {name}; known: {', '.join(defaults)}")
    chosen = {**defaults, **(options or {})}
    path = Path(path)
    _build(name, path, chosen)  # refuses what is no such network
    sha256 = file_sha256(path)
    role = "loss" if name in _OF_LOSSES else "editor"
    row = WeightsEntry(
        name=name, role=role, architecture=architecture, file=f"{name}-{sha256[:12]}{path.suffix}",
        sha256=sha256, bytes=path.stat().st_size, licence=licence.strip(), source=path.name,
        note="; ".join(f"{key}={value}" for key, value in chosen.items()),
    )  # fmt: skip
    install(row, path)
    _write(row)
    return row


def require_as(name: str) -> tuple[Path, WeightsEntry]:
    """Path and row of a user's weights `name`, the hash checked.

    Raises:
        WeightsError: none imported; names the command. Or not the file that was imported.
    """
    from fstriplets.models.weights.store import require

    if name not in registry():
        raise WeightsError(
            f"{name!r} needs a checkpoint of your own ({SLOTS[name][0]}):"
            f' fstriplets weights import --as {name} --licence "…" FILE'
        )
    return require(name), entry(name)


def load_network(name: str) -> tuple[nn.Module, WeightsEntry]:
    """The network of a user's weights `name`, in eval mode on the CPU, and its row.

    Raises:
        WeightsError: as `require_as`, or not such a network.
    """
    path, row = require_as(name)
    return _build(name, path, settings(row)).eval(), row


def settings(row: WeightsEntry) -> dict[str, str]:
    """The settings of an imported row, with the defaults of its slot."""
    given = dict(part.split("=", 1) for part in row.note.split("; ") if "=" in part)
    return {key: given.get(key, default) for key, default in SLOTS[row.name][1].items()}


def _build(name: str, path: Path, chosen: Mapping[str, str]) -> nn.Module:
    from fstriplets.models.weights import adapters

    if name == "mobilefacenet":
        return adapters.mobilefacenet(load_state_dict(path))
    if name == "vgg19":
        return adapters.vgg19(load_state_dict(path))
    if not chosen["size"].isdigit() or int(chosen["size"]) < 32 or int(chosen["size"]) % 32:
        raise WeightsError(f"size of {name} must be a multiple of 32 pixels, got {chosen['size']!r}")
    state = load_state_dict(path)
    if name == "spade":
        network = adapters.spade_generator(state, int(chosen["size"]))
        _same(network.semantic_nc, 19, "label classes; the editor paints the 19 of CelebAMask-HQ")
        return network
    network = adapters.stargan_generator(state)
    labels = chosen["labels"].split(",")
    _same(network.c_dim, len(labels), f"labels; named were {', '.join(labels)}: --set labels=A,B,…")
    return network


def _same(found: Any, wanted: int, what: str) -> None:
    if found != wanted:
        raise WeightsError(f"this checkpoint has {found} {what}")


def _write(row: WeightsEntry) -> None:
    """Put the row into local.yaml, whole or not at all."""
    table = weights_folder() / LOCAL_TABLE
    rows: dict[str, WeightsEntry] = load_registry(table) if table.is_file() else {}
    rows[row.name] = row
    plain = {name: {k: v for k, v in asdict(r).items() if k != "name" and v} for name, r in rows.items()}
    handle, temporary = tempfile.mkstemp(dir=table.parent, prefix=f".{LOCAL_TABLE}.", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        yaml.safe_dump(plain, stream, allow_unicode=True)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, table)
