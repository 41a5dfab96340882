"""Photo headers read by hand: size, depth, animation, completeness; nothing is allocated.

Pillow's own `open` allocates the canvas of WebP and AVIF, and neither Pillow nor OpenCV minds a file
whose end is zero-filled. JPEG (ITU T.81), PNG (W3C), GIF89a and WebP (RFC 9649) are parsed here;
of the rest only the kind is told, and Pillow's `open` reads their size without decoding.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from fstriplets.errors import PhotoRejected

__all__ = ["Header", "read_header"]

_MAX_SCANS = 200  # of a progressive JPEG: each costs a pass over the whole picture
_ZERO_TAIL = bytes(64)
_WEBP_ZEROS = bytes(16)


@dataclass(slots=True)
class Header:
    """What a file says about itself before decoding.

    Attributes:
        format: `jpeg`, `png`, `gif`, `webp`, `bmp`, `tiff`, `jp2`, `avif`, `heic`, `ppm`.
        pillow: Pillow's name of the format.
        width, height: pixels, 0 if the kind's header is left to Pillow.
        components: colours of a JPEG: 1 grey, 3 YCbCr or RGB, 4 CMYK.
        orientation: EXIF code 1..8 of a JPEG or PNG.
        profile: ICC profile of a JPEG.
        start: offset of the compressed data, where a completeness check begins.
    """

    format: str
    pillow: str
    width: int = 0
    height: int = 0
    bits: int = 8
    animated: bool = False
    components: int = 0
    orientation: int = 1
    profile: bytes = b""
    start: int = 0

    def check_complete(self, data: bytes) -> None:
        """Raise PhotoRejected("truncated") if the file's end is missing or overwritten with zeros."""
        if self.format == "jpeg":
            _check_jpeg_end(data, self.start)
        elif self.format == "png":
            _check_png_chunks(data)
        elif self.format == "webp":
            _check_webp_chunks(data)
        elif self.format == "gif":
            if b"\x3b" not in data[-64:]:
                raise _truncated("the GIF has no end marker")
        elif self.format in ("avif", "heic", "jp2") and data.endswith(_ZERO_TAIL):
            raise _truncated("the end of the file is filled with zeros")


