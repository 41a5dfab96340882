"""Weights: the table, import by hash, pull with resume, verify, safe loading, the commands."""

from __future__ import annotations

import hashlib
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fstriplets.errors import WeightsError
from fstriplets.models import weights as W
from fstriplets.models.weights import download

PAYLOAD = bytes(range(256)) * 4000  # 1 MB: several read blocks


def _table(path: Path, payload: bytes = PAYLOAD, url: str = "", name: str = "toy") -> None:
    sha256 = hashlib.sha256(payload).hexdigest()
    path.write_text(
        f"{name}:\n  role: embedder\n  architecture: toy\n  file: {name}.onnx\n  url: '{url}'\n"
        f"  sha256: {sha256}\n  bytes: {len(payload)}\n  licence: MIT\n"
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder, and a table of our own with one entry, `toy`."""
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS_REGISTRY", str(tmp_path / "table.yaml"))
    _table(tmp_path / "table.yaml")
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    return tmp_path


@pytest.fixture
def server(home: Path) -> Iterator[_Server]:
    with _Server() as running:
        yield running


class _Server:
    """Serves PAYLOAD at /toy.onnx, and can be told to break off or to ignore ranges."""

    def __init__(self) -> None:
        self.body, self.ranges, self.cut, self.status = PAYLOAD, True, 0, 200
        self.asked: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.asked.append(wanted)
                if outer.status != 200:
                    self.send_error(outer.status)
                    return
                start = int(wanted.split("=")[1].rstrip("-")) if wanted and outer.ranges else 0
                self.send_response(206 if start else 200)
                body = outer.body[start:]
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if outer.cut:
                    body, outer.cut = body[: outer.cut], 0
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/toy.onnx"

    def __enter__(self) -> _Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _fresh(home: Path, url: str) -> None:
    """Point the table at another address; tables are cached by path."""
    table = home / f"table{len(list(home.glob('table*')))}.yaml"
    _table(table, url=url)
    os.environ["FSTRIPLETS_WEIGHTS_REGISTRY"] = str(table)


def test_the_shipped_table_is_complete_and_unambiguous() -> None:
    rows = W.registry().values()
    assert {"yunet", "mobilefacenet_foamliu", "fsanet_1x1", "fsanet_var"} <= {row.name for row in rows}
    assert len({row.sha256 for row in rows}) == len({row.file for row in rows}) == len(rows)
    assert all(row.licence and row.source and row.input and row.output for row in rows)
    assert all(row.paper or row.bundled for row in rows)


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(WeightsError, match="did you mean 'yunet'"):
        W.entry("yunett")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("  role: wizard\n", "role 'wizard'"),
        ("  sha256: abc\n", "64 hex"),
        ("  file: ../../evil.onnx\n", "plain file name"),
        ("  colour: red\n", "unknown key 'colour'"),
        ("  licence:\n", "'licence' is missing"),
        ("  bytes: many\n", "whole number"),
    ],
)
def test_malformed_rows_name_the_key(home: Path, line: str, complaint: str) -> None:
    text = (home / "table.yaml").read_text()
    (home / "bad.yaml").write_text(text + line)  # YAML: the later key wins
    with pytest.raises(WeightsError, match=complaint):
        W.load_registry(home / "bad.yaml")


def test_import_recognises_by_hash_whatever_the_name(home: Path) -> None:
    (home / "download (3).bin").write_bytes(PAYLOAD)
    assert W.installed("toy") is None
    row = W.import_file(home / "download (3).bin")
    assert row.name == "toy"
    assert W.require("toy").read_bytes() == PAYLOAD
    assert [p.name for p in W.weights_folder().iterdir()] == ["toy.onnx"]  # no temporary file left


def test_import_of_an_unknown_file_lists_names_and_hashes(home: Path) -> None:
    (home / "toy.onnx").write_bytes(PAYLOAD[:-1] + b"\0")
    with pytest.raises(WeightsError) as caught:
        W.import_file(home / "toy.onnx")
    assert W.entry("toy").sha256 in str(caught.value)
    assert "mobilefacenet_foamliu" in str(caught.value)
    assert W.installed("toy") is None


def test_import_of_a_folder_takes_what_it_knows(home: Path) -> None:
    folder = home / "models" / "deep"
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(PAYLOAD)
    (folder / "readme.txt").write_text("hello")
    taken, others = W.import_folder(home / "models")
    assert [row.name for row in taken] == ["toy"]
    assert [path.name for path in others] == ["readme.txt"]
    (folder / "a").unlink()
    with pytest.raises(WeightsError, match="none of the 1 files"):
        W.import_folder(home / "models")


def test_require_says_what_to_do(home: Path) -> None:
    with pytest.raises(WeightsError, match="fstriplets weights import FILE"):
        W.require("toy")
    _fresh(home, "http://127.0.0.1:1/toy.onnx")
    with pytest.raises(WeightsError, match="fstriplets weights pull toy"):
        W.require("toy")


def test_a_file_of_the_right_name_and_size_but_other_bytes_is_refused(home: Path) -> None:
    path = W.weights_folder() / "toy.onnx"
    path.parent.mkdir()
    path.write_bytes(PAYLOAD[::-1])
    with pytest.raises(WeightsError, match="is not the file registered as 'toy'"):
        W.require("toy")
    assert [found.status for found in W.verify(["toy"])] == ["wrong hash"]


def test_verify_notices_a_change_that_keeps_size_and_time(home: Path) -> None:
    (home / "f").write_bytes(PAYLOAD)
    W.import_file(home / "f")
    path = W.require("toy")
    before = path.stat()
    path.write_bytes(PAYLOAD[:-1] + b"\0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [found.status for found in W.verify(["toy"])] == ["wrong hash"]
    path.unlink()
    assert [found.status for found in W.verify(["toy"])] == ["missing"]


def test_pull_downloads_and_verifies(home: Path, server: _Server) -> None:
    _fresh(home, server.url)
    seen: list[tuple[int, int]] = []
    path = W.pull("toy", progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == PAYLOAD
    assert seen[-1] == (len(PAYLOAD), len(PAYLOAD))
    assert [p.name for p in W.weights_folder().iterdir()] == ["toy.onnx"]
    W.pull("toy")
    assert len(server.asked) == 1  # installed already: nothing asked


def test_pull_resumes_where_it_broke_off(home: Path, server: _Server) -> None:
    _fresh(home, server.url)
    server.cut = 300_000
    assert W.pull("toy").read_bytes() == PAYLOAD
    assert server.asked == [None, "bytes=300000-"]


def test_pull_starts_over_where_the_server_takes_no_ranges(home: Path, server: _Server) -> None:
    _fresh(home, server.url)
    server.cut, server.ranges = 300_000, False
    assert W.pull("toy").read_bytes() == PAYLOAD


def test_pull_of_other_bytes_installs_nothing(home: Path, server: _Server) -> None:
    _fresh(home, server.url)
    server.body = PAYLOAD[::-1]
    with pytest.raises(WeightsError, match="serves another file"):
        W.pull("toy")
    assert list(W.weights_folder().iterdir()) == []


def test_pull_gives_up_with_the_way_out(home: Path, server: _Server) -> None:
    _fresh(home, server.url)
    server.status = 404
    with pytest.raises(WeightsError, match=r"fstriplets weights import toy\.onnx"):
        W.pull("toy")
    assert len(server.asked) == 1  # a 404 is not tried again
    server.status = 503
    with pytest.raises(WeightsError, match="503"):
        W.pull("toy", attempts=2)
    assert len(server.asked) == 3
    _fresh(home, "")
    with pytest.raises(WeightsError, match="no public address"):
        W.pull("toy")


def test_pull_reads_other_addresses_through_fsspec(home: Path) -> None:
    (home / "mirror.onnx").write_bytes(PAYLOAD)
    _fresh(home, f"file://{home}/mirror.onnx")
    W.weights_folder().mkdir()
    (W.weights_folder() / ".toy.onnx.part").write_bytes(PAYLOAD[:1000])  # resumed here too
    assert W.pull("toy").read_bytes() == PAYLOAD


def test_unwritable_folder_is_one_message(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "f").write_bytes(PAYLOAD)
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(home / "f" / "below-a-file"))
    with pytest.raises(WeightsError, match="FSTRIPLETS_WEIGHTS names another"):
        W.import_file(home / "f")


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.system, ("touch executed",)


def test_a_pickle_with_code_is_refused_with_the_way_to_convert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"w": torch.zeros(2)}, "extra": _Payload()}, "evil.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(_Payload()))
    for name in ("evil.pt", "plain.pkl"):
        with pytest.raises(WeightsError, match=r"evil\.pt|plain\.pkl") as caught:
            W.load_state_dict(tmp_path / name)
        assert "safetensors" in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_state_dicts_are_found_in_their_usual_places(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.arange(4.0), "a.bias": torch.ones(2)}
    save_file(state, tmp_path / "m.safetensors")
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "lightning.ckpt")
    torch.save({"g_ema": state, "d": {"x": torch.ones(1)}}, tmp_path / "gan.pt")
    for name in ("m.safetensors", "plain.pt", "lightning.ckpt"):
        assert torch.equal(W.load_state_dict(tmp_path / name)["a.weight"], state["a.weight"])
    assert set(W.load_state_dict(tmp_path / "gan.pt", "g_ema")) == set(state)
    with pytest.raises(WeightsError, match=r"several state dicts; it has: d, g_ema"):
        W.load_state_dict(tmp_path / "gan.pt")
    with pytest.raises(WeightsError, match="no entry 'g'; it has: d, g_ema"):
        W.load_state_dict(tmp_path / "gan.pt", "g")


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pt", "missing.pt"])
def test_damaged_checkpoints_are_named(tmp_path: Path, name: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not really" * 3)
    with pytest.raises(WeightsError, match=name):
        W.load_state_dict(tmp_path / name)


def test_commands(home: Path) -> None:
    from fstriplets.cli.weights import weights

    (home / "f").write_bytes(PAYLOAD)
    run = CliRunner().invoke
    assert "import" in run(weights, ["list"]).output
    imported = run(weights, ["import", str(home / "f")])
    assert imported.exit_code == 0
    assert "toy  embedder  MIT" in imported.output
    assert "installed" in run(weights, ["list"]).output
    checked = run(weights, ["verify"]).output
    assert "toy" in checked
    assert "0 not as registered" in checked
    (W.weights_folder() / "toy.onnx").write_bytes(b"x")
    broken = run(weights, ["verify"])
    assert broken.exit_code == 1
    assert "wrong size" in broken.output
    assert run(weights, ["pull"]).exit_code == 2


@pytest.mark.real
def test_the_shared_models_are_all_registered(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path))
    taken, others = W.import_folder(shared_data / "models")
    assert len(taken) == 6
    assert [path.suffix for path in others] == [".csv"]
    assert all(found.status == "ok" for found in W.verify([row.name for row in taken]))


def test_public_weights_that_do_better_are_named_until_they_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fstriplets.models.weights import better_weights, entry

    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path))
    assert {k: row.name for k, row in better_weights(["face_detector", "yunet"]).items()} == {
        "face_detector": "yunet"
    }
    (tmp_path / entry("yunet").file).write_bytes(bytes(entry("yunet").bytes))
    assert better_weights(["face_detector"]) == {}
