"""Inspect: counts agree with the manifests, sheet and report show every kind and edit."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_dataset import SIZE, colour, make_shard

from fstriplets.audit import contact_sheet, draw_sheet, inspect_dataset, write_report
from fstriplets.audit.histograms import count_histograms
from fstriplets.audit.samples import ROLES, choose_triplets
from fstriplets.errors import ConfigError, DatasetError, OutputError
from fstriplets.shards import ImageCodec, Store, read_manifest


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_shard(tmp_path, 0, people=4, reject="grin")
    make_shard(tmp_path, 1, people=2, split="val", reject="grin")
    return tmp_path


class Page(HTMLParser):
    """Tags in order, checked to be closed; text; and every address a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.fetched: list[str] = []
        self.alts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.alts.append(values.get("alt") or "")
        if tag not in ("meta", "img", "line", "rect", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report_of(dataset: Path | str | Store, **options: int) -> Page:
    store = dataset if isinstance(dataset, Store) else Store(dataset)
    write_report(store, **options)
    return Page(store.read("report.html").decode())


def test_counts_agree_with_the_manifests(dataset: Path) -> None:
    found = inspect_dataset(dataset)
    rows = read_manifest(str(dataset), "triplets").to_pandas()
    formed = rows[rows.status == "ok"]
    assert found.kinds == formed.kind.value_counts().sort_index().to_dict()
    assert found.edits == formed.edit.value_counts().sort_index().to_dict()
    assert found.splits == formed.split.value_counts().sort_index().to_dict()
    assert found.identities == formed.identity_id.nunique() == 6
    assert found.shards == {"train": 1, "val": 1}
    assert found.bytes == sum(path.stat().st_size for path in dataset.rglob("*.tar"))
    assert sum(sum(edits.values()) for edits in found.kind_edits.values()) == len(formed)
    assert found.kind_edits["pair_identity"].keys() <= {"aging", "chubbiness"}
    assert found.total("triplets") == len(rows) > found.ok("triplets") == len(formed)
    assert found.reasons["edits"] == {"identity_max": found.rows["edits"]["rejected"]}
    assert found.examples["edits"] == {"identity_max": "too alike"}
    assert found.licences == {"CC0": len(formed)}
    assert json.loads(json.dumps(asdict(found)))["kinds"] == found.kinds


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_dataset(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("no dataset")
    for call in (inspect_dataset, draw_sheet, write_report):
        with pytest.raises(DatasetError, match="holds no dataset"):
            call(path)


def test_choice_covers_every_kind_and_edit(dataset: Path) -> None:
    found, store = inspect_dataset(dataset), Store(dataset)
    pairs = {(kind, edit) for kind, edits in found.kind_edits.items() for edit in edits}
    shown = choose_triplets(store, len(pairs))
    assert {(t.row["kind"], t.row["edit"]) for t in shown} == pairs
    shown = choose_triplets(store, 5)
    assert {t.row["kind"] for t in shown} == found.kinds.keys()
    assert {t.row["edit"] for t in shown} == found.edits.keys()
    assert [t.row for t in choose_triplets(store, 5)] == [t.row for t in shown]
    assert [t.row for t in choose_triplets(store, 5, seed=1)] != [t.row for t in shown]
    everything = choose_triplets(store, 10_000)
    assert len(everything) == found.ok("triplets") == len({t.row["triplet_id"] for t in everything})


@pytest.mark.parametrize("layout", ["triplets", "faces"])
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_pictures_are_the_members_pictures(tmp_path: Path, layout: str, image_format: str) -> None:
    make_shard(tmp_path, layout=layout, image_format=image_format)
    store = Store(tmp_path)
    rows = {row["triplet_id"]: row for row in read_manifest(store, "triplets").to_pylist()}
    for triplet in choose_triplets(store, 20):
        for role in ROLES:
            pixels = ImageCodec.decode(triplet.read(store, role)).astype(int)
            expected = colour(rows[triplet.row["triplet_id"]][f"{role}_id"])
            assert np.abs(pixels - expected).mean() < 3


def test_members_are_named_as_in_the_paper(dataset: Path) -> None:
    named = {
        t.row["kind"]: tuple(t.member(role).replace(t.row["edit"], "E") for role in ROLES)
        for t in choose_triplets(Store(dataset), 30)
    }
    assert named == {
        "pair_identity": ("A", "E(B)", "B"),
        "identity_target": ("I", "E(I)", "I"),
        "identity_source": ("E(I)", "I", "E(I)"),
        "attribute_target": ("I", "E(I)", "E(I)"),
        "attribute_source": ("E(I)", "I", "I"),
    }


@pytest.mark.parametrize(("rows", "columns"), [(1, None), (2, 1), (7, 3), (12, None)])
def test_sheet_has_room_for_all(dataset: Path, rows: int, columns: int | None) -> None:
    sheet = draw_sheet(dataset, rows=rows, columns=columns, cell=48)
    assert sheet.dtype == np.uint8
    assert sheet.ndim == 3
    shown = choose_triplets(Store(dataset), rows)
    ids = {row["triplet_id"]: row for row in read_manifest(str(dataset), "triplets").to_pylist()}
    for triplet in shown:  # every member's colour covers about its cell, but for the tag on it
        for role in ROLES:
            distance = np.abs(sheet.astype(int) - colour(ids[triplet.row["triplet_id"]][f"{role}_id"])[0, 0])
            assert (distance.max(-1) < 6).sum() > 0.5 * 48 * 48


def test_sheet_file(dataset: Path, tmp_path: Path) -> None:
    for name in ("sheet.png", "new/folder/sheet.JPG"):
        contact_sheet(dataset, tmp_path / name, rows=3)
        with Image.open(tmp_path / name) as image:
            assert image.width > 3 * SIZE
    with pytest.raises(ConfigError, match=r"\.png"):
        contact_sheet(dataset, tmp_path / "sheet.bmp")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        contact_sheet(dataset, tmp_path / "taken/sheet.png")


def test_nothing_to_draw(tmp_path: Path) -> None:
    make_shard(tmp_path, people=1, photos=1, reject="aging")
    for path in (tmp_path / "manifests/triplets").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no triplet to draw"):
        draw_sheet(tmp_path)
    assert "There is no triplet to show" in " ".join(report_of(tmp_path).text)


def test_report_is_whole_and_fetches_nothing(dataset: Path) -> None:
    (dataset / "run.json").write_text(
        json.dumps({"config": {"seed": 3}, "versions": {"fstriplets": "9.9"}, "weights": {"yunet": "ab12"}})
    )
    page = report_of(dataset, rows=4)
    text = " ".join(page.text)
    assert all(address.startswith("data:image/") for address in page.fetched)
    assert len(page.fetched) == 12
    assert "script" not in page.tags
    for data in page.fetched:
        pixels = ImageCodec.decode(base64.b64decode(data.partition(",")[2]))
        assert pixels.shape == (SIZE, SIZE, 3)
    assert sorted({alt.partition(":")[0] for alt in page.alts}) == sorted(ROLES)
    found = inspect_dataset(dataset)
    for word in (*found.kinds, *found.edits, *found.splits, "identity_max", "too alike", "CC0", "drawn"):
        assert word in text
    for word in ("9.9", "seed: 3", "yunet", "ab12", "research only"):
        assert word in text
    assert page.tags.count("svg") == len(count_histograms(Store(dataset))) > 0


def test_report_escapes_what_others_wrote(tmp_path: Path) -> None:
    """Licences and messages come from users' tables and file names."""
    evil = "<script>alert(1)</script>"
    (tmp_path / "run.json").write_text(json.dumps({"config": {"licence": evil}}))
    make_shard(tmp_path)
    folder = tmp_path / "manifests/photos"
    import pandas as pd

    for path in folder.iterdir():
        pd.read_parquet(path).assign(licence=evil, status="rejected", reason="x<y", message=evil).to_parquet(
            path
        )
    page = report_of(tmp_path)
    assert "script" not in page.tags
    assert " ".join(page.text).count(evil) >= 3


def test_report_is_the_same_every_time_and_anywhere(dataset: Path, tmp_path: Path) -> None:
    first = report_of(dataset).text
    assert report_of(dataset).text == first
    where = write_report(dataset, tmp_path / "elsewhere/r.html", rows=2)
    assert Path(where).read_text().startswith("<!doctype html>")
    assert str(tmp_path.parent) not in Path(where).read_text()


def test_datasets_behind_urls() -> None:
    url = "memory://inspected/dataset"
    make_shard(url)
    assert inspect_dataset(url).ok("triplets") > 0
    assert draw_sheet(url, rows=2).ndim == 3
    assert write_report(url) == f"{url}/report.html"
    assert Store(url).exists("report.html")


def test_histograms_count_every_row(dataset: Path) -> None:
    by_title = {(h.measure.manifest, h.measure.column): h for h in count_histograms(Store(dataset))}
    faces = read_manifest(str(dataset), "faces")
    edits = read_manifest(str(dataset), "edits").to_pandas()
    assert by_title["faces", "yaw"].total == faces.num_rows
    strength = by_title["edits", "strength"]
    assert strength.ok.sum() == (edits.status == "ok").sum()
    assert strength.other.sum() == (edits.status != "ok").sum()
    low, high = strength.edges[:-1][strength.ok + strength.other > 0][[0, -1]]
    assert low >= 0.45
    assert high <= 1.0
    assert ("faces", "similarity") not in by_title  # nobody measured it


def test_numbers_of_a_report_are_set_for_reading(dataset: Path) -> None:
    write_report(dataset)
    html = (dataset / "report.html").read_text()
    assert re.search(r'aria-label="[^"]*accepted and \d+ rejected', html)
    assert html.count("<th scope=") > 20
    assert "prefers-color-scheme: dark" in html
