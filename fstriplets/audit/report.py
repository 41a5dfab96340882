"""The HTML report of a dataset: one self-contained file, for people who will not open a parquet."""

from __future__ import annotations

import base64
import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import yaml

from fstriplets.audit import page
from fstriplets.audit.counts import Inspection, inspect_dataset, open_dataset
from fstriplets.audit.histograms import count_histograms
from fstriplets.audit.samples import ROLES, Shown, choose_triplets
from fstriplets.errors import OutputError
from fstriplets.shards import MANIFESTS, Store, iter_manifest
from fstriplets.shards.layout import RUN
from fstriplets.triplets.kinds import STORED_KINDS

__all__ = ["write_report"]

_REPORT = "report.html"
_TYPES = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"RI": "webp"}


def write_report(
    dataset: str | Path | Store, path: str | Path | None = None, *, rows: int = 12, seed: int = 0
) -> str:
    """Write the report.

    Args:
        dataset: folder or URL.
        path: where to; None: report.html in the dataset.
        rows: triplets shown.
        seed: of the choice of triplets.

    Returns:
        Where it was written.

    Raises:
        DatasetError: no dataset.
        OutputError: the file cannot be written.
    """
    store = open_dataset(dataset)
    text = "".join(_page(store, rows, seed))
    if path is None:
        store.write(_REPORT, text.encode())
        return f"{store.url}/{_REPORT}"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write the report {path}: {error.strerror or error}") from error
    return str(path)


def _page(store: Store, rows: int, seed: int) -> str:
    found = inspect_dataset(store)
    run = _run(store)
    name = found.dataset.rstrip("/").rpartition("/")[2] or "dataset"
    version = run.get("versions", {}).get("fstriplets", "")
    body = [
        f"<header><h1>{escape(name)}</h1><p>Face-swap training triplets (source, target, result), built with"
        f" fstriplets {escape(version)}.</p></header>",
        _overview(found),
        _sheet(store, rows, seed),
        _triplets(found),
        _flow(found),
        _reasons(found),
        _plots(store),
        _rights(store, found),
        _weights(store, run),
        _recipe(run),
    ]
    return page.page(f"{name}: fstriplets report", [part for part in body if part])


def _run(store: Store) -> dict[str, Any]:
    """run.json; empty while the build has not written it."""
    if not store.exists(RUN):
        return {}
    run = json.loads(store.read(RUN))
    return run if isinstance(run, dict) else {}


def _overview(found: Inspection) -> str:
    size = found.bytes
    unit = next((u for u, n in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)) if size >= n), "bytes")
    scale = {"GB": 1e9, "MB": 1e6, "KB": 1e3, "bytes": 1}[unit]
    return page.tiles(
        {
            "triplets": page.number(found.ok("triplets")),
            "people": page.number(found.identities),
            "photos used": f"{found.ok('photos'):,} of {found.total('photos'):,}",
            "edits": page.number(found.ok("edits")),
            "shards": page.number(sum(found.shards.values())),
            "of shards": f"{size / scale:.{1 if unit != 'bytes' else 0}f} {unit}",
        }
    )


def _sheet(store: Store, rows: int, seed: int) -> str:
    shown = choose_triplets(store, rows, seed)
    if not shown:
        return page.section("Samples", note="There is no triplet to show; the reasons are below.")
    return page.section(
        "Samples",
        f'<div class="sheet">{"".join(_sample(store, triplet) for triplet in shown)}</div>',
        note="Source, target and result, drawn so that every kind and edit appears. A and B are two photos of"
        " one person, I is a single photo, and aging(B) is B after the edit.",
    )


def _sample(store: Store, triplet: Shown) -> str:
    cells = []
    for role in ROLES:
        data = triplet.read(store, role)
        kind = _TYPES.get(data[:2], "jpeg")
        what = f"{role}: {triplet.member(role)}"
        cells.append(
            f'<div><img src="data:image/{kind};base64,{base64.b64encode(data).decode()}"'
            f' alt="{escape(what)}" loading="lazy"><span>{escape(what)}</span></div>'
        )
    caption = f"<figcaption>{escape(triplet.caption)}</figcaption>"
    return f'<figure><div class="row">{"".join(cells)}</div>{caption}</figure>'


