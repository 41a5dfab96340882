"""What was exported: sizes, and how far each file is from PyTorch; as records, JSON and a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ExportReport", "ExportedFile"]


@dataclass(frozen=True)
class ExportedFile:
    """One file, and its distance from the PyTorch network over the compared faces."""

    path: Path
    role: str  #: `generator` or `embedder`
    format: str  #: `onnx`, `coreml` or `tflite`
    precision: str  #: `fp32`, `fp16` or `int8`
    bytes: int
    sha256: str  #: hex; empty for a folder
    mean_error: float | None = None  #: of swapped pixels, 0..255; None: not compared
    max_error: float | None = None  #: of swapped pixels, 0..255
    psnr: float | None = None  #: dB, peak 255
    min_cosine: float | None = None  #: of an embedder's embeddings

    @property
    def percent(self) -> float | None:
        """mean_error in per cent of the range."""
        return None if self.mean_error is None else 100 * self.mean_error / 255


@dataclass(frozen=True)
class ExportReport:
    """What `export_swap` wrote."""

    output: Path
    weights: str  #: name of the exported checkpoint
    weights_sha256: str
    compared: str  #: faces the errors are over
    calibrated: str  #: faces int8 was calibrated on; empty: no int8
    files: tuple[ExportedFile, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The files as a markdown table."""
        head = ["file", "bytes", "mean error of 255", "max", "PSNR dB", "embeddings' least cosine"]
        lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)])]
        return "\n".join([*lines, *(_line(_cells(file)) for file in self.files)])

    def write(self) -> list[Path]:
        """export.json and export.md beside the files."""
        values = asdict(self) | {"output": self.output.name}
        for file in values["files"]:
            file["path"] = Path(file["path"]).name
        text = json.dumps(values, indent=1, ensure_ascii=False)
        page = [
            f"# {self.weights}, exported",
            "",
            self.table(),
            "",
            f"Compared with PyTorch on {self.compared}.",
        ]
        page += [f"int8 calibrated on {self.calibrated}."] if self.calibrated else []
        page += [f"- {note}" for note in self.notes]
        written = [self.output / "export.json", self.output / "export.md"]
        for path, content in zip(written, (text, "\n".join(page)), strict=True):
            path.write_text(content + "\n", encoding="utf-8")
        return written


def _cells(file: ExportedFile) -> Iterable[str]:
    yield file.path.name
    yield f"{file.bytes:,}"
    yield "" if file.mean_error is None else f"{file.mean_error:.3g} ({file.percent:.2g} %)"
    yield "" if file.max_error is None else f"{file.max_error:.3g}"
    yield "" if file.psnr is None else f"{file.psnr:.1f}"
    yield "" if file.min_cosine is None else f"{file.min_cosine:.6f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
