"""Exporting a swapper: load → write → compare with PyTorch → report. The main path of export/.

A generator and its recogniser become two files: the source's embedding is computed once, the generator runs
for every face and frame.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import fstriplets
from fstriplets.errors import ConfigError, DatasetError, OutputError, WeightsError
from fstriplets.export.faces import FacePairs, Images, dataset_faces, demo_faces
from fstriplets.export.graph import Embed, Swap, import_onnx, write_metadata, write_onnx
from fstriplets.export.parity import compare_embedder, compare_generator, described, embed, swap
from fstriplets.export.precision import store_fp16, to_fp16, to_int8
from fstriplets.export.report import ExportedFile, ExportReport
from fstriplets.models.weights import file_sha256, registry
from fstriplets.swapping.model import Parts, load_parts, read_head
from fstriplets.training.swap_features import dataset_crop

__all__ = ["FORMATS", "PRECISIONS", "export_swap"]

FORMATS = ("onnx", "coreml", "tflite")
PRECISIONS = ("fp32", "fp16", "int8")

_SUFFIXES = {"onnx": "onnx", "coreml": "mlpackage", "tflite": "tflite"}


def export_swap(
    weights: str | Path | None,
    output: str | Path,
    *,
    embedder: str | Path | None = None,
    formats: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = PRECISIONS,
    data: str | Path | None = None,
    split: str = "val",
    images: int = 32,
    small: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ExportReport:
    """Write a swapper as files for other runtimes, compared with PyTorch.

    Args:
        weights: checkpoint of a swapper, a name of the table of weights, or the folder of a run; None: the
            user's own swapper in the table of weights, else the bundled one.
        output: folder of the files; made where there is none.
        embedder: its recogniser, as in `fstriplets.swap`.
        formats: of FORMATS. precisions: of PRECISIONS; coreml and tflite have no int8 here.
        data: dataset whose faces calibrate int8 and are compared; None: the demo's synthetic people.
        split: of the dataset.
        images: how many pairs of faces: half of them calibrate int8, the others are compared.
        small: store the weights of fp32 ONNX files in fp16; they still compute in fp32.
        overwrite: replace files that exist.
        progress: called with what is being done.

    Returns:
        The report, which also lies in the folder as export.json and export.md.

    Raises:
        WeightsError: no such swapper. DatasetError: no such dataset or split. OutputError: files exist.
        ConfigError: unknown format or precision. MissingDependency: the converter is not installed.
    """
    say = progress or (lambda what: None)
    _check("--format", formats, FORMATS)
    _check("--precision", precisions, PRECISIONS)
    if images < 1:
        raise ConfigError(f"--images {images}: at least one pair of faces is compared")
    if set(precisions) == {"int8"} and "onnx" not in formats:
        raise ConfigError(f"--format {', '.join(formats)} has no int8: fp32 or fp16, or --format onnx")
    import_onnx()
    if "tflite" in formats:
        from fstriplets.export.tflite import import_litert

        import_litert()
    wanted = [p for p in PRECISIONS if p in precisions]
    folder = _folder(output, [name for kind in formats for name in _names(kind, wanted)], overwrite)
    say("loading")
    parts = load_parts(weights, embedder)
    job = _Job(parts, _faces(parts, data, split, images), wanted, small, say)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as draft:
        files = list(job.onnx(Path(draft))) if "onnx" in formats else []
        files += list(job.coreml(Path(draft))) if "coreml" in formats else []
        files += list(job.tflite(Path(draft))) if "tflite" in formats else []
        placed = tuple(_placed(files, folder))
    calibrated = job.calibration.origin if "int8" in precisions and "onnx" in formats else ""
    notes = tuple(_notes(data, parts, job.overflown))
    report = ExportReport(folder, parts.name, job.digest, job.compared.origin, calibrated, placed, notes)
    report.write()
    return report


class _Job:
    """The files of one swapper, written to a folder of drafts."""

    def __init__(
        self, parts: Parts, pairs: FacePairs, precisions: list[str], small: bool, say: Callable[[str], None]
    ) -> None:
        self.parts, self.precisions, self.small, self.say = parts, precisions, small, say
        self.digest = file_sha256(parts.path)
        self.calibration, self.compared = pairs.halves()
        self.overflown = 0  #: compared faces for which PyTorch gives no finite image
        self.generator = Swap(parts.generator, parts.settings.size)
        self.embedder = Embed(parts.identity, parts.settings.size)

    @functools.cached_property
    def known(self) -> Images:
        """PyTorch's embeddings of the compared sources."""
        self.say("running PyTorch to compare with")
        return embed(self.parts.identity, self.compared.sources)

    @functools.cached_property
    def truth(self) -> tuple[FacePairs, Images, Images]:
        """Compared faces that PyTorch gives a finite image for, their embeddings and these images."""
        faces, known = self.compared, self.known
        truth = swap(self.parts.generator, faces.targets, known)
        # Attention multiplies features by features: a poorly trained generator can overflow by itself.
        finite = np.array([np.isfinite(image).all() for image in truth])
        self.overflown = int((~finite).sum())
        if not finite.any():
            raise WeightsError(f"{self.parts.name} gives no finite image for any of {len(faces)} faces")
        return faces.some(finite), known[finite], truth[finite]

    def onnx(self, folder: Path) -> Iterator[ExportedFile]:
        """Generators, then embedders, each as it is written and compared."""
        truth = self.truth
        full = folder / "full.onnx"
        write_onnx(self.generator, full, self.metadata("generator", "fp32"))
        for precision in self.precisions:
            self.say(f"generator in {precision}")
            path = folder / f"swapper-{precision}.onnx"
            self._convert(full, path, precision)
            write_metadata(path, self.metadata("generator", precision))
            yield compare_generator(path, precision, *truth)
        yield from self._embedders(folder)

    def _convert(self, full: Path, path: Path, precision: str) -> None:
        if precision == "int8":
            embeddings = embed(self.parts.identity, self.calibration.sources)
            to_int8(full, path, self.calibration, embeddings)
        elif precision == "fp16":
            to_fp16(full, path)
        else:
            shutil.copyfile(full, path)
            if self.small:
                store_fp16(path)

    def _embedders(self, folder: Path) -> Iterator[ExportedFile]:
        """int8 would cost identity and save little: it goes with the fp32 embedder."""
        full = folder / "embedder.onnx"
        write_onnx(self.embedder, full, self.metadata("embedder", "fp32"))
        for precision in dict.fromkeys(_partner(precision) for precision in self.precisions):
            self.say(f"embedder in {precision}")
            path = folder / f"embedder-{precision}.onnx"
            self._convert(full, path, precision)
            write_metadata(path, self.metadata("embedder", precision))
            yield compare_embedder(path, precision, self.compared.sources, self.known)

    def coreml(self, folder: Path) -> Iterator[ExportedFile]:
        """Both networks as ML programs."""
        from fstriplets.export.coreml import write_coreml

        modules: tuple[tuple[str, str, Swap | Embed], ...] = (
            ("generator", "swapper", self.generator), ("embedder", "embedder", self.embedder),
        )  # fmt: skip
        for precision in dict.fromkeys(_partner(precision) for precision in self.precisions):
            for role, name, module in modules:
                self.say(f"Core ML {role} in {precision}")
                path = folder / f"{name}-{precision}.mlpackage"
                write_coreml(module, path, precision, self.metadata(role, precision, "coreml"))
                yield described(path, role, "coreml", precision)

    def tflite(self, folder: Path) -> Iterator[ExportedFile]:
        """Generators, then embedders, each as it is written and compared."""
        from fstriplets.export.tflite import write_tflite

        truth = self.truth
        precisions = list(dict.fromkeys(_partner(precision) for precision in self.precisions))
        for precision in precisions:
            self.say(f"TFLite generator in {precision}")
            path = folder / f"swapper-{precision}.tflite"
            write_tflite(self.generator, path, precision, self.metadata("generator", precision, "tflite"))
            yield compare_generator(path, precision, *truth)
        for precision in precisions:
            self.say(f"TFLite embedder in {precision}")
            path = folder / f"embedder-{precision}.tflite"
            write_tflite(self.embedder, path, precision, self.metadata("embedder", precision, "tflite"))
            yield compare_embedder(path, precision, self.compared.sources, self.known)

    def metadata(self, role: str, precision: str, kind: str = "onnx") -> dict[str, str]:
        """All a user of the file alone must know."""
        settings, head = self.parts.settings, read_head(self.parts.path)
        origin = self.parts.identity.origin
        values = {
            "name": self.parts.name,
            "role": role,
            "description": _DESCRIPTIONS[role],
            "architecture": "MobileFSGAN generator" if role == "generator" else "face recogniser",
            "precision": precision,
            "size": str(settings.size),
            "crop": settings.crop,
            "embedding_size": str(settings.embedding_size),
            "layout": "NCHW, batch 1, float32",
            "colour_order": "RGB",
            "value_range": "-1..1",
            "embedder": origin.name,
            "licence": self._licence(role, head),
            "training_digest": head.get("recipe_sha256", ""),
            "weights_sha256": self.digest,
            "fstriplets_version": fstriplets.__version__,
        }
        if role == "generator":
            values |= {"variant": settings.variant, "channels": str(settings.channels)}
            values["embedder_file"] = f"embedder-{_partner(precision)}.{_SUFFIXES[kind]}"
        return values

    def _licence(self, role: str, head: dict[str, str]) -> str:
        origin, row = self.parts.identity.origin, registry().get(self.parts.name)
        if role == "embedder":
            return str(origin.licence or "unknown")
        if row is not None:
            return str(row.licence)
        used = [
            (origin.name, origin.licence),
            (head.get("perceptual", ""), head.get("perceptual_licence", "")),
        ]
        found = ", ".join(dict.fromkeys(f"{name} ({licence or 'unknown'})" for name, licence in used if name))
        return head.get("licence") or f"that of its training data; trained with {found}"