def read_header(data: bytes) -> Header:
    """The header of a photo. Raises PhotoRejected: `empty`, `not_an_image`, `corrupt`, `truncated`."""
    if not data:
        raise PhotoRejected("empty", "the file is empty")
    if data[:3] == b"\xff\xd8\xff":
        return _read_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _read_png(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _read_gif(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _read_webp(data)
    if data[:2] == b"BM":
        return Header("bmp", "BMP")
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return Header("tiff", "TIFF", _tiff_tag(data, 256), _tiff_tag(data, 257), _tiff_tag(data, 258) or 8)
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return Header("jp2", "JPEG2000")
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return Header("avif", "AVIF", animated=brand == b"avis")
        if brand in (b"heic", b"heix", b"mif1", b"heim", b"heis", b"hevc", b"hevx", b"msf1"):
            return Header("heic", "HEIF", animated=brand in (b"hevc", b"hevx", b"msf1"))
    if data[:2] in (b"P5", b"P6") and data[2:3].isspace():
        return Header("ppm", "PPM")
    if not data.strip(b"\0"):
        raise PhotoRejected("truncated", "the file holds nothing but zeros")
    raise PhotoRejected("not_an_image", f"the file is in no photo format; it begins with {data[:8]!r}")


def _truncated(message: str) -> PhotoRejected:
    return PhotoRejected("truncated", message)


def _read_jpeg(data: bytes) -> Header:
    """Walk the segments up to the first scan."""
    header = Header("jpeg", "JPEG")
    at, end = 2, len(data)
    while at + 4 <= end:
        if data[at] != 0xFF:
            raise PhotoRejected("corrupt", f"a JPEG segment was expected at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2:
            raise PhotoRejected("corrupt", f"the JPEG segment at byte {at} is damaged")
        if marker == 0xDA:
            if not header.components:
                raise PhotoRejected("corrupt", "the JPEG has picture data before its header")
            header.start = at + 2 + size
            return header
        _read_segment(header, marker, data[at + 4 : at + 2 + size])
        at += 2 + size
    raise _truncated("the JPEG ends before its picture data")


def _read_segment(header: Header, marker: int, body: bytes) -> None:
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
        if len(body) < 6:
            raise _truncated("the JPEG ends within its header")
        header.bits, header.height, header.width, header.components = struct.unpack_from(">BHHB", body)
        if not header.width or not header.height:
            raise PhotoRejected("unsupported", "the JPEG header declares no size")
        if header.bits != 8 or header.components not in (1, 3, 4):
            kind = f"{header.components} components of {header.bits} bits"
            raise PhotoRejected("unsupported", f"a JPEG of {kind} is no photo")
    elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
        header.orientation = _orientation(body[6:])
    elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        header.profile += body[14:]


def _check_jpeg_end(data: bytes, start: int) -> None:
    """Entropy-coded data stuffs every 0xFF, so the first FF D9 after the scan's start is its end."""
    eoi = data.find(b"\xff\xd9", start)
    if eoi < 0:
        zeros = data.endswith(_ZERO_TAIL)
        raise _truncated(
            "the end of the JPEG is filled with zeros" if zeros else "the JPEG has no end marker"
        )
    if data.count(b"\xff\xda", start, eoi) > _MAX_SCANS:
        raise PhotoRejected("unsupported", f"the JPEG has more than {_MAX_SCANS} scans")


def _read_png(data: bytes) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise _truncated("the PNG ends within its header")
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    if not width or not height:
        raise PhotoRejected("corrupt", "the PNG header declares no size")
    idat = data.find(b"IDAT")
    head = data[: idat if idat >= 0 else 65536]
    exif = head.find(b"eXIf")
    orientation = _orientation(head[exif + 4 :]) if exif >= 0 else 1
    return Header("png", "PNG", width, height, bits, animated=b"acTL" in head, orientation=orientation)


def _check_png_chunks(data: bytes) -> None:
    """Every chunk's checksum, and the end chunk."""
    at, end = 8, len(data)
    while at + 12 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + size > end:
            break
        expected = int.from_bytes(data[at + 8 + size : at + 12 + size], "big")
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + size]) != expected:
            raise PhotoRejected("truncated", f"the PNG chunk at byte {at} fails its checksum")
        if kind == b"IEND":
            return
        at += 12 + size
    raise _truncated("the PNG has no end chunk")


def _read_gif(data: bytes) -> Header:
    if len(data) < 13:
        raise _truncated("the GIF ends within its header")
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("gif", "GIF", width, height)


def _read_webp(data: bytes) -> Header:
    """Lossy (VP8), lossless (VP8L) and extended (VP8X) headers."""
    kind = data[12:16]
    if len(data) < 30:
        raise _truncated("the WebP ends within its header")
    header = Header("webp", "WEBP")
    if kind == b"VP8X":
        header.animated = bool(data[20] & 2)
        header.width = int.from_bytes(data[24:27], "little") + 1
        header.height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8 ":
        header.width, header.height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        header.width, header.height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        raise PhotoRejected("corrupt", f"unknown WebP chunk {kind!r}")
    return header


def _check_webp_chunks(data: bytes) -> None:
    """The declared size, and that no picture chunk ends in zeros, which coded data does not."""
    size = struct.unpack_from("<I", data, 4)[0] + 8
    if len(data) < size - 1:  # some writers count the padding byte that they leave out
        raise _truncated(f"the WebP declares {size:,} bytes, the file has {len(data):,}")
    at = 12
    while at + 8 <= size:
        kind, length = struct.unpack_from("<4sI", data, at) if at + 8 <= len(data) else (b"", 0)
        if kind in (b"VP8 ", b"VP8L") and data[at + 8 : at + 8 + length].endswith(_WEBP_ZEROS):
            raise _truncated("the picture data of the WebP is filled up with zeros")
        at += 8 + length + (length & 1)


def _orientation(tiff: bytes) -> int:
    code = _tiff_tag(tiff, 274)
    return code if 1 <= code <= 8 else 1


def _tiff_tag(data: bytes, wanted: int) -> int:
    """An integer tag of a TIFF's first directory (the first value, if there are several); 0 without it."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        magic, at = struct.unpack_from(order + "HI", data, 2)
        if magic != 42:  # BigTIFF, or no TIFF at all
            return 0
        for entry in range(struct.unpack_from(order + "H", data, at)[0]):
            place = at + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", data, place)
            if tag == wanted and kind in (3, 4):
                code, size = (order + "H", 2) if kind == 3 else (order + "I", 4)
                inline = count * size <= 4
                where = place + 8 if inline else struct.unpack_from(order + "I", data, place + 8)[0]
                return int(struct.unpack_from(code, data, where)[0])
    except struct.error:
        pass
    return 0
