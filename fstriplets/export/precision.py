"""Smaller numbers: fp16, and int8 with ranges measured on faces.

int8 is static quantisation in QDQ form (Jacob et al. 2018; onnxruntime.quantization): activations 8 bits
unsigned with a zero point, weights symmetric, with a scale for each output channel. What keeps the error low:

- weights have 7 bits: without VNNI, x86 adds pairs of products in 16 bits, which 8-bit weights overflow;
- the first convolution (the photo itself) and the one to RGB stay float: 1 % of the work, and their errors
  would be seen as they are; so do the summands of the way down, one operator a map;
- ranges leave out 0.1 % of the values: outliers of a trained network would else take the steps from all
  others (an earlier bundled swapper on 16 held-out pairs: error 18 % of the range without the outer 0.01 %
  only, 2.0 % so, 4.5 % without the outer 0.3 %);
- a generator of flows keeps its decoder's two largest sides float: what comes next says where pixels go, and
  a step too much moves them (the bundled swapper on 32 held-out pairs: 2.5 % with the largest side alone, 0.5
  so, 0.3 with the whole decoder; 32, 35 and 37 ms a face).

Everything else is int8, the residual stream too. Were that float, the mean error would be an eighth lower
(1.05 % against 1.19 % of the range on a small trained network), but every convolution would stand between two
changes of type and memory order, which cost a third of the time where int8 convolutions are fast.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fstriplets.export.faces import FacePairs, Images
from fstriplets.export.graph import import_onnx

__all__ = ["store_fp16", "to_fp16", "to_int8"]

#: Parts of names of nodes that stay float.
FLOAT = ("encoder_head/conv_image", "_output/", "normalize/conv")
#: … and in generators of flows.
FLOAT_OF_FLOWS = ("decoder/up256", "decoder/b256", "decoder/up128", "decoder/b128")
_PERCENTILE = 99.9  # of values within a map's range
_STORED = 1024  # values: smaller tensors, biases and the like, stay as they are


def to_fp16(source: Path, path: Path) -> None:
    """An fp32 file with fp16 weights and arithmetic; inputs and outputs stay float32."""
    onnx = import_onnx()
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = ONNXModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
    model.topological_sort()  # the converter leaves its casts at the end
    onnx.save(model.model, str(path))


def store_fp16(path: Path) -> None:
    """Stores the weights of an fp32 file in fp16, in place: half the size, arithmetic in fp32 as before.

    Runtimes widen them once, when they open the file.
    """
    onnx = import_onnx()
    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _STORED:
            continue
        name, values = tensor.name, onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_fp16"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def to_int8(source: Path, path: Path, pairs: FacePairs, embeddings: Images) -> None:
    """An fp32 generator in int8.

    Args:
        source, path: fp32 file, file to write.
        pairs: faces whose ranges count.
        embeddings: [N, D], of their sources.

    Raises:
        MissingDependency: onnx is not installed.
    """
    onnx = import_onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    graph = onnx.load(str(source)).graph
    flows = any(node.op_type == "GridSample" for node in graph.node)
    parts = FLOAT + FLOAT_OF_FLOWS if flows else FLOAT
    kept = [node.name for node in graph.node if _stays_float(node.name, parts)]
    with _quiet():
        quantize_static(
            str(source),
            str(path),
            _Reader(pairs, embeddings),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": _PERCENTILE},
        )


def _stays_float(node: str, parts: tuple[str, ...]) -> bool:
    """Whether a node is kept from int8: of one of the parts, or of the generator but of none of its layers.

    The latter scale the target and apply what the network says of it, pixel by pixel.
    """
    return any(part in node for part in parts) or node.count("/") == 2


class _Reader:
    """What onnxruntime.quantization calls a CalibrationDataReader: one input after the other, then None."""

    def __init__(self, pairs: FacePairs, embeddings: Images) -> None:
        self._inputs = iter(
            {"target": target[None], "embedding": embedding[None]}
            for target, embedding in zip(pairs.targets, embeddings, strict=True)
        )

    def get_next(self) -> dict[str, Images] | None:
        return next(self._inputs, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser's advice goes to the root logger, which it also sets up; neither is ours to show."""
    root, level = logging.getLogger(), logging.root.manager.disable
    handlers = list(root.handlers)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers
