"""Puts trained weights into the package: `python -m fstriplets.training.bundle FILE NAME [--half]`.

Copies FILE (of a run's export/ folder) to models/weights/bundled/ and writes its hash and size into the row
NAME of manifests/weights.yaml, which must be there with `bundled: true`. Its card, NAME.md beside it, is
written by hand from measured figures.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from fstriplets.errors import WeightsError
from fstriplets.models.weights import entry, file_sha256
from fstriplets.models.weights.store import weights_path
from fstriplets.resources import resource

__all__ = ["bundle"]


def bundle(file: Path, name: str, half: bool = False) -> Path:
    """Ships a file as the bundled weights `name`; returns its place.

    Args:
        file: safetensors.
        half: matrices and kernels in half precision; vectors, among them variances, stay as they are.

    Raises:
        WeightsError: no such row, the row is not `bundled`, or no such file.
    """
    row = entry(name)
    if not row.bundled:
        raise WeightsError(f"weights {name!r} are not bundled: add `bundled: true` to their row")
    if not file.is_file():
        raise WeightsError(f"no such file: {file}")
    place = weights_path(row)
    place.parent.mkdir(exist_ok=True)
    if half:
        _halve(file, place)
    else:
        shutil.copyfile(file, place)
    place.chmod(0o644)
    table = resource("manifests", "weights.yaml")
    text = table.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(name)}:\n(?:[ #].*\n)+", text, re.MULTILINE)
    if found is None:
        raise WeightsError(f"{table} has no row {name!r} of its own")
    block = re.sub(r"(?m)^  sha256: .*$", f"  sha256: {file_sha256(place)}", found[0])
    block = re.sub(r"(?m)^  bytes: .*$", f"  bytes: {place.stat().st_size}", block)
    table.write_text(text[: found.start()] + block + text[found.end() :], encoding="utf-8")
    return place


def _halve(file: Path, place: Path) -> None:
    with safe_open(file, "pt") as stored:
        head = stored.metadata()
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not iterable
    state = {name: value.half() if value.ndim > 1 else value for name, value in state.items()}
    save_file(state, place, metadata=head)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    parser.add_argument("--half", action="store_true", help="matrices and kernels in half precision")
    arguments = parser.parse_args()
    print(bundle(arguments.file, arguments.name, arguments.half))
