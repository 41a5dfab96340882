"""Corpora: folders, tables and shards give the same people; nothing outside them is ever read."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from corpus_photos import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from fstriplets.config import PipelineConfig
from fstriplets.corpus import Corpus, open_corpus, passed_over
from fstriplets.errors import CorpusError, PhotoRejected
from fstriplets.records import Photo, content_id

CONFIG = PipelineConfig()


def fill(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    return root


def people(corpus: Corpus) -> dict[str, list[str]]:
    return {identity: [photo.uri for photo in photos] for identity, photos in corpus.identities()}


def photos(corpus: Corpus) -> list[Photo]:
    return [photo for _, group in corpus.identities() for photo in group]


def rejected(corpus: Corpus) -> dict[str, str]:
    return {photo.uri: photo.reason for photo in photos(corpus) if photo.status != "ok"}


# folders


def test_folder_per_person(tmp_path: Path) -> None:
    names = [
        "bob/2.jpg",
        "alice/z.JPG",
        "alice/deep/er/a.png",
        "bob/1.jpeg",
        "carol/no suffix",
        "carol/clip.mp4",
    ]
    corpus = open_corpus(fill(tmp_path, names), CONFIG)
    assert isinstance(corpus, Corpus)
    assert people(corpus) == {
        "alice": ["alice/deep/er/a.png", "alice/z.JPG"],
        "bob": ["bob/1.jpeg", "bob/2.jpg"],
        "carol": ["carol/clip.mp4", "carol/no suffix"],
    }
    for photo in photos(corpus):
        assert corpus.read(photo) == f"content of {photo.uri}".encode()
        assert photo.photo_id == content_id(photo.identity_id, photo.uri)


def test_sidecars_are_counted_not_photos(tmp_path: Path) -> None:
    names = [
        "a/1.jpg",
        "a/1.txt",
        "a/1.json",
        "a/.DS_Store",
        "a/Thumbs.db",
        "notes.txt",
        ".git/x.jpg",
        "stray.jpg",
    ]
    corpus = open_corpus(fill(tmp_path, names), CONFIG)
    (tmp_path / "empty").mkdir()
    assert people(corpus) == {"a": ["a/1.jpg"]}
    assert corpus.ignored == {
        ".txt files": 2,
        ".json files": 1,
        ".db files": 1,
        "hidden files": 2,
        "photos outside the persons' folders": 1,
        "folders without photos": 1,
    }
    assert "2 .txt files" in passed_over(corpus)


def test_symlinks(tmp_path: Path) -> None:
    root = fill(tmp_path / "corpus", ["a/1.jpg", "b/1.jpg"])
    secret = fill(tmp_path / "secret", ["s.jpg"]) / "s.jpg"
    (root / "a/inside.jpg").symlink_to(root / "b/1.jpg")
    (root / "a/escapes.jpg").symlink_to(secret)
    (root / "a/relative.jpg").symlink_to("../../secret/s.jpg")
    (root / "a/dangling.jpg").symlink_to("nowhere.jpg")
    (root / "a/up").symlink_to(root)
    (root / "a/chain.jpg").symlink_to("escapes.jpg")
    (root / "c").symlink_to(root / "b")
    (root / "d").symlink_to(secret.parent)
    corpus = open_corpus(root, CONFIG)
    found = rejected(corpus)
    assert found.pop("a/up/a") == "symlink_loop"
    assert {uri: reason for uri, reason in found.items() if not uri.startswith("a/up")} == {
        "a/escapes.jpg": "symlink_escapes",
        "a/relative.jpg": "symlink_escapes",
        "a/chain.jpg": "symlink_escapes",
        "a/dangling.jpg": "symlink_dangling",
        "d": "symlink_escapes",
    }
    assert people(corpus)["c"] == ["c/1.jpg"]
    by_uri = {photo.uri: photo for photo in photos(corpus)}
    assert corpus.read(by_uri["a/inside.jpg"]) == b"content of b/1.jpg"
    for uri in ("a/escapes.jpg", "a/relative.jpg", "a/chain.jpg", "d"):
        with pytest.raises(PhotoRejected, match="symlink_escapes"):
            corpus.read(by_uri[uri])
    with pytest.raises(PhotoRejected, match="symlink_escapes"):
        corpus.read(Photo("x", "a", "a/../../secret/s.jpg"))


def test_a_link_swapped_in_after_the_scan_is_not_followed(tmp_path: Path) -> None:
    root = fill(tmp_path / "corpus", ["a/1.jpg"])
    secret = fill(tmp_path, ["s.jpg"]) / "s.jpg"
    corpus = open_corpus(root, CONFIG)
    (photo,) = photos(corpus)
    (root / "a/1.jpg").unlink()
    (root / "a/1.jpg").symlink_to(secret)
    with pytest.raises(PhotoRejected, match="symlink_escapes"):
        corpus.read(photo)


def test_pipes_vanished_and_unreadable_files(tmp_path: Path) -> None:
    root = fill(tmp_path, ["a/1.jpg", "a/2.jpg"])
    os.mkfifo(root / "a/pipe.jpg")
    corpus = open_corpus(root, CONFIG)
    first, second, pipe = photos(corpus)
    assert (pipe.status, pipe.reason) == ("rejected", "not_a_file")
    with pytest.raises(PhotoRejected, match="not_a_file"):
        corpus.read(pipe)
    (root / first.uri).unlink()
    with pytest.raises(PhotoRejected, match="missing") as caught:
        corpus.read(first)
    assert caught.value.status == "failed"
    assert str(tmp_path) not in caught.value.message  # manifests name no machine's folders
    (root / second.uri).chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(PhotoRejected, match="no_permission"):
            corpus.read(second)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_names_that_are_not_utf8_become_rows(tmp_path: Path) -> None:
    fill(tmp_path, ["a/1.jpg"])
    (tmp_path / os.fsdecode(b"a/caf\xe9.jpg")).write_bytes(b"x")
    assert rejected(open_corpus(tmp_path, CONFIG)) == {"a/caf\\xe9.jpg": "bad_name"}


# licence and consent


def test_terms_of_the_pipeline(tmp_path: Path) -> None:
    root = fill(tmp_path, ["a/1.jpg"])
    (photo,) = photos(
        open_corpus(root, PipelineConfig(licence="CC0", consent="signed", require_consent=True))
    )
    assert (photo.licence, photo.consent, photo.status) == ("CC0", "signed", "ok")
    (photo,) = photos(open_corpus(root, PipelineConfig(require_consent=True)))
    assert (photo.status, photo.reason) == ("rejected", "no_consent")


def test_consent_in_a_table_outranks_the_pipeline(tmp_path: Path) -> None:
    rows = ["path,identity_id,licence,consent", "1.jpg,a,CC BY,form 12", "2.jpg,a,,", "3.jpg,a,,no",
            "4.jpg,a,,FALSE", "5.jpg,a,,withdrawn"]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(rows))
    config = PipelineConfig(licence="CC0", consent="general", require_consent=True)
    found = photos(open_corpus(tmp_path / "t.csv", config))
    assert [photo.licence for photo in found] == ["CC BY", "CC0", "CC0", "CC0", "CC0"]
    assert [photo.consent for photo in found] == ["form 12", "general", "", "", ""]
    assert [photo.reason for photo in found] == ["", "", *["no_consent"] * 3]


# tables

BOX = (1.0, 2.0, 30.5, 40.0)
POINTS = tuple((float(i), float(i + 1)) for i in range(5))


def rows_of_table() -> pd.DataFrame:
    flat = [value for point in POINTS for value in point]
    return pd.DataFrame(
        {
            "path": ["b/1.jpg", "a/2.jpg", "a/1.jpg"],
            "identity_id": ["007", "NA", "NA"],
            "box": [list(BOX), None, list(BOX)],
            "landmarks": [flat, None, None],
            "attributes": [{"smile": 0.5}, None, {"smile": 1.0}],
            "age": [30, None, 41],
            "note": ["x", "y", "z"],
            "embedding": [[0.1, 0.2], [0.3], None],
        },
        index=[3, 5, 9],  # what filtering leaves: pandas writes it as a column
    )


@pytest.mark.parametrize("form", ["csv", "csv spaces", "tsv", "parquet", "four columns", "nested"])
def test_table(tmp_path: Path, form: str) -> None:
    frame, path = rows_of_table(), tmp_path / "t.csv"
    if form == "parquet":
        frame.to_parquet(path := tmp_path / "t.parquet")
    elif form == "four columns":
        for i, name in enumerate(("x0", "y0", "x1", "y1")):
            frame[name] = [None if box is None else box[i] for box in frame["box"]]
        frame.drop(columns="box").to_parquet(path := tmp_path / "t.parquet")
    elif form == "nested":
        frame["landmarks"] = [list(map(list, POINTS)), None, None]
        frame.to_parquet(path := tmp_path / "t.parquet")
    else:
        for name in ("box", "landmarks", "attributes"):
            frame[name] = [None if v is None else json.dumps(v) for v in frame[name]]
        if form == "csv spaces":
            frame["box"] = ["1 2 30.5 40", None, "1 2 30.5 40"]
        path = tmp_path / f"t.{form.split()[0]}"
        frame.to_csv(path, sep="\t" if form == "tsv" else ",", encoding="utf-8-sig")
    fill(tmp_path, ["a/1.jpg", "a/2.jpg", "b/1.jpg"])
    corpus = open_corpus(path, CONFIG)
    assert people(corpus) == {"007": ["b/1.jpg"], "NA": ["a/1.jpg", "a/2.jpg"]}
    first, second, third = photos(corpus)
    assert [photo.box for photo in (first, second, third)] == [BOX, BOX, None]
    assert [photo.landmarks for photo in (first, second, third)] == [POINTS, None, None]
    assert [photo.attributes for photo in (first, second, third)] == [
        {"smile": 0.5, "age": 30.0},
        {"smile": 1.0, "age": 41.0},
        {},
    ]
    assert corpus.read(second) == b"content of a/1.jpg"


def test_folder_with_a_table_in_it(tmp_path: Path) -> None:
    fill(tmp_path, ["x/1.jpg", "x/2.jpg"])
    (tmp_path / "table.csv").write_text("path,identity_id\nx/1.jpg,ann\n")
    assert people(open_corpus(tmp_path, CONFIG)) == {"ann": ["x/1.jpg"]}
    assert people(open_corpus(f"folder:{tmp_path}", CONFIG)) == {"x": ["x/1.jpg", "x/2.jpg"]}


def test_table_paths_may_be_absolute_or_urls(tmp_path: Path) -> None:
    fill(tmp_path / "far", ["1.jpg"])
    with fsspec.open("memory://bucket/2.jpg", "wb") as file:
        file.write(b"remote")
    (tmp_path / "near").mkdir()
    table = tmp_path / "near/t.csv"
    table.write_text(f"path,identity_id\n{tmp_path}/far/1.jpg,a\nmemory://bucket/2.jpg,a\n../far/1.jpg,b\n")
    corpus = open_corpus(table, CONFIG)
    read = {photo.uri.rpartition("/")[2] + photo.identity_id: corpus.read(photo) for photo in photos(corpus)}
    assert read == {"1.jpga": b"content of 1.jpg", "2.jpga": b"remote", "1.jpgb": b"content of 1.jpg"}


def test_remote_table(tmp_path: Path) -> None:
    with fsspec.open("memory://corpus/table.csv", "wb") as file:
        file.write(b"path,identity_id\nx/1.jpg,ann\n")
    with fsspec.open("memory://corpus/x/1.jpg", "wb") as file:
        file.write(b"one")
    for spec in ("memory://corpus", "memory://corpus/table.csv"):
        corpus = open_corpus(spec, CONFIG)
        (photo,) = photos(corpus)
        assert corpus.read(photo) == b"one"
    with pytest.raises(PhotoRejected, match="missing"):
        corpus.read(Photo("i", "ann", "x/2.jpg"))


def test_repeated_rows_count_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,identity_id\n1.jpg,a\n1.jpg,a\n1.jpg,b\n")
    corpus = open_corpus(tmp_path / "t.csv", CONFIG)
    assert people(corpus) == {"a": ["1.jpg"], "b": ["1.jpg"]}
    assert corpus.ignored == {"repeated rows": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,identity_id\n1.jpg,a\n", "lacks the column path.*it has file, identity_id"),
        ("name\n1.jpg\n", "lacks the columns path and identity_id"),
        ("path,identity_id\n1.jpg,a\n2.jpg,\n", "row 2, column identity_id: the cell is empty"),
        ("path,identity_id\n ,a\n", "row 1, column path: the cell is empty"),
        ('path,identity_id,box\n1.jpg,a,"[1,2,3]"\n', "row 1, column box: .*got 3 numbers"),
        ('path,identity_id,box\n2.jpg,b,\n1.jpg,a,"[9,2,3,4]"\n', "row 2, column box: .*x1 > x0"),
        ("path,identity_id,box\n1.jpg,a,none of it\n", "row 1, column box"),
        ('path,identity_id,landmarks\n1.jpg,a,"[1,2,3]"\n', "row 1, column landmarks: .*5 or 68 points"),
        ('path,identity_id,attributes\n1.jpg,a,"[1,2,3]"\n', "row 1, column attributes"),
        ("path,identity_id,x0\n1.jpg,a,3\n", "needs all of x0, y0, x1, y1"),
        ("path,identity_id,x0,y0,x1,y1\n1.jpg,a,3,,4,5\n", "row 1, column x0, y0, x1, y1"),
        ("path,identity_id\n1.jpg,a,b,c\n", "no readable table"),
        ("path,identity_id\n", "has no rows"),
        ("", "no readable table"),
    ],
)
def test_bad_tables_name_row_and_column(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CorpusError, match=says) as caught:
        people(open_corpus(tmp_path / "t.csv", CONFIG))
    assert "t.csv" in str(caught.value)


def test_ids_that_pandas_made_decimal(tmp_path: Path) -> None:
    pd.DataFrame({"path": ["1", "2"], "identity_id": [1.0, None]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match="identity_id holds decimal numbers"):
        people(open_corpus(tmp_path / "t.parquet", CONFIG))
    (tmp_path / "u.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(CorpusError, match="no readable table"):
        people(open_corpus(tmp_path / "u.parquet", CONFIG))


# shards


def test_shards_by_folder(tmp_path: Path) -> None:
    write_tar(tmp_path / "p-00.tar", {"bob/1.jpg": b"b1", "alice/1.jpg": b"a1", "alice/1.txt": b"no"})
    write_tar(tmp_path / "p-01.tgz", {"lfw/alice/2.jpg": b"a2", "lfw/carol/x/1.jpg": b"c1"})
    corpus = open_corpus(tmp_path, CONFIG)
    found = {i: [corpus.read(photo) for photo in group] for i, group in corpus.identities()}
    assert found == {"alice": [b"a1", b"a2"], "bob": [b"b1"], "carol": [b"c1"]}
    assert corpus.ignored == {".txt files": 1}
    assert people(open_corpus(tmp_path / "p-{00..00}.tar", CONFIG)).keys() == {"alice", "bob"}
    with pytest.raises(CorpusError, match=r"p-02\.tar"):
        people(open_corpus(tmp_path / "p-{00,02}.tar", CONFIG))


def test_shards_with_metadata(tmp_path: Path) -> None:
    meta = {"identity_id": 7, "licence": "CC0", "consent": False, "box": BOX, "landmarks": POINTS}
    write_tar(
        tmp_path / "s.tar",
        {
            "0001.json": json.dumps(meta).encode(),
            "0001.jpg": b"one",
            "0002.jpg": b"two",
            "0002.json": json.dumps({"identity_id": "7", "attributes": {"age": 3}}).encode(),
            "0003.cls": b"8\n",
            "0003.jpg": b"three",
            "0004.jpg": b"nobody's",
            "0005.json": b"{broken",
            "0005.jpg": b"nobody's either",
        },
    )
    corpus = open_corpus(tmp_path / "s.tar", PipelineConfig(consent="general"))
    one, two, three = photos(corpus)
    assert (one.identity_id, one.licence, one.consent, one.box, one.landmarks) == (
        "7",
        "CC0",
        "",
        BOX,
        POINTS,
    )
    assert (two.identity_id, two.consent, two.attributes) == ("7", "general", {"age": 3.0})
    assert [corpus.read(photo) for photo in (one, two, three)] == [b"one", b"two", b"three"]
    assert corpus.ignored == {"members without a person": 2, "unreadable .json files": 1}


def test_read_in_a_fresh_process(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar.gz", {"alice/1.jpg": b"a1", "alice/2.jpg": b"a2"})
    photo = photos(open_corpus(tmp_path / "s.tar.gz", CONFIG))[1]
    program = (
        "import pickle, sys; from fstriplets.config import PipelineConfig;"
        "from fstriplets.corpus import open_corpus;"
        "spec, photo = pickle.load(sys.stdin.buffer);"
        "sys.stdout.buffer.write(open_corpus(spec, PipelineConfig()).read(photo))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((str(tmp_path / "s.tar.gz"), photo)),
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"a2"


def test_remote_shards() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("ann/1.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    with fsspec.open("memory://shards/s-0.tar", "wb") as file:
        file.write(buffer.getvalue())
    for spec in ("memory://shards", "memory://shards/s-0.tar", "memory://shards/s-{0..0}.tar"):
        corpus = open_corpus(spec, CONFIG)
        (photo,) = photos(corpus)
        assert (photo.uri, corpus.read(photo)) == ("s-0.tar#ann/1.jpg@512+3", b"one")


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_hostile_members_are_rows_and_nothing_is_written(tmp_path: Path) -> None:
    secret = fill(tmp_path, ["secret.jpg"]) / "secret.jpg"
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(
        folder / "evil.tar",
        {
            "a/ok.jpg": b"fine",
            "a/../../escape.jpg": b"evil",
            "/abs/escape.jpg": b"evil",
            "a/link.jpg": link("a/link.jpg", str(secret)),
            "a/hard.jpg": link("a/hard.jpg", "../../secret.jpg", tarfile.LNKTYPE),
            "a/pipe.jpg": link("a/pipe.jpg", "", tarfile.FIFOTYPE),
            "a/code.pyd": b"MZ",
        },
    )
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    corpus = open_corpus(folder, CONFIG)
    found = photos(corpus)
    assert {photo.uri.split("#")[1].split("@")[0]: photo.reason for photo in found} == {
        "a/ok.jpg": "",
        "a/../../escape.jpg": "unsafe_path",
        "/abs/escape.jpg": "unsafe_path",
        "a/link.jpg": "link_member",
        "a/hard.jpg": "link_member",
        "a/pipe.jpg": "not_a_file",
    }
    assert all(corpus.read(photo) != secret.read_bytes() for photo in found)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    for uri in ("../secret.jpg", "../x.tar#a@0+3", f"{secret}", f"{tmp_path}/shards/evil.tar#a@0+3"):
        with pytest.raises(PhotoRejected, match="missing"):
            corpus.read(Photo("i", "a", uri))


PARTS = st.sampled_from(["..", ".", "", "a", "b", "\\", "C:", "~", "é", "x.jpg", "%2e%2e", "\n"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=5).map("/".join), min_size=1, max_size=6, unique=True))
def test_no_member_name_escapes(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tar")
    names = [name for name in names if name.strip("/\\. \n")] or ["a/1.jpg"]
    write_tar(folder / "s.tar", {name: name.encode() for name in names} | {"p/last.jpg": b"p/last.jpg"})
    corpus = open_corpus(folder / "s.tar", CONFIG)
    for identity, group in corpus.identities():
        assert identity not in ("", ".", "..")
        for photo in group:
            member = photo.uri.partition("#")[2].rpartition("@")[0]
            assert photo.status == "rejected" or ".." not in member.split("/")
            assert corpus.read(photo).decode().rstrip("/") == member.rstrip("/")
    assert os.listdir(folder) == ["s.tar"]


@pytest.mark.parametrize("cut", [512, 1024, 1536, 1700])
def test_shards_cut_short_are_found(tmp_path: Path, cut: int) -> None:
    """Cut between two members, tarfile and webdataset read what is left without a word."""
    path = write_tar(tmp_path / "s.tar", {f"a/{i}.jpg": bytes(100) for i in range(9)})
    path.write_bytes(path.read_bytes()[: cut + 2048])
    with pytest.raises(CorpusError, match=r"s\.tar"):
        people(open_corpus(path, CONFIG))


def test_broken_shards(tmp_path: Path) -> None:
    for name, content in {"a.tar": b"no tar" * 200, "b.tar": b"", "c.tgz": b"no gzip", "d.tar": None}.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        pattern = str(tmp_path / name).replace("d.tar", "{d,d}.tar")
        with pytest.raises(CorpusError, match=name[0]):
            people(open_corpus(pattern, CONFIG))
    whole = write_tar(tmp_path / "e.tgz", {"a/1.jpg": os.urandom(5000)}).read_bytes()
    (tmp_path / "e.tgz").write_bytes(whole[:3000])
    with pytest.raises(CorpusError, match="no whole gzip"):
        people(open_corpus(tmp_path / "e.tgz", CONFIG))
    write_tar(tmp_path / "f.tar", {"1.jpg": b"x"})
    with pytest.raises(CorpusError, match=r"PERSON/photo\.jpg"):
        people(open_corpus(tmp_path / "f.tar", CONFIG))


def test_gzip_bombs_are_left_alone(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tgz", {"a/1.jpg": bytes(80 << 20)})
    with pytest.raises(CorpusError, match="unpacks to more than"):
        people(open_corpus(tmp_path / "s.tgz", CONFIG))


# what is no corpus


def test_what_is_no_corpus(tmp_path: Path) -> None:
    fill(tmp_path, ["photos/a/1.jpg", "flat/1.jpg", "flat/2.PNG", "file.jpg", "texts/a/1.txt"])
    (tmp_path / "empty").mkdir()
    cases = {
        "phtos": "does not exist; did you mean .*photos",
        "nowhere/at/all": "does not exist",
        "file.jpg": "is a file, neither a table nor a tar",
        "flat": "holds 2 photos but no folders",
        "empty": "holds no photo in any of its folders",
        "texts": "holds no photo in any of its folders",
        "missing.csv": "does not exist",
    }
    for name, says in cases.items():
        with pytest.raises(CorpusError, match=says):
            people(open_corpus(tmp_path / name, CONFIG))
    with pytest.raises(CorpusError, match="does not exist"):
        open_corpus("memory://nothing/here", CONFIG)
    with pytest.raises(CorpusError, match="cannot open"):
        open_corpus("nosuchprotocol://x/y", CONFIG)
    with fsspec.open("memory://people/ann/1.jpg", "wb") as file:
        file.write(b"one")
    with pytest.raises(CorpusError, match=r"table\.csv"):
        open_corpus("memory://people", CONFIG)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    root = fill(tmp_path / "corpus", ["a/1.jpg", "b/1.jpg"])
    (root / "b").chmod(0)
    assert rejected(open_corpus(root, CONFIG)) == {"b": "no_permission"}
    (root / "b").chmod(0o700)
    root.chmod(0)
    with pytest.raises(CorpusError, match="no permission"):
        open_corpus(root, CONFIG)
    root.chmod(0o700)


def test_demo_corpus_travels_with_the_package() -> None:
    corpus = open_corpus("demo", CONFIG)
    found = photos(corpus)
    assert len({photo.identity_id for photo in found}) >= 12
    assert all(photo.box and photo.landmarks and photo.licence for photo in found)


def test_registered_backends_are_chosen_by_name() -> None:
    from fstriplets.corpus import CORPORA
    from fstriplets.corpus.base import Terms

    class Two:
        def __init__(self, spec: str, terms: Terms) -> None:
            self.root, self.terms = spec, terms

    CORPORA.register("two_for_test")(Two)
    corpus = open_corpus("two_for_test:what/ever", PipelineConfig(licence="X"))
    assert (corpus.root, corpus.terms.licence) == ("what/ever", "X")
