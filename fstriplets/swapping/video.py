"""Videos, frame by frame, with their sound.

With PyAV (`fstriplets[video]`) every frame keeps its time stamp, so that films of phones, whose frame rate
varies, stay in step with their sound, which is copied untouched. Without it OpenCV reads, and the ffmpeg
program, where there is one, writes and copies the sound. With neither, OpenCV writes, and only without
sound, on demand: nobody loses it by surprise.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fstriplets.errors import MissingDependency, OutputError, PhotoRejected, UserError
from fstriplets.faces.align import invert, similarity, transform_points, warp
from fstriplets.faces.templates import template_points
from fstriplets.swapping.mark import COMPOSITE, FILMS, NOTE, append_to_video
from fstriplets.swapping.model import Embeddings
from fstriplets.swapping.picture import Picture
from fstriplets.swapping.swapper import Choice, Found, Swapper

__all__ = ["VIDEO_SUFFIXES", "Film", "backend", "swap_video"]

Pixels = npt.NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
Report = Callable[[int, int], None]

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
_QUALITY = "17"  # x264's constant rate factor: visually lossless
_COMMENT = f"{NOTE} ({COMPOSITE})"
_SAME = 0.3  # overlap of boxes from which a face is that of the frame before
_MOVES = 0.04  # distances between the eyes: a face that moves so far in a frame takes its new crop whole
_LEAST = 0.25  # of the new crop, however little it moves


class Film:
    """Swaps frame after frame and counts.

    `largest` means the face that was largest when it first appeared: in later frames the one that overlaps
    it most is the same person, even if somebody steps closer to the camera. A face that hardly moves keeps
    nearly the crop of the frame before: the noise of landmarks would make it tremble.

    Attributes:
        swapped: frames with a swapped face. faces: swapped in all.
        reason, message: why the last frame without one had none.
    """

    def __init__(self, swapper: Swapper, embedding: Embeddings, choice: Choice) -> None:
        self._swapper, self._embedding, self._choice = swapper, embedding, choice
        self._before: list[Found] = []
        self.swapped = self.faces = 0
        self.reason = self.message = ""

    def __call__(self, frame: Pixels) -> Pixels:
        """The frame uint8 [H, W, 3] with faces swapped; as it came where there is none."""
        try:
            faces = self._chosen(self._swapper.find(frame))
        except PhotoRejected as error:
            self.reason, self.message = error.reason, error.message
            return frame
        self._before = faces = [self._steadied(frame, face) for face in faces]
        self.swapped += 1
        self.faces += len(faces)
        pixels: Pixels = self._swapper.swap(Picture(frame, frame), faces, self._embedding).pixels
        return pixels

    def _chosen(self, found: list[Found]) -> list[Found]:
        if self._choice.like is not None or self._choice.faces != "largest":
            return self._swapper.choose(found, self._choice)
        if not self._before:
            return found[:1]
        last = self._before[0]
        again = max(found, key=lambda face: _overlap(face, last))
        return [again if _overlap(again, last) >= _SAME else found[0]]

    def _steadied(self, frame: Pixels, face: Found) -> Found:
        """The face in a crop between its own and that of the frame before."""
        last = max(self._before, key=lambda other: _overlap(face, other), default=None)
        if last is None or _overlap(face, last) < _SAME:
            return face
        model = self._swapper.model
        ideal = template_points(model.crop, model.size)
        old, new = (transform_points(ideal, invert(known.matrix)) for known in (last, face))
        moved = np.hypot(*(new - old).T).mean() / np.hypot(*(new[1] - new[0]))
        share = float(np.clip(moved / _MOVES, _LEAST, 1))
        matrix = similarity(share * new + (1 - share) * old, ideal)
        landmarks = transform_points(transform_points(face.landmarks, invert(face.matrix)), matrix)
        return replace(face, matrix=matrix, crop=warp(frame, matrix, model.size), landmarks=landmarks)


def _overlap(face: Found, other: Found) -> float:
    """Intersection over union of two boxes."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = face.box, other.box
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    both = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0)
    return shared / max(both - shared, 1e-9)


