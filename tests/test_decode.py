"""Decoding: every kind of photo comes out upright and 8-bit, every damaged one with its reason."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from corpus_photos import encode, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from fstriplets.config import PipelineConfig
from fstriplets.corpus import decode_photo, open_corpus
from fstriplets.errors import PhotoRejected

LIMIT = 10_000_000


def reason(data: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(PhotoRejected) as caught:
        decode_photo(data, limit)
    assert caught.value.message
    assert caught.value.status == "rejected"
    return caught.value.reason


def close(data: bytes, expected: np.ndarray, tolerance: float) -> None:
    decoded = decode_photo(data, LIMIT)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == expected.shape
    assert (decoded.height, decoded.width) == expected.shape[:2]
    assert np.abs(decoded.pixels.astype(int) - expected).mean() < tolerance


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("JPEG", {}, 4),
        ("JPEG", {"progressive": True, "optimize": True}, 4),
        ("PNG", {}, 0.01),
        ("WEBP", {"quality": 95}, 5),
        ("WEBP", {"lossless": True}, 0.01),
        ("BMP", {}, 0.01),
        ("TIFF", {}, 0.01),
        ("GIF", {}, 12),
        ("PPM", {}, 0.01),
    ],
)
def test_formats(format: str, options: dict[str, object], tolerance: float) -> None:
    pixels = picture()
    data = encode(pixels, format, **options)
    close(data, pixels, tolerance)
    assert decode_photo(data, LIMIT).format == format.lower()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(format: str, orientation: int) -> None:
    upright = picture()
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    close(encode(np.ascontiguousarray(undo(upright)), format, exif=exif), upright, 6)


def test_grey_palette_and_bilevel_become_rgb() -> None:
    grey = Image.fromarray(picture()).convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, -1)
    close(encode(grey), expected, 4)
    close(encode(grey, "PNG"), expected, 0.01)
    palette = Image.fromarray(picture()).quantize(64)
    close(encode(palette, "PNG"), np.asarray(palette.convert("RGB")), 0.01)
    bilevel = grey.convert("1")
    close(encode(bilevel, "PNG"), np.asarray(bilevel.convert("RGB")), 0.01)


def test_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("RGB", (48, 48), (200, 40, 30))
    pixels = decode_photo(encode(red.convert("CMYK")), LIMIT).pixels
    assert np.abs(pixels.reshape(-1, 3).mean(0) - (200, 40, 30)).max() < 12


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    pixels = picture()
    deep = pixels.astype(np.uint16) * 257
    for suffix in (".png", ".tiff"):
        close(cv2.imencode(suffix, deep[..., ::-1])[1].tobytes(), pixels, 0.01)
        grey = cv2.imencode(suffix, deep[..., 0])[1].tobytes()
        close(grey, np.repeat(pixels[..., :1], 3, -1), 0.01)
    alpha = np.full((*deep.shape[:2], 1), 65535 // 2, np.uint16)
    data = cv2.imencode(".png", np.concatenate([deep[..., ::-1], alpha], -1))[1].tobytes()
    close(data, (pixels / 2 + 127.5).astype(np.uint8), 1.5)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_turned_upright(format: str) -> None:
    grey = picture()[..., 0]
    exif = Image.Exif()
    exif[274] = 6
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(grey)).astype(np.uint16) * 257)
    close(encode(lying, format, exif=exif), np.repeat(grey[..., None], 3, -1), 0.01)


def test_transparency_is_laid_on_white() -> None:
    rgba = np.dstack([picture(), np.zeros((48, 64), np.uint8)])
    rgba[:, 32:, 3] = 255
    for format in ("PNG", "WEBP"):
        pixels = decode_photo(encode(rgba, format, **({"lossless": True} if format == "WEBP" else {})), LIMIT)
        assert (pixels.pixels[:, :30] == 255).all()
        assert np.abs(pixels.pixels[:, 34:].astype(int) - rgba[:, 34:, :3]).mean() < 0.01


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_colour_profiles_are_applied(format: str) -> None:
    """A profile with red and green swapped makes swapped colours; sRGB's own leaves them."""
    pixels = picture()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")).replace(
        b"sRGB", b"test"
    )
    close(encode(pixels, format, icc_profile=srgb), pixels, 4)
    close(encode(pixels, format, icc_profile=swapped), pixels[..., [1, 0, 2]], 6)
    close(encode(pixels, format, icc_profile=b"nonsense" * 20), pixels, 4)


def test_no_photo_at_all() -> None:
    assert reason(b"") == "empty"
    assert reason(b"hello, world, this is a text") == "not_an_image"
    assert reason(b"%PDF-1.7\n" + bytes(100)) == "not_an_image"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "not_an_image"
    assert reason(bytes(4096)) == "truncated"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_animations_are_turned_down(format: str) -> None:
    frames = [Image.fromarray(picture(seed=i)) for i in range(3)]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    assert reason(data) == "animated"


