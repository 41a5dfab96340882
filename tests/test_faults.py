"""Whole builds under faults: killed workers, a killed driver, poison photos, full disks, bad places.

docs/faults.md tells what each is and what was seen.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from faces_corpus import write_corpus
from faulty_editors import plug_in

from fstriplets import build, load_config, read_manifest
from fstriplets.build import BuildReport
from fstriplets.errors import ClusterError, Interrupted, OutputError
from fstriplets.shards import Store
from fstriplets.shards import store as store_module

RECIPE = [
    "image_size=96", "detector=aligned", "landmarker=template", "pose_estimator=landmarks", "embedder=none",
    "edits=[aging, grin]", "triplets_per_shard=40", "triplets_per_photo=3", "duplicates.near=false",
    "quality.brightness=[0, 255]", "quality.min_sharpness=0", "min_images=4", "runtime.workers=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), people=12)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plugs the faulty editors in; the folder where busy workers leave their pids."""
    monkeypatch.syspath_prepend(str(plug_in(tmp_path / "plugged")))
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("FAULTY_NOTES", str(notes))
    return notes


def settings(corpus: Path, output: Path, *more: str) -> list[str]:
    return [*RECIPE, f"corpus={corpus}", f"output={output}", *more]


def run(corpus: Path, output: Path, *more: str) -> BuildReport:
    return build(load_config("photos", settings(corpus, output, *more)))


def digests(dataset: Path) -> dict[str, str]:
    """sha256 of everything that must not depend on how a dataset came to be; temporary files too."""
    files = [p for top in ("shards", "manifests", "stats") for p in (dataset / top).rglob("*")]
    return {
        str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(files)
        if p.is_file()
    }


def poison(corpus: Path, person: int, photo: int) -> str:
    """Paint a photo magenta; its uri."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[:] = (255, 0, 255)
    uri = f"p{person:03d}/{photo}.png"
    assert cv2.imwrite(str(corpus / uri), image)
    return uri


@contextlib.contextmanager
def killing(notes: Path, every: float, most: int = 10**6) -> Iterator[list[int]]:
    """kill -9 one busy worker every so many seconds."""
    killed: list[int] = []
    over = threading.Event()
    chance = random.Random(0)

    def storm() -> None:
        while len(killed) < most and not over.wait(every):
            busy = sorted(notes.iterdir())
            if busy:
                note = chance.choice(busy)
                note.unlink()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(note.name), signal.SIGKILL)
                    killed.append(int(note.name))

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


# workers


def test_worker_counts_do_not_matter(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "serial", "editor=null", "runtime.workers=0")
    run(corpus, tmp_path / "two", "editor=null")
    assert digests(tmp_path / "serial") == digests(tmp_path / "two")


@pytest.mark.slow
def test_killed_workers_cost_nothing(corpus: Path, tmp_path: Path, notes: Path) -> None:
    run(corpus, tmp_path / "calm", "editor=test-slow", "runtime.workers=0")
    (notes / str(os.getpid())).unlink()  # the serial build ran here
    with killing(notes, 0.3, most=4) as killed:
        run(corpus, tmp_path / "storm", "editor=test-slow")
    assert len(killed) == 4
    assert digests(tmp_path / "storm") == digests(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("editor", "limits"),
    [
        ("test-exit", ["runtime.max_attempts=2"]),
        ("test-segfault", ["runtime.max_attempts=2"]),
        ("test-hang", ["runtime.max_attempts=1", "runtime.bucket_timeout=10"]),
    ],
)
def test_a_poison_photo_is_quarantined_and_nothing_else_is_lost(
    tmp_path: Path, notes: Path, editor: str, limits: list[str]
) -> None:
    corpus = write_corpus(tmp_path / "corpus", people=3)
    uri = poison(corpus, 1, 3)
    size = ["triplets_per_shard=40", "triplets_per_photo=8"]  # a person a shard, every face edited
    report = run(corpus, tmp_path / "out", f"editor={editor}", *size, *limits)
    photos = read_manifest(tmp_path / "out", "photos").to_pylist()
    assert len(photos) == 15
    (bad,) = [row for row in photos if row["status"] != "ok"]
    assert bad["uri"].endswith(uri)
    assert (bad["status"], bad["reason"]) == ("failed", "quarantined")
    assert report.quarantined == [bad["photo_id"]]
    triplets = read_manifest(tmp_path / "out", "triplets").to_pylist()
    assert len({row["triplet_id"] for row in triplets}) == len(triplets)
    assert len({row["identity_id"] for row in triplets}) == 3
    assert (tmp_path / "out" / "_SUCCESS").exists()


# the driver

COMMAND = [sys.executable, "-m", "fstriplets", "build", "photos", "--quiet"]


def start(corpus: Path, output: Path, notes: Path, *more: str) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, with the faulty editors plugged in."""
    path = os.pathsep.join([str(notes.parent / "plugged"), str(Path(__file__).parent)])
    flags = [flag for item in settings(corpus, output, *more) for flag in ("--set", item)]
    return subprocess.Popen(
        [*COMMAND, *flags],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def finished(output: Path) -> int:
    return len(list(output.glob("stats/*/*.json")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)]
)
def test_a_stopped_build_resumes_to_the_same_bytes(
    corpus: Path, tmp_path: Path, notes: Path, number: int, code: int
) -> None:
    run(corpus, tmp_path / "calm", "editor=test-slow", "runtime.workers=0")
    output = tmp_path / "stopped"
    driver = start(corpus, output, notes, "editor=test-slow")
    while finished(output) < 1:
        time.sleep(0.02)
        assert driver.poll() is None, driver.stderr and driver.stderr.read()
    driver.send_signal(number)
    _, errors = driver.communicate(timeout=30)
    assert driver.returncode == code
    assert b"Traceback" not in errors
    kept = finished(output)
    assert 1 <= kept < finished(tmp_path / "calm")
    assert not (output / "_SUCCESS").exists()
    again = start(corpus, output, notes, "editor=test-slow")
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert digests(output) == digests(tmp_path / "calm")


