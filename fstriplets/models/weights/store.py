"""The weights folder: what is installed, importing local copies, checking them.

A file is trusted by its sha256 alone, never by its name. Copies are atomic (temporary name, fsync,
rename), so that a killed import or two at once never leave a half-written model.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fstriplets.errors import WeightsError
from fstriplets.models.weights.table import WeightsEntry, entry, registry

__all__ = [
    "FOLDER_VARIABLE",
    "Verified",
    "better_weights",
    "file_sha256",
    "import_file",
    "import_folder",
    "install",
    "installed",
    "require",
    "verify",
    "weights_folder",
    "weights_path",
]

FOLDER_VARIABLE = "FSTRIPLETS_WEIGHTS"
_BLOCK = 1 << 20
_hashes: dict[tuple[str, int, int], str] = {}


def weights_folder() -> Path:
    """Where weights are kept: $FSTRIPLETS_WEIGHTS, else ~/.cache/fstriplets/weights."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "fstriplets" / "weights"


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex. Remembered per process while size and modification time stay."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _hashes:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        _hashes[key] = digest.hexdigest()
    return _hashes[key]


def weights_path(wanted: WeightsEntry) -> Path:
    """Where the file of an entry is, or would be: the weights folder, or inside the package."""
    if wanted.bundled:
        return Path(__file__).parent / "bundled" / wanted.file
    return weights_folder() / wanted.file


def installed(name: str) -> Path | None:
    """Path of the weights `name` if a file of the right size is there, else None.

    Cheap: the hash is checked by `require` and `verify`.
    """
    wanted = entry(name)
    path = weights_path(wanted)
    try:
        return path if path.stat().st_size == wanted.bytes else None
    except OSError:
        return None


def better_weights(names: Iterable[str]) -> dict[str, WeightsEntry]:
    """Bundled weights among `names` for which better public ones exist that are not installed -> those."""
    known = registry()
    rows = {name: known[name] for name in names if name in known}
    return {
        name: known[row.better]
        for name, row in rows.items()
        if row.bundled and row.better in known and not installed(row.better)
    }


def require(name: str) -> Path:
    """Path of the weights `name`, its hash checked (once per process).

    Raises:
        WeightsError: not installed, or not the bytes the table names; says which command helps.
    """
    wanted = entry(name)
    path = weights_path(wanted)
    if not path.is_file():
        raise WeightsError(f"weights {name!r} are not installed: {_way_out(wanted)}")
    found = file_sha256(path)
    if found != wanted.sha256:
        raise WeightsError(
            f"{path} is not the file registered as {name!r}: sha256 {found[:12]}…, registered"
            f" {wanted.sha256[:12]}…; remove it, then {_way_out(wanted)}"
        )
    return path


def _way_out(wanted: WeightsEntry) -> str:
    if wanted.bundled:
        return "they travel with fstriplets: install the package again"
    local = f"fstriplets weights import FILE (a local copy of {wanted.file})"
    return (
        f"fstriplets weights pull {wanted.name}, or {local}"
        if wanted.url
        else f"{local}; from {wanted.source}"
    )


def import_file(path: str | Path) -> WeightsEntry:
    """Install a local copy, recognised by its hash whatever its name.

    Raises:
        WeightsError: no such file, or its hash is not in the table; lists what would be recognised.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no such file: {path}")
    found = file_sha256(path)
    for wanted in registry().values():
        if wanted.sha256 == found:
            install(wanted, path)
            return wanted
    known = "\n".join(f"  {e.sha256}  {e.name} ({e.file})" for e in registry().values())
    raise WeightsError(f"{path} is none of the registered weights (sha256 {found}); registered are:\n{known}")


def import_folder(folder: str | Path) -> tuple[list[WeightsEntry], list[Path]]:
    """Import every registered file below a folder.

    Returns:
        The entries installed, and the files that are none of the registered weights.

    Raises:
        WeightsError: nothing in the folder is registered.
    """
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    sizes = {wanted.bytes for wanted in registry().values()}
    hashes = {wanted.sha256 for wanted in registry().values()}
    taken: list[WeightsEntry] = []
    others: list[Path] = []
    for path in files:
        # The size spares hashing gigabytes that cannot match.
        known = path.stat().st_size in sizes and file_sha256(path) in hashes
        taken += [import_file(path)] if known else []
        others += [] if known else [path]
    if not taken:
        names = ", ".join(sorted(registry()))
        raise WeightsError(f"none of the {len(files)} files in {folder} are registered weights ({names})")
    return taken, others


def install(wanted: WeightsEntry, path: Path) -> Path:
    """Copy a file whose bytes are those of `wanted` into the weights folder, atomically.

    Raises:
        WeightsError: the folder cannot be written, or the bytes changed while being copied.
    """
    if wanted.bundled:
        return require(wanted.name)
    folder = weights_folder()
    final = folder / wanted.file
    if final.is_file() and final.stat().st_size == wanted.bytes and file_sha256(final) == wanted.sha256:
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy(path, final, wanted)
    except OSError as error:
        raise WeightsError(
            f"cannot write weights to {folder}: {error}; {FOLDER_VARIABLE} names another"
        ) from error
    return final


def _copy(path: Path, final: Path, wanted: WeightsEntry) -> None:
    handle, temporary = tempfile.mkstemp(dir=final.parent, prefix=f".{wanted.file}.", suffix=".tmp")
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, "wb") as target, path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != wanted.sha256:
            raise WeightsError(f"{path} changed while it was copied, or is not {wanted.name!r}")
        os.chmod(temporary, 0o644)  # mkstemp gives 0600: others of a shared folder must read it too
        os.replace(temporary, final)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found for one entry."""

    entry: WeightsEntry
    status: str  #: `ok`, `missing`, `wrong size` or `wrong hash`
    path: Path


def verify(names: list[str] | None = None) -> Iterator[Verified]:
    """Hash installed files anew, past every cache.

    Args:
        names: which; None for all registered ones.
    """
    for wanted in [entry(name) for name in names] if names else list(registry().values()):
        path = weights_path(wanted)
        if not path.is_file():
            status = "missing"
        elif path.stat().st_size != wanted.bytes:
            status = "wrong size"
        else:
            _hashes.clear()
            status = "ok" if file_sha256(path) == wanted.sha256 else "wrong hash"
        yield Verified(wanted, status, path)
