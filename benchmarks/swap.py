"""One swap on one thread: eager PyTorch as the released code runs it, our PyTorch path, and exported files.

The network has the paper's size (64 channels, 256 px) and seeded weights: time does not depend on them. What
int8 costs in pixels does: that is measured by `fstriplets export swap`, on trained weights.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import Figure
from fstriplets.export.report import ExportReport
from fstriplets.export.swap import export_swap

__all__ = ["swap_runtimes"]

SIZE, ROUNDS = 256, 5
PRECISIONS = ("fp32", "int8")

#: A process of its own that loads one path, swaps thrice, and prints its peak resident memory in MB.
_ALONE = """
import re, sys
import numpy as np
kind, file, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
target = np.zeros((1, 3, size, size), np.float32)
embedding = np.full((1, 512), 512**-0.5, np.float32)
if kind == "torch":
    import torch
    from fstriplets.swapping.model import load_swapper
    torch.set_num_threads(1)
    generator, _ = load_swapper(file)
    with torch.no_grad():
        for _ in range(3):
            generator(torch.from_numpy(target), torch.from_numpy(embedding))
elif kind == "onnx":
    from pathlib import Path
    from fstriplets.swapping.onnx_model import open_session
    session = open_session(Path(file), threads=1)
    for _ in range(3):
        session.run(None, {"target": target, "embedding": embedding})
# Not getrusage: its maximum is the parent's as long as that is the larger one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024)
"""


def swap_runtimes(work: Path) -> list[Figure]:
    """How many times faster than eager PyTorch each path is, and its peak memory."""
    checkpoint = _checkpoint(work / "swapper.safetensors")
    report = _exported(checkpoint, work / "exported")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = _timed(_paths(checkpoint, report.output))
    finally:
        torch.set_num_threads(threads)
    memory = {"eager": _peak("torch", checkpoint)}
    memory |= {p: _peak("onnx", report.output / f"swapper-{p}.onnx") for p in PRECISIONS}
    eager = times.pop("eager")
    goals = {"fp32": ">= 2.0", "int8": ">= 4.0"}
    figures = []
    for name, took in times.items():
        ratio = statistics.median(a / b for a, b in zip(eager, took, strict=True))
        detail = f"{_ms(took)} against {_ms(eager)} ms at {SIZE} px"
        label = f"ONNX {name}" if name in goals else "fstriplets' PyTorch path"
        figures.append(Figure(f"{label} against eager PyTorch", ratio, "x", goals.get(name, ""), detail))
    for name, peak in memory.items():
        label = f"ONNX {name}" if name in goals else "eager PyTorch"
        detail = f"a process that swaps; one that only loads numpy: {_peak('none', checkpoint):.0f} MB"
        figures.append(Figure(f"peak memory of {label}", peak, "MB", "", detail))
    return figures


def _checkpoint(path: Path) -> Path:
    """A seeded swapper of the paper's size, with statistics as of a training."""
    from safetensors.torch import save_file

    from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator

    torch.manual_seed(0)
    network = MobileFSGANGenerator()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3)
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 2)
    head = {"variant": "baseline", "outputs": "[256, 128, 64]", "channels": "64", "embedding_size": "512"}
    save_file(network.state_dict(), path, metadata=head | {"image_size": str(SIZE), "embedder": "seeded"})
    return path


def _exported(checkpoint: Path, folder: Path) -> ExportReport:
    return export_swap(checkpoint, folder, precisions=PRECISIONS, images=4)


def _paths(checkpoint: Path, exported: Path) -> dict[str, Callable[[], object]]:
    """Name -> one swap of one face, everything loaded."""
    from fstriplets.swapping.model import load_model, load_swapper
    from fstriplets.swapping.onnx_model import open_session

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    target = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 127.5 - 1
    embedding = rng.normal(size=(1, 512)).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    generator, _ = load_swapper(checkpoint)
    ours = load_model(checkpoint, device="cpu", runtime="torch")

    def eager() -> object:
        with torch.no_grad():
            return generator(torch.from_numpy(target), torch.from_numpy(embedding))

    paths: dict[str, Callable[[], object]] = {"eager": eager, "torch": lambda: ours.swap(pixels, embedding)}
    for precision in PRECISIONS:
        session = open_session(exported / f"swapper-{precision}.onnx", threads=1)
        inputs = {"target": target, "embedding": embedding}
        paths[precision] = lambda s=session, i=inputs: s.run(None, i)
    return paths


def _timed(paths: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of processor time, all paths in turn, the first round left out.

    On one thread that is wall time on an idle machine, and stays about the same on a busy one.
    """
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS + 1):
        for name, call in paths.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: values[1:] for name, values in times.items()}


def _peak(kind: str, file: Path) -> float:
    command = [sys.executable, "-c", _ALONE, kind, str(file), str(SIZE)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _ms(times: list[float]) -> str:
    return f"{1000 * statistics.median(times):,.0f}"
