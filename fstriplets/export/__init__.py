"""Trained networks as files for other runtimes.

    report = fstriplets.export.export_swap("runs/swap", "exported/", data="dataset/")

The parts, in the order of the flow: swap.py (the main path), faces.py (faces to calibrate and compare on),
graph.py (torch to ONNX), precision.py (fp16 and int8), coreml.py, tflite.py, parity.py (what differs from
PyTorch), report.py (what is written about it). page.py puts such files, those of finders.py and the runtime
that ort_web.py reads into a page for browsers; its scripts are in web/.
"""

from __future__ import annotations

from fstriplets.lazy import lazy_exports

__all__, __getattr__ = lazy_exports(
    __name__,
    {
        "FORMATS": "swap",
        "PRECISIONS": "swap",
        "ExportReport": "report",
        "ExportedFile": "report",
        "PageReport": "page",
        "export_page": "page",
        "export_swap": "swap",
    },
)