def _triplets(found: Inspection) -> str:
    if not found.kind_edits:
        return ""
    edits = list(found.edits)
    rows: list[list[str | int]] = []
    for kind in (kind for kind in STORED_KINDS if kind in found.kind_edits):
        counts = found.kind_edits[kind]
        rows.append([kind, *(counts.get(edit, 0) for edit in edits), sum(counts.values())])
    rows.append(["all", *(found.edits[edit] for edit in edits), found.ok("triplets")])
    return page.section(
        "Triplets",
        page.table(["kind", *edits, "all"], rows),
        page.bar_table(("split", "triplets"), found.splits),
        note="No person is in two splits.",
    )


def _flow(found: Inspection) -> str:
    rows = []
    for manifest in MANIFESTS:
        statuses = found.rows.get(manifest, {})
        row = [manifest, *(statuses.get(status, 0) for status in ("ok", "rejected", "failed"))]
        rows.append([*row, found.total(manifest)])
    return page.section(
        "From photos to triplets",
        page.table(["manifest", "accepted", "rejected", "failed", "all"], rows),
        note="Everything that was turned down is a row in the manifests, with its reason.",
    )


def _reasons(found: Inspection) -> str:
    parts = [
        page.bar_table((f"{manifest}: reason", "rows"), reasons, found.examples[manifest], rejected=True)
        for manifest in MANIFESTS
        if (reasons := found.reasons.get(manifest))
    ]
    return page.section("Why rows were turned down", *parts) if parts else ""


def _plots(store: Store) -> str:
    histograms = count_histograms(store)
    if not histograms:
        return ""
    return page.section(
        "Distributions",
        '<p><i class="key ok"></i>accepted<i class="key no"></i>rejected. Values beyond an axis are in its'
        " outermost bar.</p>",
        f'<div class="plots">{"".join(map(page.histogram_svg, histograms))}</div>',
    )


def _rights(store: Store, found: Inspection) -> str:
    pairs: Counter[tuple[str, str]] = Counter()
    for part in iter_manifest(store, "photos", ["licence", "consent"]):
        for pair in part.group_by(["licence", "consent"]).aggregate([([], "count_all")]).to_pylist():
            pairs[pair["licence"] or "", pair["consent"] or ""] += pair["count_all"]
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    rows = [(licence or "unknown", consent or "none on record", n) for (licence, consent), n in ranked]
    more = len(rows) - 50
    tail = [("and more", f"{more:,} other combinations", sum(n for *_, n in rows[50:]))] if more > 0 else []
    return page.section(
        "Licences and consent of the photos",
        page.table(["licence", "basis of consent", "photos"], [*rows[:50], *tail]),
        page.bar_table(("licence of triplets", "triplets"), _unknown(found.licences)),
    )


def _unknown(counts: dict[str, int]) -> dict[str, int]:
    return {name or "unknown": count for name, count in counts.items()}


def _weights(store: Store, run: dict[str, Any]) -> str:
    used: Counter[tuple[str, str, str]] = Counter()
    columns = ["editor", "weights_sha256", "weights_licence"]
    for part in iter_manifest(store, "edits", columns):
        for row in part.group_by(columns).aggregate([([], "count_all")]).to_pylist():
            used[row["editor"] or "", row["weights_sha256"] or "", row["weights_licence"] or ""] += row[
                "count_all"
            ]
    editors = [
        (editor, digest or "none", licence or ("unknown" if digest else "no weights"), n)
        for (editor, digest, licence), n in sorted(used.items())
    ]
    lock = run.get("weights") or {}
    parts = (
        [page.table(["editor", "weights (sha256)", "licence", "edits"], editors, code=(1,))]
        if editors
        else []
    )
    if lock:
        licences = _registered_licences()
        rows = [(name, digest, licences.get(name, "unknown")) for name, digest in sorted(lock.items())]
        parts.append(page.table(["model", "weights (sha256)", "licence"], rows, code=(1,)))
    return page.section("Editors, models and their licences", *parts) if parts else ""


def _registered_licences() -> dict[str, str]:
    from fstriplets.models import weights

    return {name: entry.licence for name, entry in weights.registry().items()}


def _recipe(run: dict[str, Any]) -> str:
    if not run.get("config"):
        return ""
    recipe = yaml.safe_dump(run["config"], sort_keys=False, allow_unicode=True)
    summary = "<summary>The resolved config, as in run.json</summary>"
    return page.section("Recipe", f"<details>{summary}<pre>{escape(recipe)}</pre></details>")
