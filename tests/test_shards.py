"""Shards: readable by everybody, the same bytes each time, committed whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dataset import SIZE, colour, make_face, make_shard

import fstriplets.shards.store as store_module
from fstriplets.errors import ConfigError, MissingDependency, OutputError
from fstriplets.records import Edit, Triplet, schema
from fstriplets.shards import (
    MANIFESTS,
    ImageCodec,
    Sample,
    ShardStats,
    Store,
    iter_manifest,
    list_stats,
    read_manifest,
    read_stats,
    verify_shard,
    write_shard,
)
from fstriplets.shards.tar import END, header, padding
from fstriplets.shards.urls import ShardUrl
from fstriplets.shards.writer import _META

FORMATS = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
NAME = ("train-000000", "train")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, with its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


# ---- the tar ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text("0123456789abcdef", min_size=1, max_size=90), st.binary(max_size=2000), max_size=5
    )
)
def test_own_headers_are_plain_ustar(files):
    parts = [header(n, len(d)) + d + padding(len(d)) for n, d in files.items()]
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts) + END)) as tar:
        found = list(tar)
        assert {m.name: tar.extractfile(m).read() for m in found} == files
    for member in found:
        assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
        assert member.isreg()
        assert not member.pax_headers


def test_header_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="ustar"):
        header("k" * 101, 1)
    with pytest.raises(ValueError, match="ustar"):
        header("k", 8**11)


def test_every_reader_sees_the_same_bytes(tmp_path, monkeypatch):
    from datasets import load_dataset

    from fstriplets.shards.stream import read_samples

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    make_shard(tmp_path)
    path = tmp_path / "shards/train/train-000000.tar"
    plain = members_of(path)
    ours = {s.key: s for s in read_samples(ShardUrl(str(path), "train-000000.tar"))}
    samples = list(wds.WebDataset([str(path)], shardshuffle=False))
    hugging = load_dataset("webdataset", data_files=str(path), split="train", streaming=True).decode(False)
    theirs = {sample["__key__"]: sample for sample in hugging}
    assert len(samples) == len(ours) == len(theirs) == len(plain) / 4
    for sample in samples:
        key = sample["__key__"]
        for role in ("source", "target", "result"):
            member = plain[f"{key}.{role}.jpg"]
            assert sample[f"{role}.jpg"] == member == bytes(getattr(ours[key], role))
            assert theirs[key][f"{role}.jpg"]["bytes"] == member
        assert (
            json.loads(sample["json"])
            == json.loads(plain[f"{key}.json"])
            == ours[key].meta
            == theirs[key]["json"]
        )


def test_members_keep_their_order_and_json_its_keys(tmp_path):
    make_shard(tmp_path)
    members = members_of(tmp_path / "shards/train/train-000000.tar")
    names = list(members)
    keys = [name.partition(".")[0] for name in names[::4]]
    assert keys == sorted(set(keys))
    suffixes = ("json", "result.jpg", "source.jpg", "target.jpg")
    assert names == [f"{key}.{suffix}" for key in keys for suffix in suffixes]
    for key in keys:
        meta = json.loads(members[f"{key}.json"])
        assert set(meta) == {*_META, "strength"}
        assert None not in meta.values()
        assert isinstance(meta["strength"], float)


def test_members_hold_the_images_of_their_ids(tmp_path):
    make_shard(tmp_path)
    members = members_of(tmp_path / "shards/train/train-000000.tar")
    for row in read_manifest(tmp_path, "triplets").to_pylist():
        for role in ("source", "target", "result"):
            pixels = ImageCodec.decode(members[f"{row['triplet_id']}.{role}.jpg"])
            assert np.abs(pixels.astype(int) - colour(row[f"{role}_id"])).max() <= 3


@pytest.mark.parametrize("layout", ["triplets", "faces"])
@pytest.mark.parametrize("url", ["folder", "memory://offsets"])
def test_offsets_give_the_members_by_range_read(tmp_path, layout, url):
    store = Store(tmp_path if url == "folder" else f"{url}-{layout}")
    make_shard(store, layout=layout)
    with tarfile.open(fileobj=io.BytesIO(store.read("shards/train/train-000000.tar"))) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    for row in read_manifest(store, "triplets").to_pylist():
        tar_path = f"shards/{row['split']}/{row['shard']}.tar"
        for role in ("source", "target", "result"):
            name = f"{row['triplet_id']}.{role}.jpg" if layout == "triplets" else f"{row[role + '_id']}.jpg"
            data = store.read_range(tar_path, row[f"{role}_offset"], row[f"{role}_size"])
            assert data == members[name]


def test_faces_layout_stores_each_image_once(tmp_path):
    stats = make_shard(tmp_path / "f", layout="faces")
    whole = make_shard(tmp_path / "t")
    assert stats.layout == "faces"
    assert stats.bytes < whole.bytes / 2
    members = members_of(tmp_path / "f/shards/train/train-000000.tar")
    names = [name for name in members if name.endswith(".jpg")]
    assert len(names) == stats.samples
    rows = read_manifest(tmp_path / "f", "triplets").to_pylist()
    used = {row[f"{role}_id"] for row in rows for role in ("source", "target", "result")}
    assert {name.removesuffix(".jpg") for name in names} == used
    face = json.loads(members[next(name for name in members if name.endswith(".json"))])
    assert face["licence"] == "CC0"
    assert None not in face.values()


# ---- same bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["triplets", "faces"])
def test_rewriting_gives_the_same_bytes(tmp_path, layout):
    for name in ("a", "b"):
        make_shard(tmp_path / name, layout=layout, reject="grin")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    make_shard(tmp_path / "a", layout=layout, reject="grin")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_order_of_samples_does_not_matter(tmp_path):
    triplets = [_triplet(f"{i:020d}") for i in range(6)]
    samples = [Sample(t, b"s" + t.triplet_id.encode(), b"t", b"r") for t in triplets]
    for name, order in (("a", samples), ("b", samples[::-1])):
        write_shard(Store(tmp_path / name), *NAME, order, {}, "h")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_two_equal_keys_are_refused(tmp_path):
    sample = Sample(_triplet("k" * 20), b"", b"", b"")
    with pytest.raises(ValueError, match="kkkk"):
        write_shard(Store(tmp_path), *NAME, [sample, sample], {}, "h")


def test_a_triplet_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="was not given"):
        write_shard(Store(tmp_path), *NAME, [], {"triplets": [_triplet("k" * 20)]}, "h")


def _triplet(key: str) -> Triplet:
    return Triplet(key, "identity_target", "p", "a", "e", "a", "source", "aging", "e", 1, "none", "", "")


# ---- manifests ----------------------------------------------------------------------------------


def test_manifests_have_the_schemas_and_all_rows(tmp_path):
    stats = make_shard(tmp_path, reject="grin")
    for name in MANIFESTS:
        part = pq.read_table(tmp_path / f"manifests/{name}/train-000000.parquet")
        assert part.schema.equals(schema(name))
        assert set(part.column("split").to_pylist()) == {"train"}
        assert len(pd.read_parquet(tmp_path / f"manifests/{name}")) == part.num_rows
    rows = read_manifest(tmp_path, "triplets").to_pylist()
    rejected = [row for row in rows if row["status"] == "rejected"]
    assert rejected
    assert {row["edit"] for row in rejected} == {"grin"}
    assert {row["reason"] for row in rejected} == {"identity_max"}
    assert all(row["shard"] is None and row["source_offset"] is None for row in rejected)
    assert stats.counts["triplets_rejected"] == len(rejected)
    assert stats.counts["triplets_ok"] == stats.samples == len(rows) - len(rejected)


def test_records_become_rows(tmp_path):
    face = make_face("p", 0, attributes={"b": 2.0, "a": 1.0}, embedding=(0.6, 0.8))
    edit = Edit("e", "f", "p", "aging", 0.5, "warp", "fp", 2**62, values={"changed_area": 0.25, "x": 1.0})
    write_shard(Store(tmp_path), *NAME, [], {"faces": [face], "edits": [edit]}, "h")
    row = read_manifest(tmp_path, "faces").to_pylist()[0]
    assert row["landmarks"][:4] == [10.0, 12.0, 22.0, 12.0]
    assert row["attributes"] == [("a", 1.0), ("b", 2.0)]
    assert row["embedding"] == pytest.approx([0.6, 0.8])
    row = read_manifest(tmp_path, "edits").to_pylist()[0]
    assert (row["changed_area"], row["inside_change"], row["seed"]) == (0.25, None, 2**62)
    assert row["attribute_scores"] == [("x", 1.0)]


def test_unknown_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no column sha265"):
        write_shard(
            Store(tmp_path), *NAME, [], {"photos": [{"photo_id": "a", "status": "ok", "sha265": ""}]}, "h"
        )


def test_read_manifest_takes_all_parts_and_only_the_columns_asked_for(tmp_path):
    for number, split in ((0, "train"), (1, "train"), (0, "val")):
        make_shard(tmp_path, number, split=split, people=1)
    table = read_manifest(str(tmp_path), "faces", ["face_id", "yaw"])
    assert table.column_names == ["face_id", "yaw"]
    assert table.num_rows == 3 * 4
    assert len(list(iter_manifest(tmp_path, "faces", split="val"))) == 1
    empty = read_manifest(tmp_path / "none", "edits", ["edit"])
    assert (empty.num_rows, empty.column_names) == (0, ["edit"])


# ---- commit -------------------------------------------------------------------------------------


class Killed(BaseException):
    """A kill between two writes."""


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("half", [False, True])
def test_killed_at_any_write_the_shard_does_not_count(tmp_path, monkeypatch, former, step, half):
    make_shard(tmp_path / "whole", people=2)
    if former:  # a shard of another plan lies there already
        make_shard(tmp_path / "cut", people=1)
    steps = iter(range(100))
    real = Store.write

    def write(self, path, data):
        if next(steps) != step:
            return real(self, path, data)
        if half:

            def some():
                yield (data if isinstance(data, bytes) else next(iter(data)))[:100]
                raise Killed

            return real(self, path, some())
        raise Killed

    monkeypatch.setattr(Store, "write", write)
    with pytest.raises(Killed):
        make_shard(tmp_path / "cut", people=2)
    monkeypatch.undo()
    store = Store(tmp_path / "cut")
    assert read_stats(store, *NAME) is None
    assert verify_shard(store, *NAME)
    assert not list((tmp_path / "cut").rglob(".*.fstmp"))
    make_shard(store, people=2)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_kill_nine_leaves_only_what_sweep_takes_away(tmp_path):
    script = f"""
