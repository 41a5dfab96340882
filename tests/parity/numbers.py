"""The recorded files: reading them, regenerating weights from names, comparing arrays.

A weight's random numbers come from numpy's legacy generator seeded with the CRC-32 of its name, so they
are the same on every machine. Kinds of a weight in keys.json:
    normal  mean + std * n          abs  mean + std * |n|
    zero    zeros (counters)        value  the constant listed
    alias   the tensor named in `of`
    sn_u    n / |n|                 sn_v   W.T u / |W.T u|, from the W (`_orig`) and u beside it
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: case -> "in" or "out" -> name -> array
Golden = dict[str, dict[str, dict[str, np.ndarray]]]


def seeded(name: str) -> np.random.RandomState:
    """The generator that belongs to a name."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def load_keys(folder: Path, net: str) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((folder / f"{net}.keys.json").read_text(encoding="utf-8"))
    return meta


def load_golden(folder: Path, net: str) -> Golden:
    golden: Golden = {}
    with np.load(folder / f"{net}.npz") as arrays:
        for key in arrays.files:
            case, side, name = key.split("/", 2)
            golden.setdefault(case, {"in": {}, "out": {}})[side][name] = arrays[key]
    return golden


def regenerate(entries: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The official state dict that the `keys` of a keys.json describe."""
    state: dict[str, Tensor] = {}
    for entry in entries:
        if entry["kind"] not in ("alias", "sn_v"):
            state[entry["name"]] = torch.from_numpy(_values(entry).reshape(entry["shape"]))
    for entry in entries:  # what is derived from others, once those are there
        if entry["kind"] == "alias":
            state[entry["name"]] = state[entry["of"]]
        elif entry["kind"] == "sn_v":
            prefix = entry["name"].removesuffix("weight_v")
            matrix = state[prefix + "weight_orig"].flatten(1).double()
            v = matrix.T @ state[prefix + "weight_u"].double()
            state[entry["name"]] = (v / v.norm()).float()
    return state


def _values(entry: Mapping[str, Any]) -> np.ndarray:
    kind, shape = entry["kind"], tuple(entry["shape"])
    if kind == "zero":
        return np.zeros(shape, np.int64)
    if kind == "value":
        return np.asarray(entry["value"], np.float32)
    n = np.asarray(seeded(entry["name"]).standard_normal(shape))
    if kind == "normal":
        values = entry["mean"] + entry["std"] * n
    elif kind == "abs":
        values = entry["mean"] + entry["std"] * np.abs(n)
    elif kind == "sn_u":
        values = n / np.linalg.norm(n)
    else:
        raise ValueError(f"{entry['name']}: unknown kind {kind!r}")
    return np.asarray(values, np.float32)


def stats(x: Tensor) -> Tensor:
    """Ten numbers in place of a big tensor: mean, std, min, max, rms, five seeded dot products / sqrt(n)."""
    values = x.detach().double().flatten().cpu().numpy()
    random = seeded(f"dots:{values.size}")
    dots = [values @ random.standard_normal(values.size) / np.sqrt(values.size) for _ in range(5)]
    rms = np.sqrt(np.mean(values**2))
    numbers = [values.mean(), values.std(), values.min(), values.max(), rms, *dots]
    return torch.tensor(numbers, dtype=torch.float64)


def compare(got: np.ndarray, want: np.ndarray) -> dict[str, Any]:
    """max_abs and rel (L2 of the difference over L2 of `want`), both infinite where they cannot be had."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return {"max_abs": np.inf, "rel": np.inf, "note": f"shape {got.shape}, expected {want.shape}"}
    if not np.isfinite(got).all():
        return {"max_abs": np.inf, "rel": np.inf, "note": "not finite"}
    difference = np.abs(got - want)
    rel = np.linalg.norm(difference) / (np.linalg.norm(want) + 1e-30)
    return {"max_abs": float(difference.max(initial=0)), "rel": float(rel)}


@dataclass(frozen=True)
class Rules:
    """What a folder's own parity_common.py may replace."""

    regenerate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]] = regenerate
    stats: Callable[[Tensor], Tensor] = stats
    compare: Callable[[np.ndarray, np.ndarray], dict[str, Any]] = compare
