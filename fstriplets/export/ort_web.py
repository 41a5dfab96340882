"""ONNX Runtime Web out of its npm package: third-party code, which the user fetches and fstriplets lacks."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fstriplets.errors import UserError

__all__ = ["HOW", "Runtime", "read_runtime"]

#: The version the page was tested with, and the command that fetches it.
VERSION = "1.30.0"
HOW = f"npm pack onnxruntime-web@{VERSION}"
_SCRIPT, _WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
_MOST = 1 << 26  # bytes of one file


@dataclass(frozen=True)
class Runtime:
    """The two files a page needs."""

    version: str
    script: bytes  #: an ES module
    wasm: bytes


def read_runtime(package: str | Path) -> Runtime:
    """The runtime of a package.

    Args:
        package: what `npm pack` wrote (.tgz), or the folder of an unpacked or installed package.

    Raises:
        UserError: no such package, another one, or one without the files; says how to get it.
    """
    path = Path(package).expanduser()
    if path.is_dir():
        folder = path / "package" if (path / "package" / "package.json").is_file() else path
        return _read(path, lambda name: _file(folder / name))
    if not path.is_file():
        raise UserError(f"--onnxruntime-web {package}: no such file or folder; get it with: {HOW}")
    try:
        with tarfile.open(path) as archive:
            return _read(path, lambda name: _member(archive, f"package/{name}"))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"--onnxruntime-web {package}: no intact npm package; get it with: {HOW}") from error


def _read(path: Path, file: Callable[[str], bytes | None]) -> Runtime:
    try:
        described = json.loads(file("package.json") or b"{}")
    except ValueError:
        described = {}
    if described.get("name") != "onnxruntime-web":
        raise UserError(f"--onnxruntime-web {path}: not the package onnxruntime-web; get it with: {HOW}")
    version = str(described.get("version", "?"))
    script, wasm = file(_SCRIPT), file(_WASM)
    if script is None or wasm is None:
        missing = _SCRIPT if script is None else _WASM
        raise UserError(f"--onnxruntime-web {path}: version {version} has no {missing}; take: {HOW}")
    # Its source map is not in the page: browsers' tools would look for it in vain.
    kept = [line for line in script.splitlines(True) if not line.startswith(b"//# sourceMappingURL=")]
    return Runtime(version, b"".join(kept), wasm)


def _file(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _member(archive: tarfile.TarFile, name: str) -> bytes | None:
    try:
        info = archive.getmember(name)
    except KeyError:
        return None
    stream = archive.extractfile(info) if info.isfile() and info.size <= _MOST else None
    return None if stream is None else stream.read()
