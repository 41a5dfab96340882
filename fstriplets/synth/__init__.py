"""Synthetic faces with ground truth: people, photos, edits and true swaps from seeds.

`Studio` draws them, `write_corpus` writes a corpus that `fstriplets build` reads, `import_face_model`
brings in the 3D face model everything is made from. Names are imported when they are used: numba and
scipy (extra `synth`) are needed only then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fstriplets.synth.corpus import CorpusPlan, write_corpus
    from fstriplets.synth.edits import SYNTH_EDITS
    from fstriplets.synth.importer import import_face_model
    from fstriplets.synth.person import Person
    from fstriplets.synth.regions import LABELS
    from fstriplets.synth.render import Photo
    from fstriplets.synth.scene import Scene
    from fstriplets.synth.studio import Studio
    from fstriplets.synth.truth import Truth

__all__ = [
    "LABELS",
    "RENDERER",
    "SYNTH_EDITS",
    "CorpusPlan",
    "Person",
    "Photo",
    "Scene",
    "Studio",
    "Truth",
    "import_face_model",
    "write_corpus",
]

#: Changes whenever the same seed gives other pixels.
RENDERER = "6"

_HOME = {
    "LABELS": "regions",
    "SYNTH_EDITS": "edits",
    "CorpusPlan": "corpus",
    "Person": "person",
    "Photo": "render",
    "Scene": "scene",
    "Studio": "studio",
    "Truth": "truth",
    "import_face_model": "importer",
    "write_corpus": "corpus",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
