"""Which CUDA devices this machine offers, asked without touching CUDA: a driver that did could not fork
or hand the devices to its workers cleanly, and importing torch takes seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

__all__ = ["visible_gpus"]


def visible_gpus() -> list[str]:
    """One name a device, as CUDA_VISIBLE_DEVICES takes them; [] without a GPU or its driver.

    An existing CUDA_VISIBLE_DEVICES limits the list. Of a card cut up by MIG, its parts are the devices.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        # CUDA stops at the first invalid entry; -1 is the usual way to say none.
        stop = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:stop]
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        listing = subprocess.run(
            [command, "-L"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return _devices(listing)


def _devices(listing: str) -> list[str]:
    """UUIDs out of `nvidia-smi -L`."""
    names: list[str] = []
    for line in listing.splitlines():
        found = re.search(r"UUID: ((?:GPU|MIG)-[^)\s]+)", line)
        if found is None:
            continue
        if found[1].startswith("MIG-") and names and names[-1].startswith("GPU-"):
            names.pop()  # the card that the part belongs to
        names.append(found[1])
    return names