import os, signal
from fstriplets.shards import Store
def chunks():
    yield b"x" * 1000
    os.kill(os.getpid(), signal.SIGKILL)
Store({str(tmp_path)!r}).write("shards/a.tar", chunks())
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    left = list(tmp_path.rglob(".*"))
    assert len(left) == 1
    store = Store(tmp_path)
    assert store.list("shards") == []
    foreign = tmp_path / "shards" / "notes.fstmp"
    living = left[0].with_name(left[0].name.replace(left[0].name.split("-")[1], str(os.getppid())))
    other_host = tmp_path / ".b.tar.00000000-1-0123abcd.fstmp"
    for path in (foreign, living, other_host):
        path.touch()
    assert store.sweep() == 1
    assert not left[0].exists()
    assert foreign.exists()
    assert living.exists()
    assert other_host.exists()
    os.utime(other_host, (0, 0))
    assert store.sweep() == 1
    assert not other_host.exists()


def test_nothing_accepted_gives_manifests_and_stats_but_no_tar(tmp_path):
    make_shard(tmp_path)
    rejected = [
        Triplet(**{**{k: getattr(_triplet("k"), k) for k in Triplet.__slots__}, "status": "rejected"})
    ]
    stats = write_shard(Store(tmp_path), *NAME, [], {"triplets": rejected}, "h")
    assert (stats.samples, stats.bytes, stats.sha256) == (0, 0, "")
    assert not (tmp_path / "shards/train/train-000000.tar").exists()
    assert verify_shard(Store(tmp_path), *NAME, deep=True) == []
    assert read_manifest(tmp_path, "triplets").num_rows == 1


