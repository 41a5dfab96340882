"""Editors that a test plugs in: slow, deadly, hanging. Worker processes find them by their entry points."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fstriplets.edits.base import EDIT_GROUPS, EditResult


def plug_in(folder: Path) -> Path:
    """Lay out what an installed package with these editors has; the folder belongs on sys.path."""
    info = folder / "faulty_editors-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-editors\nVersion: 1.0\n")
    names = {"test-slow": "Slow", "test-exit": "Exits", "test-hang": "Hangs", "test-segfault": "Segfaults"}
    points = "".join(f"{name} = faulty_editors:{made}\n" for name, made in names.items())
    (info / "entry_points.txt").write_text(f"[fstriplets.editors]\n{points}")
    return folder


class _Untouched:
    """Gives the faces back."""

    name = "test"
    edits = frozenset(EDIT_GROUPS)
    fingerprint = "test-1"
    weights: Sequence[Any] = ()
    gated = False

    def edit(self, faces: Any, edit: str, strength: Any, seeds: Any) -> EditResult:
        if any(_poisoned(face) for face in faces):
            self.meet_poison()
        return EditResult(images=faces, mask=faces.new_zeros(len(faces), 1, *faces.shape[2:]))

    def meet_poison(self) -> None:
        """What a poisoned face does."""


def _poisoned(face: Any) -> bool:
    """Painted magenta over and over: no photo is."""
    red, green, blue = face.mean(dim=(1, 2)).tolist()
    return bool(red > 0.9 and green < -0.9 and blue > 0.9)


class Slow(_Untouched):
    """Takes its time, and leaves its pid in $FAULTY_NOTES while it works."""

    def edit(self, faces: Any, edit: str, strength: Any, seeds: Any) -> EditResult:
        note = Path(os.environ["FAULTY_NOTES"]) / str(os.getpid())
        note.touch()
        time.sleep(0.05)
        return super().edit(faces, edit, strength, seeds)


class Exits(_Untouched):
    def meet_poison(self) -> None:
        os._exit(1)


class Segfaults(_Untouched):
    def meet_poison(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(_Untouched):
    def meet_poison(self) -> None:
        time.sleep(3600)