_DESCRIPTIONS = {
    "generator": (
        "Face swapper (MobileFSGAN). target: aligned crop [1, 3, size, size] that keeps pose, expression,"
        " hair and scene; embedding: of the person who gives the face, by the embedder beside this file;"
        " swapped: the result. What it makes is synthetic: say so."
    ),
    "embedder": (
        "Identity of an aligned crop [1, 3, size, size], as its swapper wants it: embedding, L2-normalised."
    ),
}


def _partner(precision: str) -> str:
    """Precision of the embedder that goes with a generator."""
    return "fp32" if precision == "int8" else precision


def _faces(parts: Parts, data: str | Path | None, split: str, count: int) -> FacePairs:
    size, crop = parts.settings.size, parts.settings.crop
    if data is None:
        return demo_faces(crop, size, count)
    have = dataset_crop(data)
    if have != crop:
        raise DatasetError(f"--calibrate {data}: its crops are {have}, the swapper's {crop}")
    return dataset_faces(data, split, size, count)


def _check(flag: str, given: Sequence[str], known: Sequence[str]) -> None:
    wrong = [value for value in given if value not in known]
    if wrong or not given:
        raise ConfigError(f"{flag} {', '.join(wrong) or '(none)'}: choose from: {', '.join(known)}")


def _names(kind: str, precisions: Sequence[str]) -> Iterator[str]:
    """What an export of this format writes."""
    partners = list(dict.fromkeys(_partner(precision) for precision in precisions))
    suffix = _SUFFIXES[kind]
    yield from (f"swapper-{precision}.{suffix}" for precision in (precisions if kind == "onnx" else partners))
    yield from (f"embedder-{precision}.{suffix}" for precision in partners)


def _folder(output: str | Path, names: Sequence[str], overwrite: bool) -> Path:
    """The folder, if what is to be written may be: asked before minutes of work."""
    folder = Path(output).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"--output {folder}: is a file; name a folder")
    there = [folder / name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(f"{there[0]} exists already: --overwrite, or another --output")
    return folder


def _placed(files: Sequence[ExportedFile], folder: Path) -> Iterator[ExportedFile]:
    """The drafts, under their names."""
    for file in files:
        name = folder / file.path.name
        if name.is_dir():
            shutil.rmtree(name)
        os.replace(file.path, name)
        yield replace(file, path=name)


def _notes(data: str | Path | None, parts: Parts, overflown: int) -> Iterator[str]:
    if data is None:
        yield (
            "no --calibrate: errors, and int8's ranges, are those of the demo's synthetic people; give a"
            " dataset of faces like those you swap"
        )
    if overflown:
        yield (
            f"for {overflown} of the compared pairs the network itself overflows in PyTorch: they are left"
            " out, and the network wants more training"
        )
    if parts.identity.origin.name == "seeded":
        yield "a seeded embedder knows nothing of faces: for tests only"
