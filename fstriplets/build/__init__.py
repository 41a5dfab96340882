"""From a corpus to a dataset of triplets. `build` is the whole of it; bucket.py is its main path.

The module can be called: `fstriplets.build(config)` is `fstriplets.build.build(config)`. Without that,
the import system would put this package in the place of the function as soon as anybody imports it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from fstriplets.build.flow import build
from fstriplets.build.report import BuildReport, Progress

__all__ = ["BuildReport", "Progress", "build"]


class _CallableModule(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> BuildReport:
        return build(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