def _cases() -> list[tuple[str, bytes]]:
    pixels = picture(256, 256)
    return [
        ("jpeg", encode(pixels)),
        ("progressive", encode(pixels, progressive=True, optimize=True)),
        ("png", encode(pixels, "PNG")),
        ("webp", encode(pixels, "WEBP")),
        ("lossless webp", encode(pixels, "WEBP", lossless=True)),
        ("gif", encode(pixels, "GIF")),
        ("tiff", encode(pixels, "TIFF", compression="tiff_lzw")),
        ("bmp", encode(pixels, "BMP")),
    ]


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize(("name", "data"), _cases(), ids=[name for name, _ in _cases()])
def test_truncated(name: str, data: bytes, share: float) -> None:
    assert reason(data[: int(len(data) * share)]) in ("truncated", "corrupt")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize(("name", "data"), _cases()[:5], ids=[name for name, _ in _cases()[:5]])
def test_zero_filled_end(name: str, data: bytes, share: float) -> None:
    """What a download that reserved its space and then stopped leaves behind; cv2 and Pillow accept it."""
    kept = int(len(data) * share)
    assert reason(data[:kept] + bytes(len(data) - kept)) in ("truncated", "corrupt")


def test_jpeg_with_a_hole_or_a_pasted_end_marker() -> None:
    data = encode(picture(256, 256))
    assert reason(data[:9000] + bytes(512) + data[9512:]) in ("truncated", "corrupt")
    assert reason(data[:9000] + b"\xff\xd9") == "truncated"


def test_what_cameras_append_is_no_damage() -> None:
    pixels = picture()
    data = encode(pixels)
    close(data + bytes(1000), pixels, 4)
    close(data + encode(picture(seed=1)), pixels, 4)  # a second picture, as in MPO
    close(data[:-2] + b"\0\xff\xd9", pixels, 4)


def _bomb(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(side * (side // 8 + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_bombs_are_turned_down_by_their_header() -> None:
    webp = bytearray(encode(picture(), "WEBP", lossless=True))
    webp[21:25] = (0x0FFFFFFF).to_bytes(4, "little")  # 16384 x 16384
    jpeg = encode(picture())
    frame = jpeg.index(b"\xff\xc0")
    jpeg = jpeg[: frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9 :]
    gif = bytearray(encode(picture(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(encode(picture(), "BMP"))
    bmp[18:26] = struct.pack("<II", 60000, 60000)
    deep = cv2.imencode(".tiff", np.zeros((48, 64, 3), np.uint16))[1].tobytes()
    deep = deep.replace(struct.pack("<HHII", 256, 3, 1, 64), struct.pack("<HHII", 256, 4, 1, 64000))
    deep = deep.replace(struct.pack("<HHII", 257, 3, 1, 48), struct.pack("<HHII", 257, 4, 1, 48000))
    for data in (_bomb(20_000), bytes(webp), jpeg, bytes(gif), bytes(bmp), deep):
        tracemalloc.start()
        assert reason(data, 100_000_000) == "huge"
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


def test_max_pixels_is_the_limit() -> None:
    data = encode(picture(64, 48))
    assert decode_photo(data, 64 * 48).width == 64
    assert reason(data, 64 * 48 - 1) == "huge"


def test_large_photos_are_ours_to_judge_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow alone refuses from 179 megapixels on, whatever max_pixels says."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_photo(encode(picture(64, 48), "PNG"), LIMIT).width == 64
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_heic_without_its_decoder_says_what_to_install() -> None:
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(1, 200))
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        with pytest.raises(PhotoRejected, match="pip install pillow-heif"):
            decode_photo(data, LIMIT)
    else:
        assert reason(data) == "corrupt"


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(_cases()), st.data())
def test_flipped_bytes_never_crash(case: tuple[str, bytes], data: st.DataObject) -> None:
    damaged = bytearray(case[1])
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=12)):
        damaged[at] = data.draw(st.integers(0, 255))
    for at in data.draw(st.lists(st.integers(0, 40), max_size=4)):  # headers are where it hurts
        damaged[at] = data.draw(st.integers(0, 255))
    with suppress(PhotoRejected):
        decoded = decode_photo(bytes(damaged), LIMIT)
        assert decoded.pixels.ndim == 3
        assert decoded.width * decoded.height <= LIMIT


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b""]
    ),
    st.binary(max_size=200),
)
def test_junk_never_crashes(magic: bytes, junk: bytes) -> None:
    with pytest.raises(PhotoRejected):
        decode_photo(magic + junk, LIMIT)


@pytest.mark.real
@pytest.mark.parametrize("corpus", ["london", "lfw_small", "lfw_more"])
def test_real_photos_are_all_whole(shared_data: Path, corpus: str) -> None:
    opened = open_corpus(shared_data / corpus, PipelineConfig())
    count = 0
    for _, photos in opened.identities():
        for photo in photos:
            decode_photo(opened.read(photo), LIMIT)
            count += 1
    assert count == {"london": 140, "lfw_small": 250, "lfw_more": 2976}[corpus]
