"""A page that swaps faces in the browser: networks, runtime and code in one HTML file.

It opens by double click. Its security policy allows no connection, so that no photo can leave the machine.
The scripts lie in `web/`, one module for each part of `fstriplets swap`, and are put together here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import fstriplets
from fstriplets.errors import ConfigError, OutputError
from fstriplets.export.finders import Finder, write_finders
from fstriplets.export.graph import read_metadata
from fstriplets.export.ort_web import Runtime, read_runtime
from fstriplets.export.report import ExportReport
from fstriplets.export.swap import export_swap
from fstriplets.faces.parse import PARTS
from fstriplets.faces.templates import MEAN_68, template
from fstriplets.resources import resource
from fstriplets.swapping.mark import marked
from fstriplets.swapping.picture import write_bytes

__all__ = ["PageReport", "export_page"]

#: Modules of web/, each after those it imports.
_SCRIPTS = (
    "geometry", "image", "detect", "analyse", "mask", "paste", "mark", "photo", "models", "swap", "page",
)  # fmt: skip
#: Two people of the demo: source and target of the example.
_EXAMPLE = {"source": "p215/02.jpg", "target": "p203/02.jpg"}
_MOST_PIXELS = 1 << 20  # of a demo photo
#: Precision -> of the generator's arithmetic: browsers' WebAssembly has none in fp16.
_COMPUTED = {"fp16": "fp32", "fp32": "fp32", "int8": "int8"}


@dataclass(frozen=True)
class PageReport:
    """What `export_page` wrote."""

    output: Path
    bytes: int
    runtime: str  #: version of ONNX Runtime Web
    swapper: ExportReport  #: of its two networks
    finders: tuple[Finder, ...]  #: detector and analyser

    def table(self) -> str:
        """The networks and how far they are from PyTorch, as a markdown table."""
        lines = ["| network | bytes | from PyTorch |", "|---|---:|---|"]
        for file in self.swapper.files:
            if file.min_cosine is not None:
                said = f"cosine at least {file.min_cosine:.6f}"
            else:
                said = f"mean {file.mean_error:.2g} of 255, at most {file.max_error:.2g}"
            lines.append(f"| {file.role} | {file.bytes:,} | {said} |")
        lines += [
            f"| {item.role} | {item.bytes:,} | {item.max_error:.1g} px at most |" for item in self.finders
        ]
        return "\n".join(lines)


def export_page(
    weights: str | Path | None,
    output: str | Path,
    package: str | Path,
    *,
    precision: str = "fp16",
    embedder: str | Path | None = None,
    data: str | Path | None = None,
    split: str = "val",
    images: int = 32,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> PageReport:
    """Write a page that swaps two photos where it is opened.

    Args:
        weights, embedder, data, split, images: as of `export_swap`; no weights: as of `load_model`.
        output: HTML file; made in a folder that exists or not.
        package: npm package of onnxruntime-web, .tgz or folder.
        precision: fp32; fp16: weights are stored so, and networks compute in fp32; int8: the generator
            computes in int8, the others are stored in fp16.
        overwrite: replace a file that exists.
        progress: called with what is being done.

    Raises:
        UserError: not that package. OutputError: the file exists, or cannot be written.
        WeightsError, DatasetError, ConfigError, MissingDependency: as `export_swap`.
    """
    say = progress or (lambda what: None)
    path = _output(output, overwrite)
    if precision not in _COMPUTED:
        raise ConfigError(f"--precision {precision}: choose one of: {', '.join(_COMPUTED)}")
    runtime = read_runtime(package)
    with tempfile.TemporaryDirectory(prefix="fstriplets-page-") as draft:
        swapper = export_swap(
            weights, draft, embedder=embedder, precisions=[_COMPUTED[precision]], data=data, split=split,
            images=images, small=precision != "fp32", progress=progress,
        )  # fmt: skip
        say("detector and analyser")
        finders = tuple(write_finders(Path(draft), _example_photos(), small=precision != "fp32"))
        files = {item.role: item.path for item in swapper.files} | {item.role: item.path for item in finders}
        say("page")
        page = _page(files, precision, runtime)
    write_bytes(path, page)
    return PageReport(path, len(page), runtime.version, swapper, finders)


def _output(output: str | Path, overwrite: bool) -> Path:
    path = Path(output).expanduser()
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"--output {output}: name the page's file, such as {path / 'swap.html'}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: --overwrite, or another --output")
    return path


def _example_photos() -> list[npt.NDArray[np.uint8]]:
    from fstriplets.corpus.decode import decode_photo

    files = [resource("demo", "photos", name) for name in _EXAMPLE.values()]
    return [decode_photo(file.read_bytes(), _MOST_PIXELS).pixels for file in files]


# the HTML file


def _page(files: Mapping[str, Path], precision: str, runtime: Runtime) -> bytes:
    """The page's text.

    Args:
        files: role -> ONNX file.
    """
    head = read_metadata(files["generator"])
    facts = {
        "size": int(head["size"]),
        "crop": template(head["crop"]).points,
        "template": template("ffhq").points,
        "mean68": MEAN_68,
        "parts": PARTS,
        "packet": marked().decode(),
        "about": _about(head, read_metadata(files["embedder"]), precision),
    }
    data = {role: path.read_bytes() for role, path in files.items()}
    data |= {"runtime-script": runtime.script, "runtime-wasm": runtime.wasm}
    data |= {f"example-{k}": resource("demo", "photos", name).read_bytes() for k, name in _EXAMPLE.items()}
    script, style = bundled_script(), _web("style.css")
    parts = {
        "policy": _policy(script, style),
        "style": style,
        "runtime": html.escape(runtime.version),
        "licence": html.escape(_web("onnxruntime-web.licence.txt").strip()),
        # In a script element only "<" could end it.
        "facts": json.dumps(facts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "data": "\n".join(_packed(name, content) for name, content in data.items()),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _web("index.html")).encode()


def _about(head: Mapping[str, str], embedder: Mapping[str, str], precision: str) -> str:
    return (
        f"Swapper {head['name']}: {head['architecture']}, {head['size']} px, {head['channels']} channels,"
        f" {precision}; licence: {head['licence']}. Face recogniser {embedder['embedder']} (licence:"
        f" {embedder['licence']}); face detector and face analyser of fstriplets {fstriplets.__version__}"
        " (Apache-2.0)."
    )


def _policy(script: str, style: str) -> str:
    """Nothing may be loaded or sent; the scripts that may run are this one and, from memory, the runtime."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' blob: 'wasm-unsafe-eval';"
        f" style-src 'sha256-{hashes[1]}'; connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _packed(name: str, content: bytes) -> str:
    text = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    return f'<script type="text/plain" id="data-{name}">{text}</script>'


def bundled_script() -> str:
    """The modules of web/ as one: each in a scope of its own, imports as constants.

    Raises:
        ValueError: an import this does not understand.
    """
    return "\n".join(_scoped(name, _web(f"{name}.js")) for name in _SCRIPTS)


def _scoped(name: str, code: str) -> str:
    names = re.findall(r"^export (?:async )?(?:function|const) (\w+)", code, re.MULTILINE)
    code = re.sub(r"^export ", "", code, flags=re.MULTILINE)
    code = re.sub(r"^import (\{.*\}) from '\./(\w+)\.js';$", r"const \1 = \2_js;", code, flags=re.MULTILINE)
    if left := re.search(r"^(?:import|export)\b.*", code, re.MULTILINE):
        raise ValueError(f"web/{name}.js: {left[0]}: not a form that is put together")
    return f"const {name}_js = (() => {{\n{code}return {{ {', '.join(names)} }};\n}})();"


def _web(name: str) -> str:
    return resource("export", "web", name).read_text(encoding="utf-8")