def test_stats_say_what_was_written(tmp_path):
    stats = make_shard(tmp_path, number=3)
    store = Store(tmp_path)
    assert read_stats(store, "train-000003", "train") == stats
    assert list(list_stats(store)) == [stats]
    data = (tmp_path / "shards/train/train-000003.tar").read_bytes()
    assert (stats.bytes, stats.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    for name in MANIFESTS:
        part = (tmp_path / f"manifests/{name}/train-000003.parquet").read_bytes()
        assert (stats.manifest_bytes[name], stats.manifests[name]) == (
            len(part),
            hashlib.sha256(part).hexdigest(),
        )
    (tmp_path / "stats/train/train-000003.json").write_text("{")
    with pytest.raises(OutputError, match=r"train-000003\.json"):
        read_stats(store, "train-000003", "train")
    assert "train-000003.json" in verify_shard(store, "train-000003", "train")[0]


# ---- damage -------------------------------------------------------------------------------------


def _cut_at_header(path: Path) -> None:
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[8].offset
    path.write_bytes(path.read_bytes()[:offset])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "file", "cheap", "word"),
    [
        (_cut_at_header, "shards/train/train-000000.tar", True, "cut"),
        (_flip, "shards/train/train-000000.tar", False, "sha256"),
        (_flip, "manifests/edits/train-000000.parquet", False, "sha256"),
        (Path.unlink, "manifests/faces/train-000000.parquet", True, "missing"),
        (Path.unlink, "shards/train/train-000000.tar", True, "missing"),
    ],
)
def test_damage_is_found(tmp_path, damage, file, cheap, word):
    make_shard(tmp_path)
    store = Store(tmp_path)
    assert verify_shard(store, *NAME, deep=True) == []
    damage(tmp_path / file)
    assert bool(verify_shard(store, *NAME)) == cheap
    problems = verify_shard(store, *NAME, deep=True)
    assert len(problems) == 1
    assert file in problems[0]
    assert word in problems[0]


