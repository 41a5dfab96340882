"""XMP packets in and out of files: JPEG, PNG and WebP, and MP4 and MOV films.

Files are taken apart and put together again around the packet; pixels and other metadata are not touched.
XMP specification part 3 (Adobe, 2020); PNG's iTXt; RFC 9649 (WebP); ISO 14496-12 (boxes).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["append_packet", "film_packet", "png_chunk", "put_packet", "read_packet"]

_JPEG_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_PNG_KEY = b"XML:com.adobe.xmp"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # uuid of XMP's box in MP4 and MOV


def put_packet(data: bytes, packet: bytes) -> bytes:
    """A JPEG, PNG or WebP file with that packet in place of its own; all else untouched.

    Raises:
        ValueError: another kind of file, or a packet longer than a JPEG holds (64 KB).
    """
    if data.startswith(b"\xff\xd8"):
        return _into_jpeg(data, packet)
    if data.startswith(_PNG_START):
        return _into_png(data, packet)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _into_webp(data, packet)
    raise ValueError("only JPEG, PNG and WebP files hold a packet")


def read_packet(data: bytes) -> bytes:
    """The XMP packet of a JPEG, PNG or WebP file; empty where there is none."""
    if data.startswith(b"\xff\xd8"):
        found = [body for _, marker, body in _segments(data) if marker == 0xE1]
        return next((b[len(_JPEG_HEAD) :] for b in found if b.startswith(_JPEG_HEAD)), b"")
    if data.startswith(_PNG_START):
        return next((_png_text(body) for kind, body in _chunks(data) if _is_xmp_chunk(kind, body)), b"")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return next((body for kind, body in _riff(data) if kind == b"XMP "), b"")
    return b""


# JPEG


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Segments before the picture's data: where each starts, its marker, its body."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker == 0xDA:
            return
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        yield place, marker, data[place + 4 : place + 2 + length]
        place += 2 + length


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    if len(_JPEG_HEAD) + len(packet) + 2 > 0xFFFF:
        raise ValueError("a JPEG's packet is at most 64 KB long")
    segment = struct.pack(">HH", 0xFFE1, len(_JPEG_HEAD) + len(packet) + 2) + _JPEG_HEAD + packet
    kept = [b"\xff\xd8"]
    end, placed = 2, False
    for place, marker, body in _segments(data):
        end = place + 4 + len(body)
        leads = marker == 0xE0 or (marker == 0xE1 and body.startswith(b"Exif\0"))
        if not leads and not placed:  # behind JFIF and Exif, which must come first
            kept.append(segment)
            placed = True
        # An extended packet belongs to the old main one, whose digest it carries.
        if not (marker == 0xE1 and body.startswith((_JPEG_HEAD, _JPEG_MORE))):
            kept.append(data[place:end])
    return b"".join([*kept, *([] if placed else [segment]), data[end:]])


# PNG


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_PNG_START)
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length


def _is_xmp_chunk(kind: bytes, body: bytes) -> bool:
    return kind == b"iTXt" and body.startswith(_PNG_KEY + b"\0")


def _png_text(body: bytes) -> bytes:
    compressed = body[len(_PNG_KEY) + 1] == 1
    text = body[len(_PNG_KEY) + 3 :].split(b"\0", 2)[-1]
    if not compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, 1 << 24)
    except zlib.error:
        return b""


def _into_png(data: bytes, packet: bytes) -> bytes:
    text = _PNG_KEY + b"\0\0\0\0\0" + packet
    parts = [_PNG_START]
    for kind, body in _chunks(data):
        if not _is_xmp_chunk(kind, body):
            parts.append(png_chunk(kind, body))
        if kind == b"IHDR":
            parts.append(png_chunk(b"iTXt", text))
    return b"".join(parts)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG: length, kind, body, checksum."""
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


# WebP


def _riff(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack("<4sI", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)


def _into_webp(data: bytes, packet: bytes) -> bytes:
    chunks = [(kind, body) for kind, body in _riff(data) if kind != b"XMP "]
    if chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _extended_head(*chunks[0])))
    head = bytearray(chunks[0][1])
    head[0] |= 0x04  # there is an XMP chunk
    chunks[0] = (b"VP8X", bytes(head))
    chunks.append((b"XMP ", packet))
    body = b"".join(
        struct.pack("<4sI", kind, len(part)) + part + b"\0" * (len(part) & 1) for kind, part in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _extended_head(kind: bytes, body: bytes) -> bytes:
    """VP8X of a file without one: flags, three reserved bytes, width - 1 and height - 1 in 24 bits."""
    width: int
    height: int
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", body[1:5])
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    else:
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", body[6:10]))
        alpha = False
    flags = 0x10 if alpha else 0
    return bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


# films


def append_packet(path: Path, packet: bytes) -> None:
    """Append a packet to an MP4 or MOV file, as a box of its own; players pass over it."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + _BOX + packet)


def film_packet(path: Path) -> bytes:
    """The packet of an MP4 or MOV file; empty where there is none."""
    with path.open("rb") as file:  # box by box: a film is not read into memory
        start = 0
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            header = 8
            if length == 1:  # the length follows in 64 bits
                length, header = int.from_bytes(file.read(8), "big"), 16
            if length < header:  # 0: to the end of the file
                break
            if kind == b"uuid" and length >= header + 16 and file.read(16) == _BOX:
                return file.read(length - header - 16)
            start += length
            file.seek(start)
    return b""
