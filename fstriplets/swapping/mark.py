"""The mark that says a picture is synthetic: an XMP packet in JPEG, PNG, WebP, MP4 and MOV files.

What is written is IPTC's `DigitalSourceType` with the term for composites that hold generated parts (the
same that C2PA and the large platforms read), and a line of history. The pictures' own metadata stays, and
so does what another program wrote into the packet before.

`read_mark(FILE)` reads it back; any XMP reader (exiftool, Bridge) shows the same.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from fstriplets import __version__
from fstriplets.swapping.containers import append_packet, film_packet, read_packet

__all__ = ["COMPOSITE", "FILMS", "MARKED", "NOTE", "Mark", "append_to_video", "marked", "read_mark"]

#: IPTC's term for a photo of which a trained network made a part.
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
NOTE = "face swapped by a neural network; this picture does not show what happened"
#: Suffixes of films that can carry the packet, and of all files that can.
FILMS = frozenset({".mp4", ".mov", ".m4v"})
MARKED = FILMS | {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"}

_SPACES = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpMM": "http://ns.adobe.com/xap/1.0/mm/",
    "stEvt": "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#",
}
_BEGIN = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'


@dataclass(frozen=True)
class Mark:
    """What a file says about how it was made; empty where it says nothing."""

    source_type: str  #: address of IPTC's term
    tool: str  #: program of the latest entry of the history, or the creator tool
    note: str  #: what it did

    @property
    def synthetic(self) -> bool:
        """Whether a trained network made the picture or part of it."""
        return self.source_type.rsplit("/", 1)[-1] in (
            "compositeWithTrainedAlgorithmicMedia",
            "trainedAlgorithmicMedia",
        )


def marked(packet: bytes = b"", note: str = NOTE) -> bytes:
    """An XMP packet with the mark and whatever else the given one says.

    Args:
        packet: of the photo; what cannot be read is replaced.
        note: entry of the history.
    """
    for prefix, address in _SPACES.items():
        ET.register_namespace(prefix, address)
    root = _parse(packet)
    if root is None:
        root = ET.Element(_n("x", "xmpmeta"))
        ET.SubElement(root, _n("rdf", "RDF"))
    rdf = root if root.tag == _n("rdf", "RDF") else root.find(f".//{_n('rdf', 'RDF')}")
    assert rdf is not None
    for description in rdf.findall(_n("rdf", "Description")):
        _drop(description, _n("Iptc4xmpExt", "DigitalSourceType"))
    described = rdf.find(_n("rdf", "Description"))
    if described is None:
        described = ET.SubElement(rdf, _n("rdf", "Description"), {_n("rdf", "about"): ""})
    described.set(_n("Iptc4xmpExt", "DigitalSourceType"), COMPOSITE)
    if not _property(root, "xmp", "CreatorTool"):  # a camera's own name stays
        described.set(_n("xmp", "CreatorTool"), f"fstriplets {__version__}")
    _append_history(rdf, described, note)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=False)
    return _BEGIN + b"\n" + body + b'\n<?xpacket end="r"?>'


def append_to_video(path: Path, note: str = NOTE) -> None:
    """Mark an MP4 or MOV file."""
    append_packet(path, marked(note=note))


def read_mark(file: str | Path | bytes) -> Mark | None:
    """What the packet of a file says; None without a packet that can be read.

    Args:
        file: path, or a picture's bytes.
    """
    if isinstance(file, bytes):
        packet = read_packet(file)
    else:
        path = Path(file)
        packet = film_packet(path) if path.suffix.lower() in FILMS else read_packet(path.read_bytes())
    root = _parse(packet)
    if root is None:
        return None
    event = [_fields(item) for item in root.iterfind(f".//{_n('xmpMM', 'History')}//{_n('rdf', 'li')}")]
    last = event[-1] if event else {}
    return Mark(
        source_type=_property(root, "Iptc4xmpExt", "DigitalSourceType"),
        tool=last.get("softwareAgent") or _property(root, "xmp", "CreatorTool"),
        note=last.get("parameters", ""),
    )


# the packet


def _n(space: str, name: str) -> str:
    return f"{{{_SPACES[space]}}}{name}"


def _parse(packet: bytes) -> ET.Element | None:
    """The packet's tree; None for what is none, or wants entities expanded."""
    text = packet.strip(b"\0 \r\n\t")
    if not text or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return None
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return None
    return root if root.find(f".//{_n('rdf', 'RDF')}") is not None or root.tag == _n("rdf", "RDF") else None


def _drop(description: ET.Element, name: str) -> None:
    description.attrib.pop(name, None)
    for child in description.findall(name):
        description.remove(child)


def _append_history(rdf: ET.Element, described: ET.Element, note: str) -> None:
    history = rdf.find(f".//{_n('xmpMM', 'History')}/{_n('rdf', 'Seq')}")
    if history is None:
        for description in rdf.findall(_n("rdf", "Description")):
            _drop(description, _n("xmpMM", "History"))
        history = ET.SubElement(ET.SubElement(described, _n("xmpMM", "History")), _n("rdf", "Seq"))
    entry = {"action": "edited", "softwareAgent": f"fstriplets {__version__}", "parameters": note}
    ET.SubElement(history, _n("rdf", "li"), {_n("stEvt", key): value for key, value in entry.items()})


def _property(root: ET.Element, space: str, name: str) -> str:
    """A simple property, whichever of RDF's two ways it is written."""
    wanted = _n(space, name)
    for description in root.iter(_n("rdf", "Description")):
        child = description.find(wanted)
        value = description.get(wanted) or (
            "" if child is None else child.text or child.get(_n("rdf", "resource"))
        )
        if value:
            return value.strip()
    return ""


def _fields(item: ET.Element) -> dict[str, str]:
    """Fields of a structure, written as attributes or as elements."""
    found = {key.rsplit("}", 1)[-1]: value for key, value in item.attrib.items()}
    return found | {child.tag.rsplit("}", 1)[-1]: child.text or "" for child in item.iter() if child.text}
