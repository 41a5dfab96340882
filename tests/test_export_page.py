"""The page for browsers: what is in the file, what it refuses, and that it swaps as `fstriplets swap` does.

The last part runs in headless Chromium with FSTRIPLETS_ORT_WEB, the npm package of onnxruntime-web (.tgz or
folder; `npm pack onnxruntime-web@1.30.0`); nothing is downloaded here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from chromium import Page, find_chromium
from PIL import Image
from safetensors.torch import save_file

from fstriplets.cli.app import run
from fstriplets.errors import ConfigError, OutputError, UserError, WeightsError
from fstriplets.faces.align import invert
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.resources import resource
from fstriplets.swapping import Swapper, load_model, read_mark
from fstriplets.swapping.paste import face_mask
from fstriplets.swapping.picture import load_picture

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'fstriplets[export]'")
pytestmark = pytest.mark.usefixtures("one_thread", "fresh_machine")

from fstriplets.export import export_page  # noqa: E402
from fstriplets.export.ort_web import read_runtime  # noqa: E402
from fstriplets.export.page import bundled_script  # noqa: E402

SIZE = 64
#: Of 255, inside the face and over the whole picture: what the page may differ from `fstriplets swap` by.
INSIDE, WHOLE = 1.0, 0.3
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def swapper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `train swap`: a seeded generator whose pictures have some contrast."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(5)
    network = MobileFSGANGenerator(8, 512, "shallow", (256,)).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    head = {"variant": "shallow", "outputs": "[256]", "channels": "8", "embedding_size": "512"}
    head |= {"image_size": str(SIZE), "crop": "ffhq", "embedder": "face_embedder"}
    (folder / "export").mkdir()
    save_file(network.state_dict(), folder / "export" / "swapper.safetensors", metadata=head)
    return folder


def package(folder: Path, name: str = "onnxruntime-web", files: tuple[str, ...] = ("script", "wasm")) -> Path:
    """A folder like an unpacked onnxruntime-web, with nothing that runs."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "1.30.0"}))
    paths = {"script": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
    for kind in files:
        (folder / "dist" / paths[kind]).write_bytes(f"the {kind}\n//# sourceMappingURL=x.map\n".encode())
    return folder


# the file


@pytest.fixture(scope="module")
def page(swapper: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page by the command line, without a runtime that runs."""
    folder = tmp_path_factory.mktemp("page")
    words = [
        "export",
        "page",
        str(swapper),
        "-o",
        str(folder / "a" / "swap.html"),
        "--images",
        "4",
        "-q",
        "--precision",
        "int8",
    ]
    assert run([*words, "--onnxruntime-web", str(package(folder / "ort"))]) == 0
    return (folder / "a" / "swap.html").read_text(encoding="utf-8")


def inner(page: str, name: str) -> str:
    """Text of the element with that id."""
    found = re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return found[1]


def packed(page: str, name: str) -> bytes:
    return gzip.decompress(base64.b64decode(inner(page, f"data-{name}")))


def test_the_page_holds_the_networks_the_runtime_and_what_they_need(page: str) -> None:
    roles = {"detector": "photo", "analyser": "face", "embedder": "face", "generator": "target"}
    for role, tensor in roles.items():
        model = onnx.load_from_string(packed(page, role))
        assert model.graph.input[0].name == tensor
        assert next(item.value for item in model.metadata_props if item.key == "role") == role
    precision = onnx.load_from_string(packed(page, "generator")).metadata_props
    assert next(item.value for item in precision if item.key == "precision") == "int8"
    assert packed(page, "runtime-script") == b"the script\n"  # without the address of its source map
    facts = json.loads(inner(page, "facts"))
    assert facts["size"] == SIZE
    assert len(facts["mean68"]) == 68
    assert "compositeWithTrainedAlgorithmicMedia" in facts["packet"]
    with Image.open(io.BytesIO(packed(page, "example-source"))) as image:
        assert min(image.size) >= 256


def test_the_page_may_run_its_own_script_and_connect_to_nothing(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == rules["connect-src"] == rules["form-action"] == "'none'"
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert script is not None
    assert style is not None
    for rule, text in (("script-src", script[1]), ("style-src", style[1])):
        wanted = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{wanted}'" in rules[rule]
        assert "unsafe-inline" not in rules[rule]
        assert "http" not in rules[rule]
    assert not re.search(r"""\b(?:src|href|action)\s*=\s*["']|@import|url\(""", page)


def test_the_page_says_what_it_is_for_and_whose_code_it_holds(page: str) -> None:
    assert "consent of both people" in page
    assert "says in its metadata that it is synthetic" in page
    assert "ONNX Runtime Web 1.30.0" in page
    assert "Copyright (c) Microsoft Corporation" in page
    assert "{{" not in page.split('id="facts"')[0]


def test_scripts_are_put_together_in_scopes_of_their_own() -> None:
    script = bundled_script()
    assert not re.search(r"^\s*(?:import\b(?!\()|export\b)", script, re.MULTILINE)
    assert script.count("_js = (() => {") == len(list(resource("export", "web").glob("*.js")))


def test_a_page_that_exists_is_kept(swapper: Path, tmp_path: Path) -> None:
    there = tmp_path / "swap.html"
    there.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        export_page(swapper, there, package(tmp_path / "ort"))
    with pytest.raises(OutputError, match=r"swap\.html"):
        export_page(swapper, tmp_path, tmp_path / "ort")
    assert there.read_text() == "mine"


def test_wrong_input_is_told_before_work_begins(swapper: Path, tmp_path: Path) -> None:
    ort = package(tmp_path / "ort")
    with pytest.raises(ConfigError, match="int4"):
        export_page(swapper, tmp_path / "a.html", ort, precision="int4")
    with pytest.raises(WeightsError, match="no such file"):
        export_page(tmp_path / "absent.safetensors", tmp_path / "a.html", ort)
    with pytest.raises(UserError, match="npm pack onnxruntime-web@"):
        export_page(swapper, tmp_path / "a.html", tmp_path / "ort.tgz")
    assert not (tmp_path / "a.html").exists()


def test_small_networks_hold_fp16_weights_and_agree_with_pytorch(swapper: Path, tmp_path: Path) -> None:
    sizes, packages = {}, package(tmp_path / "ort")
    for precision in ("fp32", "fp16"):
        report = export_page(swapper, tmp_path / f"{precision}.html", packages, precision=precision, images=2)
        generator, embedder = report.swapper.files
        assert generator.mean_error is not None
        assert generator.mean_error < 0.1
        assert embedder.min_cosine is not None
        assert embedder.min_cosine > 0.9999
        assert max(item.max_error for item in report.finders) < 0.1
        sizes[precision] = [item.bytes for item in (embedder, *report.finders)]
        assert "| detector |" in report.table()
    assert all(small < 0.6 * full for small, full in zip(sizes["fp16"], sizes["fp32"], strict=True))


# the npm package


def test_a_runtime_is_read_from_an_archive_and_from_folders(tmp_path: Path) -> None:
    folder = package(tmp_path / "package")
    archive = tmp_path / "onnxruntime-web-1.30.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "package")
    first = read_runtime(archive)
    assert first.version == "1.30.0"
    assert first.wasm.startswith(b"the wasm")
    assert read_runtime(folder) == read_runtime(tmp_path) == first


def test_another_package_and_an_old_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the package onnxruntime-web"):
        read_runtime(package(tmp_path / "node", "onnxruntime-node"))
    with pytest.raises(UserError, match=r"version 1\.30\.0 has no dist/ort\.wasm\.bundle\.min\.mjs"):
        read_runtime(package(tmp_path / "old", files=("wasm",)))
    (tmp_path / "cut.tgz").write_bytes(gzip.compress(b"nothing of the kind" * 99))
    with pytest.raises(UserError, match="no intact npm package"):
        read_runtime(tmp_path / "cut.tgz")


# in the browser


@pytest.fixture(scope="module")
def browser(swapper: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in Chromium, its networks loaded."""
    ort = os.environ.get("FSTRIPLETS_ORT_WEB")
    if not ort:
        pytest.skip(
            "needs FSTRIPLETS_ORT_WEB, the npm package of onnxruntime-web (npm pack onnxruntime-web@1.30.0)"
        )
    if find_chromium() is None:
        pytest.skip("needs chromium or google-chrome on PATH")
    folder = tmp_path_factory.mktemp("browser")
    export_page(swapper, folder / "swap.html", ort, images=4)
    shown = Page()
    try:
        shown.open(folder / "swap.html")
        shown.download_to(folder)
        shown.wait(f"{STATUS}.startsWith('Ready')", 120)
        yield shown
    finally:
        shown.close()


def take(browser: Page, side: str, photo: Path) -> str:
    """Chooses a photo; what the page says about it."""
    browser.run(f"document.querySelector('#{side} .note').textContent = ''; {STATUS} = ''")
    browser.choose(f"#{side} input", [photo])
    browser.wait(f"/^(Ready|This)/.test({STATUS})")
    return str(browser.run(f"document.querySelector('#{side} .note').textContent || {STATUS}"))


def swapped(browser: Page, folder: Path, kind: str = "png") -> Path:
    """Presses the buttons; the saved file."""
    browser.run(f"{STATUS} = ''; document.getElementById('swap').click()")
    browser.wait(f"{STATUS} === 'Swapped.'")
    return saved(browser, folder, kind)


def saved(browser: Page, folder: Path, kind: str) -> Path:
    browser.download_to(folder)
    browser.run(f"{STATUS} = ''; document.getElementById('{kind}').click()")
    name = str(browser.wait(f"(/^Saved as (.*?)\\. /.exec({STATUS}) ?? [])[1]"))
    for _ in range(100):
        if (folder / name).is_file():
            return folder / name
        time.sleep(0.05)
    raise AssertionError(f"{name} was not saved")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos of synthetic people: one each, one beside another, one turned by its EXIF, and of nobody."""
    folder, photos = tmp_path_factory.mktemp("people"), resource("demo", "photos")
    found = {name: folder / f"{name}.png" for name in ("source", "target", "pair", "nobody")}
    first, second = (Image.open(photos / name).convert("RGB") for name in ("p206/00.jpg", "p200/00.jpg"))
    first.save(found["source"])
    second.save(found["target"])
    pair = Image.new("RGB", (640, 320))
    pair.paste(second, (0, 0))
    pair.paste(first.resize((240, 240)), (360, 40))
    pair.save(found["pair"])
    exif = Image.Exif()
    exif[0x0112] = 6
    found["turned"] = folder / "turned.jpg"
    second.rotate(90, expand=True).save(found["turned"], quality=95, exif=exif)
    noise = np.random.default_rng(0).integers(90, 150, (200, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(found["nobody"])
    found["broken"] = folder / "broken.jpg"
    found["broken"].write_bytes(b"\xff\xd8\xff no picture")
    return found


def by_command(swapper: Path, source: Path, target: Path) -> tuple[np.ndarray, np.ndarray]:
    """What `fstriplets swap` makes of two photos, and where its face is."""
    tool = Swapper(load_model(swapper))
    given, picture = load_picture(source.read_bytes()), load_picture(target.read_bytes())
    face = tool.find(picture.seen)[0]
    made = tool.swap(picture, [face], tool.embed(given.seen)).pixels
    mask = face_mask(face.crop, tool._parser.labels(face.crop, face.landmarks), face.landmarks)
    height, width = made.shape[:2]
    return made, cv2.warpAffine(mask, invert(face.matrix), (width, height)) > 0.5


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB")).astype(int)


def test_the_page_swaps_as_the_command_does(
    browser: Page, swapper: Path, people: dict[str, Path], tmp_path: Path
) -> None:
    assert take(browser, "source", people["source"]) == "One face found."
    assert take(browser, "target", people["target"]) == "One face found."
    made = pixels_of(swapped(browser, tmp_path))
    wanted, inside = by_command(swapper, people["source"], people["target"])
    before = pixels_of(people["target"])
    assert np.abs(wanted - before)[inside].mean() > 5 * INSIDE  # there is something to compare
    error = np.abs(made - wanted)
    assert error[inside].mean() < INSIDE
    assert error.mean() < WHOLE
    far = cv2.dilate(inside.astype(np.uint8), np.ones((31, 31), np.uint8)) == 0
    assert (made == before)[far].all()
    assert browser.errors == []


def test_saved_files_say_that_they_are_synthetic(
    browser: Page, people: dict[str, Path], tmp_path: Path
) -> None:
    take(browser, "source", people["source"])
    take(browser, "target", people["target"])
    png = swapped(browser, tmp_path)
    jpeg = saved(browser, tmp_path, "jpeg")
    assert (png.name, jpeg.name) == ("target-swapped.png", "target-swapped.jpg")
    for path in (png, jpeg):
        mark = read_mark(path)
        assert mark is not None
        assert mark.synthetic
        assert mark.tool.startswith("fstriplets ")
        with Image.open(path) as image:
            image.load()
            assert image.size == (320, 320)


def test_of_several_faces_those_are_swapped_that_are_pressed(
    browser: Page, people: dict[str, Path], tmp_path: Path
) -> None:
    take(browser, "source", people["source"])
    assert take(browser, "target", people["pair"]).startswith("2 faces found")
    before, pressed = pixels_of(people["pair"]), "[...document.querySelectorAll('#target .faces button')]"
    assert browser.run(f"{pressed}.map((face) => face.ariaPressed).join()") == "true,false"
    for toggles, changed in (((), (True, False)), ((1, 0), (False, True)), ((0,), (True, True))):
        for k in toggles:
            browser.run(f"{pressed}[{k}].click()")
        made = pixels_of(swapped(browser, tmp_path))
        halves = [(made != before)[:, part].any() for part in (slice(0, 320), slice(320, 640))]
        assert tuple(halves) == changed
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


def test_a_photo_is_turned_as_its_exif_says(browser: Page, people: dict[str, Path], tmp_path: Path) -> None:
    take(browser, "source", people["source"])
    assert take(browser, "target", people["turned"]) == "One face found."
    made, upright = pixels_of(swapped(browser, tmp_path)), pixels_of(people["target"])
    assert np.abs(made - upright)[:60].mean() < 5  # hair and wall, but for another JPEG


def test_what_cannot_be_swapped_is_said(browser: Page, people: dict[str, Path]) -> None:
    take(browser, "source", people["source"])
    assert take(browser, "target", people["nobody"]).startswith("No face found.")
    assert browser.run("document.getElementById('swap').disabled")
    assert browser.run(STATUS) == "Ready. Choose a photo for the target."
    assert "cannot read broken.jpg" in take(browser, "target", people["broken"])
    assert browser.run("document.getElementById('swap').disabled")


def test_the_example_needs_no_files_and_nothing_is_fetched(browser: Page) -> None:
    browser.run(f"{STATUS} = ''; document.getElementById('example').click()")
    browser.wait(f"{STATUS} === 'Ready to swap.'")
    assert browser.run("document.querySelectorAll('.faces button').length") == 2
    assert {address.split(":")[0] for address in browser.requests} == {"file", "blob"}
    assert browser.run("fetch('data:,').then(() => 'sent', () => 'forbidden')") == "forbidden"