def test_interrupted_in_process(corpus: Path, tmp_path: Path) -> None:
    config = load_config("photos", settings(corpus, tmp_path / "out", "editor=null", "runtime.workers=0"))
    seen = 0

    def stop(progress: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        build(config, progress=stop)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    build(config)
    run(corpus, tmp_path / "calm", "editor=null", "runtime.workers=0")
    assert digests(tmp_path / "out") == digests(tmp_path / "calm")


# places


def test_a_disk_that_fills_up_ends_the_build_and_keeps_what_is_done(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("photos", settings(corpus, tmp_path / "out", "editor=null", "runtime.workers=0"))
    write, left = store_module._write_local, 250_000

    def write_until_full(path: Path, chunks: object) -> None:
        nonlocal left
        data = b"".join(chunks)  # type: ignore[call-overload]
        left -= len(data)
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, [data])

    monkeypatch.setattr(store_module, "_write_local", write_until_full)
    with pytest.raises(OutputError, match=str(tmp_path / "out")) as caught:
        build(config)
    assert caught.value.exit_code == 2
    monkeypatch.undo()
    _only_whole_shards(tmp_path / "out")
    build(config)
    run(corpus, tmp_path / "calm", "editor=null", "runtime.workers=0")
    assert digests(tmp_path / "out") == digests(tmp_path / "calm")


def _only_whole_shards(output: Path) -> None:
    for stats in output.glob("stats/*/*.json"):
        assert not verify(Store(output), stats.stem, stats.parent.name)


def verify(store: Store, shard: str, split: str) -> object:
    from fstriplets.shards import verify_shard

    return verify_shard(store, shard, split, deep=True)


@pytest.mark.slow
def test_a_real_disk_that_is_full(corpus: Path, tmp_path: Path, notes: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2000k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        driver = start(corpus, disk / "out", notes, "editor=null")
        _, errors = driver.communicate(timeout=120)
        assert driver.returncode == 2, errors
        assert b"full" in errors
        assert b"Traceback" not in errors
        assert finished(disk / "out") > 0
        _only_whole_shards(disk / "out")
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        again = start(corpus, disk / "out", notes, "editor=null")
        _, errors = again.communicate(timeout=120)
        assert again.returncode == 0, errors
        run(corpus, tmp_path / "calm", "editor=null", "runtime.workers=0")
        assert digests(disk / "out") == digests(tmp_path / "calm")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_output_that_cannot_be_written_is_named(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run(corpus, tmp_path / "file" / "out", "editor=null", "runtime.workers=0")


def test_another_config_is_refused_and_nothing_touched(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "out", "editor=null", "runtime.workers=0")
    before = digests(tmp_path / "out")
    with pytest.raises(OutputError, match="seed") as caught:
        run(corpus, tmp_path / "out", "editor=null", "runtime.workers=0", "seed=7")
    assert caught.value.exit_code == 2
    assert digests(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("setting", "word"), [("runtime.scheduler=tcp://127.0.0.1:9", "127.0.0.1:9"), ("runtime.gpu=true", "gpu")]
)
def test_a_cluster_that_cannot_be_had(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, word: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ClusterError, match=word) as caught:
        run(corpus, tmp_path / "out", "editor=null", setting, "runtime.connect_timeout=0.5")
    assert caught.value.exit_code == 2
