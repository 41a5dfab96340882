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
from fstriplets.export.faces import Images, demo_faces
from fstriplets.export.finders import Finder, write_finders
from fstriplets.export.graph import read_metadata
from fstriplets.export.ort_web import Runtime, read_runtime
from fstriplets.export.precision import store_fp16
from fstriplets.export.report import ExportReport
from fstriplets.export.swap import PRECISIONS, export_swap
from fstriplets.faces.parse import PARTS
from fstriplets.faces.templates import MEAN_68, template
from fstriplets.resources import resource
from fstriplets.swapping.mark import marked
from fstriplets.swapping.onnx_model import open_session
from fstriplets.swapping.picture import write_bytes

__all__ = ["PageReport", "export_page"]

#: Modules of web/, each after those it imports.
_SCRIPTS = (
    "geometry",
    "image",
    "detect",
    "analyse",
    "mask",
    "paste",
    "mark",
    "photo",
    "models",
    "swap",
    "page",
)
#: Two people of the demo: source and target of the example.
_EXAMPLE = {"source": "p215/02.jpg", "target": "p203/02.jpg"}
_MOST_PIXELS = 1 << 20  # of a demo photo
_COMPARED = 14  # faces: one of each of the demo's people


@dataclass(frozen=True)
class PageReport:
    """What `export_page` wrote."""

    output: Path
    bytes: int
    runtime: str  #: version of ONNX Runtime Web
    swapper: ExportReport  #: of its two networks
    finders: tuple[Finder, ...]  #: detector and analyser
    stored: float | None  #: with int8, whose embedder stores its weights in fp16: least cosine to fp32

    def table(self) -> str:
        """The networks and how far they are from PyTorch: a markdown table, and a line on the finders."""
        places = ", ".join(
            f"{item.role} {item.bytes:,} bytes, {item.max_error:.1g} px" for item in self.finders
        )
        return f"{self.swapper.table()}\n\n{places} from PyTorch; ONNX Runtime Web {self.runtime}"


def export_page(
    weights: str | Path | None,
    output: str | Path,
    package: str | Path,
    *,
    precision: str = "int8",
    embedder: str | Path | None = None,
    data: str | Path | None = None,
    split: str = "val",
    images: int = 32,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> PageReport:
    """Write a page that swaps two photos where it is opened.

    Args:
        weights, embedder, data, split, images: as of `export_swap`; no weights: the first swapper installed.
        output: HTML file; made in a folder that exists or not.
        package: npm package of onnxruntime-web, .tgz or folder.
        precision: of PRECISIONS, of the generator.
        overwrite: replace a file that exists.
        progress: called with what is being done.

    Raises:
        UserError: not that package. OutputError: the file exists, or cannot be written.
        WeightsError, DatasetError, ConfigError, MissingDependency: as `export_swap`.
    """
    say = progress or (lambda what: None)
    path = _output(output, overwrite)
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision {precision}: choose one of: {', '.join(PRECISIONS)}")
    runtime = read_runtime(package)
    with tempfile.TemporaryDirectory(prefix="fstriplets-page-") as draft:
        swapper = export_swap(
            weights, draft, embedder=embedder, precisions=[precision], data=data, split=split, images=images,
            progress=progress,
        )  # fmt: skip
        say("detector and analyser")
        finders = tuple(write_finders(Path(draft), _example_photos(), small=precision != "fp32"))
        files = {item.role: item.path for item in swapper.files} | {item.role: item.path for item in finders}
        # With fp16 the embedder is fp16 already.
        stored = _stored_smaller(files["embedder"]) if precision == "int8" else None
        say("page")
        page = _page(files, runtime)
    write_bytes(path, page)
    return PageReport(path, len(page), runtime.version, swapper, finders, stored)


def _output(output: str | Path, overwrite: bool) -> Path:
    path = Path(output).expanduser()
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"--output {output}: name the page's file, such as {path / 'swap.html'}")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already: --overwrite, or another --output")
    return path


def _stored_smaller(embedder: Path) -> float:
    """Stores an embedder's weights in fp16; the least cosine of its embeddings to those before."""
    head = read_metadata(embedder)
    faces = demo_faces(head["crop"], int(head["size"]), _COMPARED).sources

    def embeddings() -> Images:
        session = open_session(embedder, threads=1)
        return np.concatenate([session.run(None, {"face": face[None]})[0] for face in faces])

    before = embeddings()
    store_fp16(embedder)
    return min(1.0, float((before * embeddings()).sum(axis=1).min()))


def _example_photos() -> list[npt.NDArray[np.uint8]]:
    from fstriplets.corpus.decode import decode_photo

    files = [resource("demo", "photos", name) for name in _EXAMPLE.values()]
    return [decode_photo(file.read_bytes(), _MOST_PIXELS).pixels for file in files]


# the HTML file


def _page(files: Mapping[str, Path], runtime: Runtime) -> bytes:
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
        "about": _about(head, read_metadata(files["embedder"])),
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


def _about(head: Mapping[str, str], embedder: Mapping[str, str]) -> str:
    return (
        f"Swapper {head['name']}: {head['architecture']}, {head['size']} px, {head['channels']} channels,"
        f" {head['precision']}; licence: {head['licence']}. Face recogniser {embedder['embedder']} (licence:"
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
