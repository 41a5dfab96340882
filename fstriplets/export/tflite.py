"""TFLite files, which LiteRT runs on phones, by litert-torch.

Inputs and outputs are those of the ONNX files: float32, NCHW, by the same names, in the one signature
`serving_default`. Documentation followed: LiteRT, "Convert PyTorch models" (`litert_torch.convert`), and
AI Edge Quantizer (weights in fp16 by FLOAT_CASTING).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fstriplets.errors import MissingDependency
from fstriplets.export.graph import Exported

__all__ = ["import_litert", "open_tflite", "read_tflite_metadata", "write_tflite"]

Values = npt.NDArray[np.float32]

_ENTRY = "fstriplets"  # name of our entry among the file's metadata
_ALIGNMENT = 16  # bytes, of every buffer: the format's schema asks for it


def import_litert() -> Any:
    """The package litert_torch.

    Raises:
        MissingDependency: not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("litert_torch")
    except ImportError as error:
        raise MissingDependency("litert-torch", "tflite", "exporting to TFLite") from error


def write_tflite(module: Exported, path: Path, precision: str, metadata: Mapping[str, str]) -> None:
    """Writes a module as a TFLite file.

    Args:
        precision: `fp32` or `fp16`; the latter of the weights of convolutions and linear layers: processors
            compute in fp32 with them, graphics processors may in fp16.
        metadata: kept as JSON in the file's own metadata, under the name `fstriplets`.

    Raises:
        MissingDependency: litert-torch is not installed.
    """
    litert = import_litert()
    example = dict(zip(module.inputs, module.example(), strict=True))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        content = litert.convert(module, sample_kwargs=example).model_content()
        if precision == "fp16":
            content = _to_fp16(content)
    path.write_bytes(_described(content, module, metadata))


def open_tflite(path: Path) -> Callable[[Mapping[str, Values]], Values]:
    """A file as a function of its named inputs, run by LiteRT's interpreter: its one output."""
    interpreter = _litert("interpreter").Interpreter(model_path=str(path))
    run = interpreter.get_signature_runner()

    def call(inputs: Mapping[str, Values]) -> Values:
        (made,) = run(**inputs).values()
        return np.asarray(made)

    return call


def read_tflite_metadata(path: Path) -> dict[str, str]:
    """What `write_tflite` was given as metadata; empty in other files."""
    model = _litert("tools.flatbuffer_utils").read_model(str(path))
    for entry in model.metadata or []:
        if entry.name == _ENTRY.encode():
            return dict(json.loads(bytes(model.buffers[entry.buffer].data)))
    return {}


def _litert(name: str) -> Any:
    return importlib.import_module(f"ai_edge_litert.{name}")


def _to_fp16(content: bytes) -> bytes:
    quantizer = importlib.import_module("ai_edge_quantizer.quantizer")
    qtyping = importlib.import_module("ai_edge_quantizer.qtyping")
    job = quantizer.Quantizer(bytearray(content))
    job.add_weight_only_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=quantizer.AlgorithmName.FLOAT_CASTING,
    )
    return bytes(job.quantize().quantized_model)


def _described(content: bytes, module: Exported, metadata: Mapping[str, str]) -> bytes:
    """The file with its outputs' names, its description and our metadata."""
    schema, tools = _litert("schema_py_generated"), _litert("tools.flatbuffer_utils")
    model = tools.read_model_from_bytearray(bytearray(content))
    for output, name in zip(model.signatureDefs[0].outputs, module.outputs, strict=True):
        output.name = name.encode()
    model.description = metadata["description"].encode()
    text = schema.BufferT()
    text.data = np.frombuffer(json.dumps(dict(metadata)).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = _ENTRY.encode(), len(model.buffers)
    model.buffers.append(text)
    model.metadata = [*(model.metadata or []), entry]
    return _packed(model)


def _packed(model: Any) -> bytes:
    """The file's bytes; the schema's Python code alone would not align its buffers."""
    flatbuffers = importlib.import_module("flatbuffers")

    class Aligned(flatbuffers.Builder):  # type: ignore[misc, name-defined]
        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)

    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
