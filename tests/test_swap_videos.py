"""Swapping videos: sound and times stay, faces do not tremble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from swap_people import TOOLS, Inverter, demo, pixels_of

from fstriplets.errors import MissingDependency, UserError
from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.templates import template_points
from fstriplets.swapping import Choice, Swapper, read_mark, swap
from fstriplets.swapping.mark import append_to_video

pytestmark = pytest.mark.usefixtures("fresh_machine")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of a face that moves, and one without a face, without sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    photo = cv2.resize(pixels_of(demo(1)), (192, 192), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (192, 192))
    for step in range(4):
        writer.write(np.roll(photo, 3 * step, axis=1)[..., ::-1])
    writer.write(np.full((192, 192, 3), 128, np.uint8))
    writer.release()
    return path


def test_a_video_without_a_library_for_sound(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fstriplets.swapping.video.backend", lambda: "opencv")
    output, seen = tmp_path / "out.mp4", []
    with pytest.raises(MissingDependency, match="--no-audio"):
        swap(demo(0), clip, output, model=Inverter(), **TOOLS)
    model = Inverter()
    report = swap(demo(0), clip, output, model=model, audio=False, progress=seen.append, **TOOLS)
    item = report.items[0]
    assert (item.frames, item.frames_swapped, model.embedded) == (5, 4, 1)
    assert [(p.done, p.total, p.what) for p in seen] == [(i, 5, "frames") for i in range(1, 6)]
    assert _frame_count(output) == 5
    mark = read_mark(output)
    assert mark is not None
    assert mark.synthetic
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".mp4"] == ["out.mp4"]


def test_a_video_of_nobody_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fstriplets.swapping.video.backend", lambda: "opencv")
    path = tmp_path / "grey.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 64))
    writer.write(np.full((64, 64, 3), 99, np.uint8))
    writer.release()
    report = swap(demo(0), path, tmp_path / "out.mp4", model=Inverter(), audio=False, **TOOLS)
    assert (report.items[0].reason, report.exit_code()) == ("no_face", 1)
    assert [p.name for p in tmp_path.glob("*.mp4")] == ["grey.mp4"]


def _frame_count(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def _with_sound(clip: Path, path: Path) -> Path:
    """The clip with a second of tone beside it, at uneven times."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install 'fstriplets[video]'")
    from fractions import Fraction

    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=10)
        video.width = video.height = 192
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        sound = file.add_stream("aac", rate=16000)
        sound.layout = "mono"
        capture = cv2.VideoCapture(str(clip))
        for time in (0, 80, 250, 300, 420):
            frame = av.VideoFrame.from_ndarray(capture.read()[1], format="bgr24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            file.mux(video.encode(frame))
        capture.release()
        file.mux(video.encode())
        tone = (8000 * np.sin(np.arange(8000) / 20)).astype(np.int16)
        block = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        block.rate, block.pts = 16000, 0
        file.mux(sound.encode(block))
        file.mux(sound.encode())
    return path


def _streams(path: Path) -> Iterator[tuple[str, list[float]]]:
    av = pytest.importorskip("av")
    with av.open(str(path)) as file:
        for stream in file.streams:
            packets = [p for p in file.demux(stream) if p.pts is not None]
            yield stream.type, sorted(float(p.pts * p.time_base) for p in packets)
            file.seek(0)


def test_sound_and_times_stay(clip: Path, tmp_path: Path) -> None:
    source = _with_sound(clip, tmp_path / "sound.mp4")
    output = tmp_path / "out.mp4"
    report = swap(demo(0), source, output, model=Inverter(), **TOOLS)
    assert report.items[0].frames_swapped >= 3
    before, after = dict(_streams(source)), dict(_streams(output))
    assert after["video"] == pytest.approx(before["video"], abs=0.002)
    assert after["audio"] == pytest.approx(before["audio"], abs=0.002)
    import av

    with av.open(str(output)) as file:
        assert "compositeWithTrainedAlgorithmicMedia" in file.metadata["comment"]
    mark = read_mark(output)
    assert mark is not None
    assert mark.synthetic
    swap(demo(0), source, tmp_path / "mute.mp4", model=Inverter(), audio=False, **TOOLS)
    assert list(dict(_streams(tmp_path / "mute.mp4"))) == ["video"]


def test_a_broken_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"nothing" * 100)
    with pytest.raises(UserError, match=r"broken\.mp4"):
        swap(demo(0), path, tmp_path / "out.mp4", model=Inverter(), audio=False, **TOOLS)
    assert not list(tmp_path.glob("*out*"))


def test_the_mark_of_a_film_is_found_behind_its_boxes(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes((16).to_bytes(4, "big") + b"ftypisom\0\0\0\0" + (8).to_bytes(4, "big") + b"free")
    assert read_mark(path) is None
    append_to_video(path)
    mark = read_mark(path)
    assert mark is not None
    assert mark.synthetic


def test_a_face_that_stays_does_not_tremble(monkeypatch: pytest.MonkeyPatch) -> None:
    from fstriplets.swapping.swapper import Found
    from fstriplets.swapping.video import Film

    swapper = Swapper(Inverter(), **TOOLS)
    rng = np.random.default_rng(4)
    frame = pixels_of(demo(1))
    still = swapper.find(frame)[0]
    five = transform_points(template_points("ffhq", 128), cv2.invertAffineTransform(still.matrix))

    def found(points: np.ndarray) -> Found:
        return Found(still.box, similarity(points, template_points("ffhq", 128)), still.crop, still.landmarks)

    seen: list[Found] = []
    trembling = [found(five + rng.normal(0, 0.5, (5, 2))) for _ in range(30)]
    moved = found(five + np.array([30, 0]))
    answers = iter([*trembling, moved])
    monkeypatch.setattr(swapper, "find", lambda frame: [next(answers)])
    monkeypatch.setattr(swapper, "swap", lambda picture, faces, embedding: seen.extend(faces) or picture)
    film = Film(swapper, np.ones(4, np.float32), Choice())
    for _ in range(31):
        film(frame)

    def places(faces: list[Found]) -> np.ndarray:
        return np.stack([cv2.invertAffineTransform(face.matrix)[:, 2] for face in faces])

    assert places(seen[10:30]).std(axis=0).max() < 0.6 * places(trembling[10:]).std(axis=0).max()
    assert np.allclose(seen[30].matrix, moved.matrix)
    assert film.swapped == 31
