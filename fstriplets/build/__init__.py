"""From a corpus to a dataset of triplets. `build` is the whole of it; bucket.py is its main path."""

from __future__ import annotations

from fstriplets.build.flow import build
from fstriplets.build.report import BuildReport, Progress

__all__ = ["BuildReport", "Progress", "build"]