# ---- places -------------------------------------------------------------------------------------


def test_a_shard_in_memory_is_the_shard_on_disk(tmp_path):
    store = Store("memory://same")
    make_shard(store)
    make_shard(tmp_path)
    found = tree(tmp_path)
    assert {path: hashlib.sha256(store.read(path)).hexdigest() for path in found} == found
    assert verify_shard(store, *NAME, deep=True) == []


def test_a_relative_folder_means_the_same_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store("out").url == str(tmp_path / "out") == Store(f"file://{tmp_path}/out/").url


def test_store_lists_removes_and_survives_pickling(tmp_path):
    import pickle

    store = pickle.loads(pickle.dumps(Store(tmp_path)))
    store.write("a/b/c.txt", b"1")
    store.write("a/d.txt", b"22")
    assert store.list("a") == ["a/d.txt"]
    assert store.listdir("a") == ["b", "d.txt"]
    assert (store.size("a/d.txt"), store.size("a/none")) == (2, None)
    assert store.exists("a/b/c.txt")
    store.remove("a")
    store.remove("a")
    assert store.listdir("") == []
    assert store.list("nowhere") == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "cannot be written"),
    ],
)
def test_a_disk_that_refuses_is_told_with_the_way_out(tmp_path, monkeypatch, code, words):
    def fsync(handle):
        raise OSError(code, os.strerror(code))

    store = Store(tmp_path)
    store.write("finished", b"1")
    monkeypatch.setattr(store_module.os, "fsync", fsync)
    with pytest.raises(OutputError, match=words) as caught:
        store.write("more", b"2")
    assert str(tmp_path) in str(caught.value)
    assert "--output" in str(caught.value)
    assert store.listdir("") == ["finished"]


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(OutputError, match="in the way"):
        Store(tmp_path / "out").write("a", b"")


def test_other_faults_pass_through(tmp_path, monkeypatch):
    monkeypatch.setattr(
        store_module.os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "io"))
    )
    with pytest.raises(OSError, match="io"):
        Store(tmp_path).write("a", b"")


