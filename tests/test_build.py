"""Whole builds over a tiny corpus of aligned crops, in process, with free editors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from faces_corpus import write_corpus

from fstriplets import build, load_config, read_manifest
from fstriplets.cli.summary import summary_lines
from fstriplets.config import PipelineConfig
from fstriplets.errors import CorpusError, OutputError
from fstriplets.faces.limits import RECOGNISERS

FREE = [
    "image_size=96", "detector=aligned", "landmarker=template", "pose_estimator=landmarks", "embedder=none",
    "editor=null", "edits=[aging, grin]", "triplets_per_shard=40", "triplets_per_photo=3",
    "duplicates.near=false", "quality.brightness=[0, 255]", "runtime.workers=0", "consent=drawn",
    "licence=CC0-1.0",
]  # fmt: skip


@pytest.fixture(scope="session")
def drawn_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), people=12)


def config_for(corpus: Path | str, output: Path, *more: str) -> PipelineConfig:
    return load_config(None, [*FREE, f"corpus={corpus}", f"output={output}", *more])


def digests(dataset: Path) -> dict[str, str]:
    """sha256 of everything that must not depend on how a dataset came to be."""
    files = [p for top in ("shards", "manifests", "stats") for p in sorted((dataset / top).rglob("*"))]
    return {
        str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()
    }


def test_a_build_gives_every_part_of_the_layout(drawn_corpus: Path, tmp_path: Path) -> None:
    report = build(config_for(drawn_corpus, tmp_path / "out"))
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {
        "shards", "manifests", "stats", "run.json", "croissant.json", "README.md", "report.html", "_SUCCESS",
    }  # fmt: skip
    assert report.photos == 60
    assert report.identities == 12
    triplets = read_manifest(tmp_path / "out", "triplets")
    assert report.triplets == triplets.num_rows == 60 * 3
    assert set(triplets["status"].to_pylist()) == {"ok"}
    assert set(triplets["licence"].to_pylist()) == {"CC0-1.0"}
    assert set(triplets["consent"].to_pylist()) == {"drawn"}
    assert set(triplets["kind"].to_pylist()) == set(report.kinds)


def test_no_person_is_in_two_splits(drawn_corpus: Path, tmp_path: Path) -> None:
    build(config_for(drawn_corpus, tmp_path / "out", "splits={train: 1, val: 1}"))
    rows = read_manifest(tmp_path / "out", "triplets", ["identity_id", "split"]).to_pylist()
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["identity_id"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "val"}


def test_the_same_build_gives_the_same_bytes_and_a_second_run_does_nothing(
    drawn_corpus: Path, tmp_path: Path
) -> None:
    build(config_for(drawn_corpus, tmp_path / "a"))
    build(config_for(drawn_corpus, tmp_path / "b"))
    before = digests(tmp_path / "a")
    assert before == digests(tmp_path / "b")
    report = build(config_for(drawn_corpus, tmp_path / "a"))
    assert report.shards_resumed == sum(report.shards.values()) > 1
    assert digests(tmp_path / "a") == before


def test_a_lost_shard_is_made_again_to_the_byte(drawn_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(config_for(drawn_corpus, out))
    before = digests(out)
    tars = sorted(out.glob("shards/*/*.tar"))
    tars[0].write_bytes(tars[0].read_bytes()[:-2048])
    next(out.glob("stats/*/*.json")).unlink()
    build(config_for(drawn_corpus, out))
    assert digests(out) == before


def test_verify_finds_a_flipped_bit(drawn_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(config_for(drawn_corpus, out))
    before = digests(out)
    tar = sorted(out.glob("shards/*/*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    build(config_for(drawn_corpus, out))
    assert digests(out) != before, "sizes alone cannot tell"
    build(config_for(drawn_corpus, out), verify=True)
    assert digests(out) == before


def test_a_grown_corpus_adds_shards_and_leaves_the_others_alone(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=6)
    out = tmp_path / "out"
    build(config_for(corpus, out))
    before = digests(out)
    write_corpus(corpus, people=9)  # three new people, sorted behind the others
    write_corpus(corpus, people=1, photos=7)  # two more photos of a person already built
    report = build(config_for(corpus, out))
    after = digests(out)
    assert {name: after[name] for name in before} == before
    assert report.identities == 9
    assert report.frozen == 2
    photos = read_manifest(out, "photos").to_pylist()
    assert sum(row["reason"] == "identity_frozen" for row in photos) == 2
    assert len({row["photo_id"] for row in photos}) == len(photos) == 9 * 5 + 2


def test_limit_then_all_covers_everybody_once(drawn_corpus: Path, tmp_path: Path) -> None:
    few = build(config_for(drawn_corpus, tmp_path / "out"), limit=3)
    assert few.identities == 3
    report = build(config_for(drawn_corpus, tmp_path / "out"))
    assert report.identities == 12
    keys = read_manifest(tmp_path / "out", "triplets")["triplet_id"].to_pylist()
    assert len(set(keys)) == len(keys) == 180


def test_people_with_too_few_photos_are_turned_down_whole_with_rows(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=3)
    write_corpus(tmp_path / "corpus" / "few", people=0)
    for name in ("0.png", "1.png"):
        (corpus / "p002" / name).unlink()
    build(config_for(corpus, tmp_path / "out"))
    rows = [r for r in read_manifest(tmp_path / "out", "photos").to_pylist() if r["identity_id"] == "p002"]
    assert [row["reason"] for row in rows] == ["too_few_images"] * 3
    assert "min_images is 5" in rows[0]["message"]


def test_bad_photos_are_rows_and_the_run_goes_on(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=2, photos=8)
    (corpus / "p000" / "0.png").write_bytes(b"not a photo at all")
    (corpus / "p000" / "1.png").write_bytes((corpus / "p000" / "2.png").read_bytes())
    report = build(config_for(corpus, tmp_path / "out"))
    rows = {r["uri"]: r for r in read_manifest(tmp_path / "out", "photos").to_pylist()}
    assert rows["p000/0.png"]["status"] != "ok"
    assert rows["p000/0.png"]["message"]
    assert rows["p000/2.png"]["reason"] == "duplicate"
    assert rows["p000/2.png"]["duplicate_of"] == rows["p000/1.png"]["photo_id"]
    assert report.identities == 2


def test_another_config_is_refused_and_names_the_key(drawn_corpus: Path, tmp_path: Path) -> None:
    build(config_for(drawn_corpus, tmp_path / "out"))
    before = digests(tmp_path / "out")
    with pytest.raises(OutputError, match="seed: 0 then, 1 now"):
        build(config_for(drawn_corpus, tmp_path / "out", "seed=1"))
    assert digests(tmp_path / "out") == before
    build(config_for(drawn_corpus, tmp_path / "out", "seed=1"), overwrite=True)
    assert digests(tmp_path / "out") != before


def test_a_build_that_never_planned_does_not_hold_the_output(drawn_corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        build(config_for(drawn_corpus, tmp_path / "out", "min_images=50"))
    assert build(config_for(drawn_corpus, tmp_path / "out")).triplets == 180


def test_a_stranger_s_folder_is_not_touched(drawn_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"thesis\.txt"):
            build(config_for(drawn_corpus, tmp_path), overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_output_may_not_lie_in_the_corpus(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=1)
    with pytest.raises(OutputError, match="inside the corpus"):
        build(config_for(corpus, corpus / "out"))


def test_nobody_with_enough_photos_is_a_clear_error(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=2, photos=2)
    with pytest.raises(CorpusError, match="min_images"):
        build(config_for(corpus, tmp_path / "out"))
    with pytest.raises(CorpusError, match="min_images"):
        build(config_for(corpus, tmp_path / "out"), dry_run=True)


def test_one_edit_alone_builds_the_kinds_it_can(drawn_corpus: Path, tmp_path: Path) -> None:
    config = config_for(drawn_corpus, tmp_path / "out", "edits=[grin]")
    report = build(config)
    assert set(report.kinds) == {"attribute_target", "attribute_source"}
    assert build(config).shards_resumed == sum(report.shards.values())


def test_dry_run_writes_nothing_and_foretells_the_build(drawn_corpus: Path, tmp_path: Path) -> None:
    foretold = build(config_for(drawn_corpus, tmp_path / "out"), dry_run=True)
    assert not (tmp_path / "out").exists()
    real = build(config_for(drawn_corpus, tmp_path / "out"))
    assert foretold.identities == real.identities
    assert foretold.triplets == real.triplets
    assert foretold.shards == real.shards
    assert foretold.bytes == pytest.approx(real.bytes, rel=0.3)
    assert foretold.estimate_seconds


def test_failed_photos_are_retried_only_when_asked(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=2, photos=7)
    lines = ["path,identity_id", *(f"p{p:03d}/{i}.png,p{p:03d}" for p in range(2) for i in range(7))]
    (corpus / "table.csv").write_text("\n".join(lines) + "\n")
    lost = corpus / "p000" / "3.png"
    data = lost.read_bytes()
    lost.unlink()
    config = config_for(corpus, tmp_path / "out")

    def status() -> str:
        rows = read_manifest(tmp_path / "out", "photos").to_pylist()
        return next(row["status"] for row in rows if row["uri"] == "p000/3.png")

    build(config)
    assert status() == "failed"
    lost.write_bytes(data)
    build(config)
    assert status() == "failed"
    report = build(config, retry_failed=True)
    assert status() == "ok"
    assert report.shards_resumed == sum(report.shards.values()) - 1


def test_the_faces_layout_stores_each_face_once(drawn_corpus: Path, tmp_path: Path) -> None:
    build(config_for(drawn_corpus, tmp_path / "faces", "layout=faces"))
    build(config_for(drawn_corpus, tmp_path / "triplets"))
    run = json.loads((tmp_path / "faces" / "run.json").read_text())
    assert run["status"] == "done"
    sizes = {d: sum(t.stat().st_size for t in (tmp_path / d).rglob("*.tar")) for d in ("faces", "triplets")}
    assert sizes["faces"] < 0.7 * sizes["triplets"]


@pytest.mark.slow
def test_dask_s_performance_report_lies_beside_run_json(drawn_corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("bokeh", reason="needs the extra `report`")
    build(
        config_for(drawn_corpus, tmp_path / "out", "runtime.workers=1", "runtime.performance_report=true"),
        limit=2,
    )
    assert b"Dask Performance Report" in (tmp_path / "out" / "performance.html").read_bytes()


def test_dry_run_and_run_json_name_the_recogniser_and_its_cosines(drawn_corpus: Path, tmp_path: Path) -> None:
    config = config_for(
        drawn_corpus, tmp_path / "out", "embedder=bundled", "accept.identity_max=0.97", "min_images=1",
        "identity_check.min_similarity=-1",
    )  # fmt: skip
    wanted = {
        "recogniser": "bundled",
        "min_similarity": -1.0,
        "identity_max": 0.97,
        "identity_floor": RECOGNISERS["bundled"].identity_floor,
        "identity_min": RECOGNISERS["bundled"].identity_min,
    }
    foretold = build(config, limit=1, dry_run=True)
    assert foretold.identity == wanted
    lines = "\n".join(summary_lines(foretold))
    assert "bundled: min_similarity -1, identity_max 0.97, identity_floor 0.2, identity_min 0.35" in lines
    assert build(config, limit=1).identity == wanted
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["identity"] == wanted
    assert run["config"]["accept"]["identity_min"] is None  # what was asked for stays what was asked for
