"""The mark that says a picture is synthetic: XMP in photos and films, C2PA."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from swap_people import TOOLS, Inverter, demo

from fstriplets.errors import ConfigError, MissingDependency, OutputError
from fstriplets.swapping import read_mark, swap
from fstriplets.swapping.containers import put_packet, read_packet
from fstriplets.swapping.mark import COMPOSITE, marked
from fstriplets.swapping.picture import Picture, load_picture, save_picture

pytestmark = pytest.mark.usefixtures("fresh_machine")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "lossless WEBP"])
@pytest.mark.parametrize("exif", [False, True])
def test_the_mark_is_read_back_and_changes_nothing_else(kind: str, exif: bool) -> None:
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (31, 47, 3)).astype(np.uint8))
    options: dict[str, Any] = {"lossless": True} if kind.startswith("lossless") else {}
    if exif:
        tags = Image.Exif()
        tags[0x010F] = "Maker"
        options["exif"] = tags.tobytes()
    stream = io.BytesIO()
    image.save(stream, kind.split()[-1], **options)
    plain = stream.getvalue()
    file = put_packet(plain, marked())
    twice = put_packet(file, marked(read_packet(file)))
    mark = read_mark(file)
    assert mark is not None
    assert mark.synthetic
    assert mark.source_type == COMPOSITE
    assert mark.tool.startswith("fstriplets ")
    assert read_packet(plain) == b""
    assert twice.count(b"DigitalSourceType=") == 1
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(twice)) as after:
        assert (np.array(before) == np.array(after)).all()
        assert after.info["xmp"].strip() == read_packet(twice).strip()
        assert (after.getexif().get(0x010F) == "Maker") == exif


def test_a_photos_own_packet_stays(tmp_path: Path) -> None:
    own = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Camera 7"'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"'
        b' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        b"<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
        b"</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    target = tmp_path / "own.jpg"
    target.write_bytes(put_packet(demo(1).read_bytes(), own))
    swap(demo(0), target, tmp_path / "out.jpg", model=Inverter(), **TOOLS)
    packet, mark = read_packet((tmp_path / "out.jpg").read_bytes()), read_mark(tmp_path / "out.jpg")
    assert b"Camera 7" in packet
    assert b"image/jpeg" in packet
    assert b"digitalCapture" not in packet
    assert mark is not None
    assert mark.source_type == COMPOSITE
    report = swap(demo(0), target, tmp_path / "bare.jpg", model=Inverter(), mark=False, **TOOLS)
    bare = read_mark(tmp_path / "bare.jpg")
    assert bare is not None
    assert not bare.synthetic
    assert any("--no-mark" in note for note in report.notes)


@pytest.mark.parametrize("packet", [b"", b"<broken", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"<a/>"])
def test_odd_packets_are_replaced(packet: bytes) -> None:
    mark = read_mark(put_packet(demo(0).read_bytes(), marked(packet)))
    assert mark is not None
    assert mark.synthetic


def test_a_packet_too_long_for_a_jpeg_gives_way_to_the_mark(tmp_path: Path) -> None:
    photo = load_picture(demo(0).read_bytes())
    long = marked().replace(b"<rdf:Seq>", b"<rdf:Seq>" + b"<rdf:li>x</rdf:li>" * 5000)
    save_picture(Picture(photo.pixels, photo.seen, packet=long), tmp_path / "a.jpg")
    mark = read_mark(tmp_path / "a.jpg")
    assert mark is not None
    assert mark.synthetic


def test_c2pa_needs_its_package_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from fstriplets.swapping.provenance import Signer

    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("x")
    pair = f"{tmp_path / 'cert.pem'},{tmp_path / 'key.pem'}"
    for text, words in (
        (f"{tmp_path / 'cert.pem'}", "give CERT"),
        (f"{pair},rsa", "es256"),
        ("a,b", "no such file"),
    ):
        with pytest.raises(ConfigError, match=words):
            Signer.parse(text)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingDependency, match=r"fstriplets\[c2pa\]"):
        Signer.parse(pair)


_CHAIN = """
[ca]
basicConstraints=critical,CA:true
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
[signer]
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
extendedKeyUsage=emailProtection
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


def _certificates(folder: Path) -> str:
    """A chain and its key, as --c2pa wants them."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make certificates")
    (folder / "x.cnf").write_text(_CHAIN)
    commands = [
        "ecparam -name prime256v1 -genkey -noout -out ca.key",
        "req -new -key ca.key -subj /CN=CA/O=Test -out ca.csr",
        "x509 -req -in ca.csr -signkey ca.key -days 9 -sha256 -extfile x.cnf -extensions ca -out ca.pem",
        "ecparam -name prime256v1 -genkey -noout -out sec1.key",
        "pkcs8 -topk8 -nocrypt -in sec1.key -out key.pem",
        "req -new -key key.pem -subj /CN=Signer/O=Test -out a.csr",
        "x509 -req -in a.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -sha256 -extfile x.cnf"
        " -extensions signer -out a.pem",
    ]
    for command in commands:
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    (folder / "chain.pem").write_bytes((folder / "a.pem").read_bytes() + (folder / "ca.pem").read_bytes())
    return f"{folder / 'chain.pem'},{folder / 'key.pem'}"


def test_c2pa_is_read_back(tmp_path: Path) -> None:
    c2pa = pytest.importorskip("c2pa", reason="needs c2pa-python: pip install 'fstriplets[c2pa]'")
    from fstriplets.swapping.provenance import Signer

    path = tmp_path / "a.jpg"
    save_picture(load_picture(demo(0).read_bytes()), path)
    Signer.parse(_certificates(tmp_path)).sign(path)
    found = json.loads(c2pa.Reader(str(path)).json())
    manifest = found["manifests"][found["active_manifest"]]
    actions = [a["data"]["actions"] for a in manifest["assertions"] if a["label"].startswith("c2pa.actions")]
    assert actions[0][0]["digitalSourceType"] == COMPOSITE
    assert {code["code"] for code in found.get("validation_status", [])} <= {"signingCredential.untrusted"}
    assert read_mark(path) is not None
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(OutputError, match="cannot be signed"):
        Signer.parse(f"{tmp_path / 'chain.pem'},{tmp_path / 'key.pem'}").sign(path)
    assert not list(tmp_path.glob(".*signed*"))