def backend() -> str:
    """What writes videos here: `av`, `ffmpeg` or `opencv` (no sound)."""
    try:
        import av  # noqa: F401
    except ImportError:
        return "ffmpeg" if shutil.which("ffmpeg") else "opencv"
    return "av"


def swap_video(source: Path, output: Path, change: Change, *, audio: bool, mark: bool, report: Report) -> int:
    """Pass every frame of a video through `change`.

    Args:
        source, output: files; the suffix of `output` names its container.
        change: upright frame uint8 [H, W, 3] sRGB to one of the same size.
        audio: copy the sound. mark: say in the file that it is synthetic.
        report: called with the frames done and their number (0: unknown).

    Returns:
        How many frames there were.

    Raises:
        UserError: a video that cannot be read, or sound that its container cannot hold.
        MissingDependency: sound is wanted, and nothing here can copy it.
    """
    how = backend()
    if how == "opencv" and audio:
        raise MissingDependency(
            "PyAV, or the program ffmpeg (or leave the sound out: --no-audio)", "video", "keeping the sound"
        )
    if how == "opencv" and mark and output.suffix.lower() not in FILMS:
        raise UserError(
            f"{output}: without PyAV only .mp4 and .mov files are marked; name it so, or --no-mark"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    write = {"av": _with_av, "ffmpeg": _with_ffmpeg, "opencv": _with_opencv}[how]
    frames = write(source, output, change, audio, mark, report)
    if not frames:
        raise UserError(f"{source}: no frame of the video can be read")
    if mark and output.suffix.lower() in FILMS:
        append_to_video(output)
    return frames


# PyAV


def _with_av(source: Path, output: Path, change: Change, audio: bool, mark: bool, report: Report) -> int:
    import av

    try:
        with av.open(str(source)) as reader:
            if not reader.streams.video:
                raise UserError(f"{source}: holds no video")
            with av.open(str(output), "w") as writer:
                if mark:
                    writer.metadata["comment"] = _COMMENT
                return _remux(reader, writer, change, audio, report)
    except av.error.FFmpegError as error:
        raise UserError(f"{source} to {output.suffix}: {error}{_hint(audio)}") from error


def _hint(audio: bool) -> str:
    """The way out where a container does not hold the sound of another."""
    return "; if it is the sound: name an --output that ends in .mkv, or --no-audio" if audio else ""


def _remux(reader: Any, writer: Any, change: Change, audio: bool, report: Report) -> int:
    """Decode, change, encode the picture; copy the packets of the sound."""
    video = reader.streams.video[0]
    video.thread_type = "AUTO"
    sounds = list(reader.streams.audio) if audio else []
    copies = {stream.index: writer.add_stream_from_template(stream) for stream in sounds}
    encoder: Any = None
    waiting: list[Any] = []  # sound before the first frame, whose size the file's head needs
    done = 0
    for packet in reader.demux(video, *sounds):
        if packet.stream is not video:
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                waiting.append(packet)
        else:
            for frame in packet.decode():
                upright = _upright(frame)
                encoder = encoder or _encoder(writer, video, upright)
                writer.mux(encoder.encode(_changed(frame, change(upright), encoder)))
                done += 1
                report(done, video.frames)
        if encoder is not None and waiting:
            writer.mux(waiting)
            waiting = []
    if encoder is not None:
        writer.mux(encoder.encode())
    return done


def _upright(frame: Any) -> Pixels:
    """The frame as it is meant to be shown: phones turn the picture by a flag."""
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _encoder(writer: Any, video: Any, upright: Pixels) -> Any:
    webm = writer.format.name.startswith("webm")
    rate = video.average_rate or video.guessed_rate or 30
    encoder = writer.add_stream("libvpx-vp9" if webm else "libx264", rate=rate)
    height, width = upright.shape[:2]
    encoder.width, encoder.height = width, height
    # Half-resolution colour needs even sides.
    encoder.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
    encoder.time_base = encoder.codec_context.time_base = video.time_base  # frames keep their times
    encoder.options = {"crf": "24", "b": "0"} if webm else {"crf": _QUALITY}
    context, original = encoder.codec_context, video.codec_context
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(context, name, getattr(original, name))
    return encoder


def _changed(frame: Any, pixels: Pixels, encoder: Any) -> Any:
    """A frame of other pixels at the same time, in the same colour system."""
    import av

    fresh: Any = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    fresh = fresh.reformat(
        format=encoder.pix_fmt, dst_colorspace=frame.colorspace, dst_color_range=frame.color_range
    )
    fresh.pts, fresh.time_base = frame.pts, frame.time_base
    return fresh


# OpenCV and ffmpeg


def _frames(source: Path) -> tuple[float, int, Iterator[Pixels]]:
    """Frames a second, number of frames (0: unknown), and the upright frames."""
    capture = cv2.VideoCapture(str(source))
    if not capture.isOpened():
        raise UserError(f"{source}: cannot be read as a video")
    rate = capture.get(cv2.CAP_PROP_FPS) or 30.0
    count = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames() -> Iterator[Pixels]:
        try:
            while True:
                read, bgr = capture.read()
                if not read:
                    return
                yield np.ascontiguousarray(bgr[..., ::-1])
        finally:
            capture.release()

    return rate, count, frames()


def _changed_frames(source: Path, change: Change, report: Report) -> tuple[float, Iterator[Pixels]]:
    rate, count, frames = _frames(source)

    def changed() -> Iterator[Pixels]:
        for index, frame in enumerate(frames):
            yield change(frame)
            report(index + 1, count)

    return rate, changed()


def _with_ffmpeg(source: Path, output: Path, change: Change, audio: bool, mark: bool, report: Report) -> int:
    rate, frames = _changed_frames(source, change, report)
    first = next(frames, None)
    if first is None:
        return 0
    height, width = first.shape[:2]
    even = width % 2 == 0 and height % 2 == 0
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{rate:.6f}", "-i", "-"]
    command += (
        ["-i", str(source), "-map", "0:v", "-map", "1:a?", "-c:a", "copy"] if audio else ["-map", "0:v"]
    )
    if output.suffix.lower() != ".webm":
        command += ["-c:v", "libx264", "-crf", _QUALITY]
    command += ["-pix_fmt", "yuv420p" if even else "yuv444p"]
    command += ["-metadata", f"comment={_COMMENT}"] if mark else []
    process = subprocess.Popen([*command, str(output)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    done = 0
    try:
        for frame in _chain(first, frames):
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
            done += 1
    except BrokenPipeError:
        pass  # ffmpeg has said why
    except BaseException:
        process.kill()
        process.wait()
        raise
    _, said = process.communicate()
    if process.returncode:
        why = (said.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{source}: ffmpeg cannot write {output.suffix}: {why}{_hint(audio)}")
    return done


def _chain(first: Pixels, rest: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest


def _with_opencv(source: Path, output: Path, change: Change, audio: bool, mark: bool, report: Report) -> int:
    rate, frames = _changed_frames(source, change, report)
    writer: Any = None
    done = 0
    try:
        for frame in frames:
            if writer is None:
                code = {".avi": "MJPG", ".webm": "VP90"}.get(output.suffix.lower(), "mp4v")
                size = (frame.shape[1], frame.shape[0])
                writer = cv2.VideoWriter(str(output), cv2.VideoWriter.fourcc(*code), rate, size)
                if not writer.isOpened():
                    raise OutputError(f"OpenCV cannot write {output}: pip install 'fstriplets[video]'")
            writer.write(frame[..., ::-1])
            done += 1
    finally:
        if writer is not None:
            writer.release()
    return done
