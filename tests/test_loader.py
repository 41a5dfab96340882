"""The loader: every sample once, in an order that survives a change of ranks; nothing is executed."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dataset import SIZE, colour, make_shard
from torch.utils.data import DataLoader

from fstriplets import open_triplets
from fstriplets.errors import DatasetError
from fstriplets.shards import merge_states, read_manifest
from fstriplets.shards.urls import expand_braces, find_shards

ROOT = Path(__file__).resolve().parents[1]
SHARDS, SAMPLES = 6, 48  # samples: 3 people x 4 photos x 4 triplets, all of them accepted


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for number in range(SHARDS):
        make_shard(folder, number)
    make_shard(folder, 0, split="val", people=2)
    return folder


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(2):
        make_shard(folder, number, layout="faces")
    return folder


def keys(samples) -> list[str]:
    found: list[str] = []
    for sample in samples:
        found += [sample["__key__"]] if isinstance(sample["__key__"], str) else list(sample["__key__"])
    return found


def stored(folder: Path, split: str = "train") -> set[str]:
    rows = read_manifest(folder, "triplets").to_pylist()
    return {row["triplet_id"] for row in rows if row["split"] == split}


# ---- what comes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["dataset", "faces"])
def test_samples_are_the_members_of_their_ids(layout, request):
    folder = request.getfixturevalue(layout)
    rows = {row["triplet_id"]: row for row in read_manifest(folder, "triplets").to_pylist()}
    samples = list(open_triplets(folder))
    assert len(samples) == len({s["__key__"] for s in samples}) == len(stored(folder))
    for sample in samples[:40]:
        row, meta = rows[sample["__key__"]], sample["meta"]
        for role in ("source", "target", "result"):
            image = sample[role]
            assert (image.shape, image.dtype) == ((3, SIZE, SIZE), torch.float32)
            wanted = colour(row[f"{role}_id"])[0, 0]
            assert np.abs((image[:, 5, 5].numpy() + 1) * 127.5 - wanted).max() < 4
        assert meta["has_result"] is True
        for name in ("kind", "edit", "identity_id", "real", "strength", "licence", "weights_licence"):
            assert meta[name] == row[name]


def test_both_layouts_give_the_same_samples(tmp_path, faces):
    for number in range(2):
        make_shard(tmp_path, number)
    for ours, theirs in zip(open_triplets(tmp_path), open_triplets(faces), strict=True):
        assert ours["__key__"] == theirs["__key__"]
        assert torch.equal(ours["target"], theirs["target"])
        assert ours["meta"] == theirs["meta"]


def test_batches_and_samples_agree(dataset):
    single = list(open_triplets(dataset))
    batches = list(open_triplets(dataset, batch_size=7))
    assert [len(b["source"]) for b in batches] == [7] * 41 + [1]
    assert len(list(open_triplets(dataset, batch_size=7, drop_last=True))) == 41
    assert keys(batches) == keys(single)
    assert torch.equal(batches[3]["result"], torch.stack([s["result"] for s in single[21:28]]))
    assert batches[3]["meta"]["kind"] == [s["meta"]["kind"] for s in single[21:28]]
    assert batches[3]["meta"]["has_result"].dtype == torch.bool


def test_uint8_and_image_size(dataset):
    image = next(iter(open_triplets(dataset, dtype=torch.uint8, image_size=16)))["source"]
    assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)
    float_image = next(iter(open_triplets(dataset, image_size=16)))["source"]
    assert torch.allclose(image.float() / 127.5 - 1, float_image, atol=1e-6)
    assert next(iter(open_triplets(dataset, image_size=64)))["source"].shape == (3, 64, 64)


# ---- which shards -------------------------------------------------------------------------------


def test_datasets_lists_and_patterns(dataset):
    tar = dataset / "shards/train"
    everything = keys(open_triplets(dataset))
    assert keys(open_triplets(str(tar / "train-{000000..000005}.tar"))) == everything
    assert keys(open_triplets([tar / f"train-{i:06d}.tar" for i in range(6)])) == everything
    assert keys(open_triplets(str(tar / "*.tar"))) == everything
    assert set(keys(open_triplets(dataset, split="val"))) == stored(dataset, "val")
    assert open_triplets(dataset).stored == SHARDS * SAMPLES
    assert expand_braces("{a,b}-{8..10}") == ["a-8", "a-9", "a-10", "b-8", "b-9", "b-10"]


def test_uncommitted_shards_are_not_read(dataset, tmp_path):
    make_shard(tmp_path, 0)
    make_shard(tmp_path, 1)
    (tmp_path / "stats/train/train-000001.json").unlink()
    assert len(find_shards(tmp_path)) == 1


def test_datasets_in_memory():
    from fstriplets.shards import Store

    make_shard(Store("memory://loader"), 0)
    make_shard(Store("memory://loader-faces"), 0, layout="faces")
    assert keys(open_triplets("memory://loader")) == keys(open_triplets("memory://loader-faces"))


@pytest.mark.parametrize(
    ("urls", "split", "words"),
    [
        ("nowhere", None, "no fstriplets dataset"),
        ("{dataset}", "test", "it has: train, val"),
        ("pipe:touch {dataset}/pwned", None, "refused"),
        ([], None, "no shards"),
        (["a/x.tar", "a/x.tar"], None, "twice"),
        ("{dataset}/shards/train/z*.tar", None, "no shards"),
    ],
)
def test_what_cannot_be_opened_is_told(dataset, urls, split, words):
    if isinstance(urls, str):
        urls = urls.format(dataset=dataset)
    with pytest.raises(DatasetError, match=words):
        open_triplets(urls, split=split)
    assert not (dataset / "pwned").exists()


def test_bad_arguments_are_told(dataset):
    with pytest.raises(ValueError, match="together less than 1"):
        open_triplets(dataset, vanilla=0.9, vanilla_same=0.2)
    with pytest.raises(ValueError, match="rank"):
        open_triplets(dataset, rank=2, world_size=2)
    with pytest.raises(ValueError, match="on_error"):
        open_triplets(dataset, on_error="ignore")
    with pytest.raises(ValueError, match="dtype"):
        open_triplets(dataset, dtype=torch.float16)


# ---- order --------------------------------------------------------------------------------------


def test_shuffling_is_seeded_by_seed_and_epoch(dataset):
    def order(seed: int, epoch: int) -> list[str]:
        return keys(open_triplets(dataset, shuffle=20, seed=seed, epoch=epoch))

    first = order(0, 0)
    assert first == order(0, 0)
    assert (
        len({tuple(first), tuple(order(0, 1)), tuple(order(1, 0)), tuple(keys(open_triplets(dataset)))}) == 4
    )
    assert set(first) == stored(dataset)
    again = open_triplets(dataset, shuffle=20)
    again.set_epoch(1)
    assert keys(again) == order(0, 1)


def test_shuffled_neighbours_come_from_several_shards(dataset):
    shards = [s["meta"]["shard"] for s in open_triplets(dataset, shuffle=20)]
    assert len(set(shards[:16])) >= 3


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (2, 0), (2, 2), (3, 1)])
def test_ranks_and_workers_share_the_shards(dataset, world, workers):
    found: list[str] = []
    for rank in range(world):
        ours = open_triplets(dataset, shuffle=20, rank=rank, world_size=world, batch_size=5)
        mine = keys(DataLoader(ours, batch_size=None, num_workers=workers))
        assert 0 < len(mine) < SHARDS * SAMPLES or world == 1
        found += mine
    assert len(found) == len(set(found)) == SHARDS * SAMPLES


def test_torch_collates_single_samples(dataset):
    batch = next(iter(DataLoader(open_triplets(dataset), batch_size=4)))
    assert batch["source"].shape == (4, 3, SIZE, SIZE)
    assert len(batch["meta"]["kind"]) == 4


def test_persistent_workers_see_the_epoch(dataset):
    ours = open_triplets(dataset, shuffle=20, batch_size=8)
    loader = DataLoader(ours, batch_size=None, num_workers=1, persistent_workers=True)
    first = keys(loader)
    ours.set_epoch(1)
    second = keys(loader)
    assert first != second
    assert set(first) == set(second)
    assert second == keys(open_triplets(dataset, shuffle=20, batch_size=8, epoch=1))


def test_more_readers_than_shards_warns(dataset):
    with pytest.warns(UserWarning, match="6 shards for 8 readers"):
        list(open_triplets(dataset, rank=0, world_size=8))
    assert list(open_triplets(dataset, rank=7, world_size=8)) == []


def test_ranks_come_from_the_launcher(dataset, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert keys(open_triplets(dataset)) == keys(open_triplets(dataset, rank=1, world_size=2))


# ---- vanilla ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["dataset", "faces"])
def test_vanilla_samples_come_in_their_shares(layout, request):
    folder = request.getfixturevalue(layout)
    samples = list(open_triplets(folder, vanilla=0.6, vanilla_same=0.112))
    kinds = Counter(s["meta"]["kind"] for s in samples)
    assert kinds["vanilla"] / len(samples) == pytest.approx(0.6, abs=0.01)
    assert kinds["vanilla_same"] / len(samples) == pytest.approx(0.112, abs=0.01)
    assert len(samples) - kinds["vanilla"] - kinds["vanilla_same"] == len(stored(folder))
    known = {row["face_id"]: row["identity_id"] for row in read_manifest(folder, "faces").to_pylist()}
    for sample in samples:
        meta = sample["meta"]
        if meta["kind"] == "vanilla":
            assert known[meta["source_id"]] == meta["identity_id"]
            assert known[meta["target_id"]] == meta["target_identity_id"] != meta["identity_id"]
            assert meta["has_result"] is False
            assert not sample["result"].any()
        elif meta["kind"] == "vanilla_same":
            assert meta["source_id"] in known
            assert meta["has_result"] is True
            assert torch.equal(sample["source"], sample["target"])
            assert torch.equal(sample["source"], sample["result"])
        wanted = colour(meta["target_id"])[0, 0]
        assert np.abs((sample["target"][:, 5, 5].numpy() + 1) * 127.5 - wanted).max() < 4


def test_vanilla_batches_keep_one_shape(dataset):
    batch = next(iter(open_triplets(dataset, vanilla=0.5, batch_size=32)))
    assert batch["result"].shape == (32, 3, SIZE, SIZE)
    assert 8 < int(batch["meta"]["has_result"].sum()) < 24


def test_one_person_alone_gives_no_vanilla(tmp_path):
    make_shard(tmp_path, 0, people=1)
    kinds = {s["meta"]["kind"] for s in open_triplets(tmp_path, vanilla=0.5)}
    assert "vanilla" not in kinds


# ---- fresh pairs --------------------------------------------------------------------------------


def test_fresh_pairs_meet_other_photos_each_epoch(faces):
    def pairs(epoch: int) -> list[dict]:
        samples = open_triplets(faces, fresh_pairs=True, epoch=epoch)
        return [s for s in samples if s["meta"]["kind"] == "pair_identity"]

    photos = {row["face_id"]: row["identity_id"] for row in read_manifest(faces, "faces").to_pylist()}
    met: dict[str, set[str]] = {}
    for epoch in range(12):
        for sample in pairs(epoch):
            meta = sample["meta"]
            assert photos[meta["source_id"]] == meta["identity_id"]
            assert meta["source_id"] != meta["result_id"]
            assert meta["licence"] == "CC0"
            wanted = colour(meta["source_id"])[0, 0]
            assert np.abs((sample["source"][:, 5, 5].numpy() + 1) * 127.5 - wanted).max() < 4
            met.setdefault(meta["target_id"], set()).add(meta["source_id"])
    assert {len(sources) for sources in met.values()} == {3}  # four photos: all the others
    assert keys(pairs(3)) == keys(pairs(3))


def test_fresh_pairs_need_the_faces_layout(dataset):
    with pytest.raises(DatasetError, match="layout: faces"):
        list(open_triplets(dataset, fresh_pairs=True))


# ---- resume -------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(
    stop=st.integers(0, 500),
    ranks=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    epoch=st.integers(0, 3),
)
def test_resume_with_other_ranks_repeats_and_skips_nothing(dataset, stop, ranks, epoch):
    settings_ = {"shuffle": 20, "vanilla": 0.3, "vanilla_same": 0.1, "epoch": epoch}
    before, after = ranks

    def positions(samples) -> list[tuple[str, int]]:
        return [(s["meta"]["shard"], s["meta"]["index"]) for s in samples]

    whole = Counter(positions(open_triplets(dataset, **settings_)))
    seen: Counter[tuple[str, int]] = Counter()
    states = []
    for rank in range(before):
        ours = open_triplets(dataset, **settings_, rank=rank, world_size=before)
        seen.update(positions(islice(ours, stop // before)))
        states.append(json.loads(json.dumps(ours.state_dict())))
    state = merge_states(states)
    assert seen == Counter((name, i) for name, count in state["done"].items() for i in range(count))
    for rank in range(after):
        rest = open_triplets(dataset, **{**settings_, "epoch": 0}, rank=rank, world_size=after)
        rest.load_state_dict(state)
        seen.update(positions(rest))
    assert seen == whole


def test_resume_behind_workers_counts_what_was_marked(dataset):
    ours = open_triplets(dataset, shuffle=20, batch_size=8)
    loader = iter(DataLoader(ours, batch_size=None, num_workers=2))
    used: list[str] = []
    for _ in range(9):  # the workers are further ahead than this
        batch = next(loader)
        used += batch["__key__"]
        ours.mark(batch)
    rest = open_triplets(dataset, shuffle=20, batch_size=8)
    rest.load_state_dict(ours.state_dict())
    left = keys(DataLoader(rest, batch_size=None, num_workers=1))
    assert len(used) + len(left) == SHARDS * SAMPLES
    assert set(used) | set(left) == stored(dataset)


def test_a_state_of_another_loader_is_refused(dataset):
    state = open_triplets(dataset, shuffle=20).state_dict()
    with pytest.raises(DatasetError, match="repeated and skipped"):
        open_triplets(dataset, shuffle=30).load_state_dict(state)
    with pytest.raises(DatasetError, match=r"other\.tar"):
        open_triplets(dataset, shuffle=20).load_state_dict({**state, "done": {"other.tar": 3}})
    with pytest.raises(DatasetError, match="cannot be merged"):
        merge_states([state, {**state, "epoch": 4}])


def test_a_new_epoch_starts_from_the_beginning(dataset):
    ours = open_triplets(dataset, shuffle=20)
    assert len(list(ours)) == SHARDS * SAMPLES
    assert list(ours) == []  # this epoch is used up
    ours.set_epoch(1)
    assert len(list(ours)) == SHARDS * SAMPLES


# ---- damage -------------------------------------------------------------------------------------


def rewrite(path: Path, change) -> None:
    """Write the tar again with its members changed by `change(name, data) -> data or None`."""
    with tarfile.open(path) as tar:
        members = [(m.name, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            data = change(name, data)
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _victim(folder: Path) -> tuple[Path, str]:
    path = folder / "shards/train/train-000000.tar"
    with tarfile.open(path) as tar:
        return path, tar.getnames()[20].partition(".")[0]


@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        ("source.jpg", b"no image", "source is not a readable image"),
        ("target.jpg", b"", "target is not a readable image"),
        ("result.jpg", None, "has no member .*result"),
        ("json", b"{", "json is no sample record"),
        ("json", b"[]", "json is no sample record"),
        ("json", b'{"real": "source", "identity_id": "a"}', "no sample record .*source_id"),
    ],
)
def test_a_damaged_member_is_named_or_skipped(tmp_path, member, content, words):
    make_shard(tmp_path)
    path, key = _victim(tmp_path)
    rewrite(path, lambda name, data: content if name == f"{key}.{member}" else data)
    with pytest.raises(DatasetError, match=words) as caught:
        list(open_triplets(tmp_path))
    assert "train-000000.tar" in str(caught.value)
    assert key in str(caught.value)
    ours = open_triplets(tmp_path, on_error="skip", batch_size=8)
    assert set(keys(ours)) == stored(tmp_path) - {key}
    assert ours.skipped == 1


def test_skips_in_workers_are_counted(tmp_path):
    make_shard(tmp_path)
    path, key = _victim(tmp_path)
    rewrite(path, lambda name, data: b"no image" if name == f"{key}.source.jpg" else data)
    with pytest.raises(DatasetError, match=f"{key}.source"):
        keys(DataLoader(open_triplets(tmp_path), batch_size=None, num_workers=1))
    ours = open_triplets(tmp_path, on_error="skip", batch_size=8)
    assert len(keys(DataLoader(ours, batch_size=None, num_workers=1))) == SAMPLES - 1
    assert ours.skipped == 1


def _cut_at_header(path: Path) -> None:
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[40].offset
    path.write_bytes(path.read_bytes()[:offset])


def _cut_in_member(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_100])


def _spoil_header(path: Path) -> None:
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[40].offset
    data = bytearray(path.read_bytes())
    data[offset + 3] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut_at_header, "cut short"),
        (_cut_in_member, "cut short"),
        (_spoil_header, "checksum"),
        (Path.unlink, "missing"),
    ],
)
def test_a_damaged_shard_is_an_error_or_counted(tmp_path, damage, words):
    make_shard(tmp_path, 0)
    make_shard(tmp_path, 1)
    damage(tmp_path / "shards/train/train-000000.tar")
    with pytest.raises(DatasetError, match=words):
        list(open_triplets(tmp_path))
    ours = open_triplets(tmp_path, on_error="skip")
    assert SAMPLES <= len(list(ours)) < 2 * SAMPLES
    assert ours.skipped == 1


def test_a_faces_shard_without_its_table_is_told(tmp_path):
    make_shard(tmp_path, layout="faces")
    (tmp_path / "manifests/triplets/train-000000.parquet").unlink()
    with pytest.raises(DatasetError, match=r"triplets/train-000000\.parquet"):
        list(open_triplets(tmp_path))


def test_members_are_never_executed_or_extracted(tmp_path, monkeypatch):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    make_shard(tmp_path)
    path, key = _victim(tmp_path)
    monkeypatch.chdir(tmp_path)
    with tarfile.open(path) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
            if member.name == f"{key}.target.jpg":
                for name in (f"{key}.pyd", f"{key}.pkl"):
                    info = tarfile.TarInfo(name)
                    info.size = len(pickle.dumps(Bomb()))
                    tar.addfile(info, io.BytesIO(pickle.dumps(Bomb())))
        link = tarfile.TarInfo(f"{key}z.link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    assert set(keys(open_triplets(tmp_path))) == stored(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


# ---- the snippets in the documentation ----------------------------------------------------------


def snippets() -> dict[str, str]:
    """Marked code blocks of docs/formats.md and README.md by place and name."""
    found = {}
    for page in (ROOT / "docs" / "formats.md", ROOT / "README.md"):
        pattern = r"<!-- snippet: (\w+) -->\n```python\n(.*?)```"
        for name, code in re.findall(pattern, page.read_text(), re.DOTALL):
            found[f"{page.name}:{name}"] = code
    return found


def test_the_pages_show_all_ways_to_read():
    assert {f"formats.md:{n}" for n in ("fstriplets", "webdataset", "datasets", "duckdb", "range")} <= set(
        snippets()
    )


@pytest.mark.parametrize("name", sorted(snippets()))
def test_snippets_run_as_printed(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        make_shard("demo-out", number)
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(compile(snippets()[name], name, "exec"), scope)
    printed = capsys.readouterr().out
    if "print(" in snippets()[name] and "duckdb" not in name:
        assert {line.split()[0] for line in printed.splitlines()} == stored(tmp_path / "demo-out")
    elif "duckdb" in name:
        assert "CC0" in printed
    elif "range" in name:
        row = scope["row"]
        assert np.abs(scope["pixels"].astype(int) - colour(row["result_id"])).max() < 4
    else:
        assert scope["batch"]["result"].shape[1:] == (3, SIZE, SIZE)
