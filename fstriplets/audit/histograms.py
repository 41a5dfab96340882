"""Distributions of what the manifests measured, counted part by part in fixed bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fstriplets.shards import Store, iter_manifest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MEASURES", "Histogram", "Measure", "count_histograms"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A numeric manifest column worth a picture."""

    manifest: str
    column: str
    title: str
    low: float
    high: float
    note: str = ""


#: In the order of the report.
MEASURES = (
    Measure("faces", "similarity", "Face to its person", -0.2, 1.0, "cosine to the person's other faces"),
    Measure("faces", "yaw", "Yaw", -90, 90, "degrees, right is positive"),
    Measure("faces", "pitch", "Pitch", -60, 60, "degrees, up is positive"),
    Measure("edits", "strength", "Strength of edits", 0, 1, "0 none, 1 full"),
    Measure("edits", "identity_similarity", "Edit to its original", -0.2, 1.0, "cosine of embeddings"),
    Measure("edits", "inside_change", "Change inside the edit", 0, 60, "mean of 255"),
)


@dataclass(slots=True)
class Histogram:
    """Counts of a measure in equal bins; values beyond the ends are in the outer bins.

    Attributes:
        ok: [bins] int64, rows with status ok.
        other: [bins] int64, rejected and failed rows.
    """

    measure: Measure
    ok: np.ndarray
    other: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """[bins + 1] float64."""
        return np.linspace(self.measure.low, self.measure.high, len(self.ok) + 1)

    @property
    def total(self) -> int:
        """Rows that have a value."""
        return int(self.ok.sum() + self.other.sum())


def count_histograms(store: Store, bins: int = 24) -> list[Histogram]:
    """Histograms of MEASURES, without those no row has a value for."""
    found = []
    for manifest in dict.fromkeys(measure.manifest for measure in MEASURES):
        measures = [measure for measure in MEASURES if measure.manifest == manifest]
        histograms = [Histogram(m, np.zeros(bins, np.int64), np.zeros(bins, np.int64)) for m in measures]
        for part in iter_manifest(store, manifest, ["status", *(measure.column for measure in measures)]):
            accepted = np.array([status == "ok" for status in part["status"].to_pylist()], bool)
            for histogram in histograms:
                _add(histogram, part[histogram.measure.column], accepted)
        found += [histogram for histogram in histograms if histogram.total]
    return found


def _add(histogram: Histogram, column: pa.ChunkedArray, accepted: np.ndarray) -> None:
    values = np.asarray(column.to_pandas(), dtype=np.float64)
    known = np.isfinite(values)
    values = np.clip(values, histogram.measure.low, histogram.measure.high)
    for mask, counts in ((known & accepted, histogram.ok), (known & ~accepted, histogram.other)):
        counts += np.histogram(values[mask], histogram.edges)[0]
