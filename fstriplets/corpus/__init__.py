"""Where photos come from: folders, tables and tar shards of photos grouped by person.

`open_corpus` recognises what it is given; `decode_photo` turns a photo's bytes into upright RGB pixels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fstriplets.corpus.base import Corpus, DecodedPhoto, passed_over
from fstriplets.corpus.open import CORPORA, open_corpus

if TYPE_CHECKING:
    from fstriplets.corpus.decode import decode_photo

__all__ = ["CORPORA", "Corpus", "DecodedPhoto", "decode_photo", "open_corpus", "passed_over"]


def __getattr__(name: str) -> Any:
    if name == "decode_photo":  # brings cv2, which only workers need
        return import_module("fstriplets.corpus.decode").decode_photo
    raise AttributeError(f"module 'fstriplets.corpus' has no attribute {name!r}")