def test_unknown_and_missing_drivers_are_told(monkeypatch):
    with pytest.raises(OutputError, match="nope"):
        Store("nope://x")

    def missing(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(store_module.fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingDependency, match=r"fstriplets\[s3\]"):
        Store("s3://bucket/x")


# ---- images -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "extension"), [("jpeg", "jpg"), ("png", "png"), ("webp", "webp")])
def test_codecs_keep_colours_and_are_repeatable(format, extension):
    codec = ImageCodec(format, 95)
    assert codec.extension == extension
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[..., 0] = 200  # red: a mix-up of RGB and BGR shows
    data = codec.encode(pixels)
    assert data == ImageCodec(format, 95).encode(pixels)
    decoded = codec.decode(data)
    assert np.abs(decoded.astype(int) - pixels).max() <= (0 if format == "png" else 4)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 1)[0, 0, 2] > 190


def test_jpeg_is_420():
    from PIL import Image
    from PIL.JpegImagePlugin import get_sampling

    data = ImageCodec("jpeg", 95).encode(np.zeros((16, 16, 3), np.uint8))
    assert get_sampling(Image.open(io.BytesIO(data))) == 2


def test_codec_refuses_what_is_no_image():
    with pytest.raises(ConfigError, match="jpeg, png, webp"):
        ImageCodec("gif")
    with pytest.raises(ValueError, match="uint8"):
        ImageCodec().encode(np.zeros((4, 4, 3), np.float32))
    for data in (b"", b"no image"):
        with pytest.raises(ValueError, match="not a readable image"):
            ImageCodec.decode(data)


@pytest.mark.parametrize("format", ["png", "webp"])
def test_shards_of_other_formats_read_back(tmp_path, format):
    make_shard(tmp_path, image_format=format, people=1)
    sample = next(iter(wds.WebDataset([str(tmp_path / "shards/train/train-000000.tar")], shardshuffle=False)))
    assert f"result.{format}" in sample


# ---- the page about it --------------------------------------------------------------------------


def _table(name: str) -> dict[str, str]:
    """Column -> type of a table in docs/formats.md."""
    text = FORMATS.read_text()
    block = re.search(rf"<!-- table: {name} -->\n(.*?)\n\n", text, re.DOTALL)
    assert block, f"docs/formats.md has no table {name}"
    rows = [row.split("|")[1:4] for row in block[1].splitlines()[2:]]
    assert all(meaning.strip() for _, _, meaning in rows)
    return {column.strip(" `"): kind.strip() for column, kind, _ in rows}


def _type_name(kind: object) -> str:
    return str(kind).replace("item: ", "").replace("element: ", "")


@pytest.mark.parametrize("name", [*MANIFESTS, "plan"])
def test_formats_page_lists_every_column(name):
    assert list(_table(name).items()) == [(f.name, _type_name(f.type)) for f in schema(name)]


def test_formats_page_lists_the_keys_of_json_and_stats(tmp_path):
    make_shard(tmp_path / "t")
    make_shard(tmp_path / "f", layout="faces")
    for table, folder in (("json", "t"), ("face-json", "f")):
        members = members_of(tmp_path / folder / "shards/train/train-000000.tar")
        meta = json.loads(next(data for name, data in members.items() if name.endswith(".json")))
        kinds = {"string": str, "float": float}
        assert {key: kinds[kind] for key, kind in _table(table).items()} == {
            k: type(v) for k, v in meta.items()
        }
    stats = asdict(make_shard(tmp_path / "t"))
    assert list(_table("stats")) == list(ShardStats.__slots__) == list(stats)


def test_duckdb_joins_a_triplet_to_its_photo(tmp_path):
    make_shard(tmp_path)
    found = duckdb.sql(f"""
        SELECT count(*), count(DISTINCT p.uri) FROM '{tmp_path}/manifests/triplets/*.parquet' t
        JOIN '{tmp_path}/manifests/edits/*.parquet' e USING (edit_id)
        JOIN '{tmp_path}/manifests/faces/*.parquet' f ON f.face_id = e.face_id
        JOIN '{tmp_path}/manifests/photos/*.parquet' p USING (photo_id)
    """).fetchall()
    assert found == [(read_manifest(tmp_path, "triplets").num_rows, 12)]


def test_photos_come_with_their_licence(tmp_path):
    make_shard(tmp_path)
    assert set(read_manifest(tmp_path, "photos").column("licence").to_pylist()) == {"CC0"}
