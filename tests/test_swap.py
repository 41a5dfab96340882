"""Swapping: photos, folders and videos through a seeded generator; what must stay as it was; the mark."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from fstriplets.cli.app import run
from fstriplets.config import PipelineConfig, load_config
from fstriplets.corpus.base import Terms
from fstriplets.errors import (
    ConfigError,
    MissingDependency,
    OutputError,
    PhotoRejected,
    UserError,
    WeightsError,
)
from fstriplets.evaluation import evaluate_photo_swaps
from fstriplets.faces import FaceStage
from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.detect_lbp import LbpDetector
from fstriplets.faces.parse import PARTS, LandmarkParser
from fstriplets.faces.templates import MEAN_68, template_points
from fstriplets.models.weights import file_sha256
from fstriplets.resources import resource
from fstriplets.swapping import Choice, Swapper, load_model, load_swapper, read_mark, swap
from fstriplets.swapping.containers import put_packet, read_packet
from fstriplets.swapping.mark import COMPOSITE, append_to_video, marked
from fstriplets.swapping.paste import face_mask, match_colour, paste
from fstriplets.swapping.picture import Picture, load_picture, save_picture

SIZE = 64
TOOLS: dict[str, Any] = {"detector": "lbp", "landmarker": "template", "parser": "landmarks"}
FLAGS = ["--detector", "lbp", "--landmarker", "template", "--parser", "landmarks"]


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh machine: no weights."""
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS", str(tmp_path / "weights"))


@cache
def demo(number: int) -> Path:
    """A photo of the demo corpus in which lbp finds a face, each number another person's."""
    people = sorted((resource("demo") / "photos").iterdir())
    if number:
        people = people[people.index(demo(number - 1).parent) + 1 :]
    finder = LbpDetector(PipelineConfig())
    for photo in (photo for person in people for photo in sorted(person.glob("*.jpg"))):
        if finder.detect(Terms().photo("", ""), pixels_of(photo)):
            return photo
    raise AssertionError(f"lbp finds fewer than {number + 1} people in the demo corpus")


def nobody(folder: Path) -> Path:
    """A photo without a face."""
    path = folder / "nobody.jpg"
    Image.fromarray(np.random.default_rng(0).integers(90, 150, (120, 160, 3)).astype(np.uint8)).save(path)
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


class Inverter:
    """A model whose swap is told from the target at a glance; faces embed as their mean colour."""

    size, crop, name = 128, "ffhq", "inverter"

    def __init__(self) -> None:
        self.embedded = self.swapped = 0

    def embed(self, crops: np.ndarray) -> np.ndarray:
        self.embedded += len(crops)
        small = np.stack([cv2.resize(crop[32:-16, 32:-32], (8, 8)).astype(np.float32) for crop in crops])
        flat = small.reshape(len(crops), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    def swap(self, crops: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        assert len(crops) == len(embeddings)
        self.swapped += len(crops)
        return 255 - crops


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded generator as `train swap` exports it, of 64 px crops."""
    return _export(tmp_path_factory.mktemp("weights") / "swapper.safetensors")


def _export(path: Path, **changed: str) -> Path:
    import torch
    from safetensors.torch import save_file

    from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator

    torch.manual_seed(5)
    network = MobileFSGANGenerator(8, 512, "shallow", (256, 128))
    head = {"variant": "shallow", "outputs": "[256, 128]", "channels": "8", "embedding_size": "512"}
    head |= {"image_size": str(SIZE), "crop": "ffhq", "embedder": "seeded"}
    save_file(network.state_dict(), path, metadata=head | changed)
    return path


def two_people(folder: Path) -> Path:
    """A photo of two demo people, the second smaller, as PNG."""
    left, right = pixels_of(demo(0)), pixels_of(demo(2))
    photo = np.full((320, 600, 3), 90, np.uint8)
    photo[:, :320] = left
    photo[40:280, 340:580] = cv2.resize(right, (240, 240), interpolation=cv2.INTER_AREA)
    path = folder / "two.png"
    Image.fromarray(photo).save(path)
    return path


# one photo


def test_a_photo_is_swapped_by_the_command_line(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "swapped.jpg"
    line = ["swap", "--source", str(demo(0)), "--target", str(demo(1)), "-o", str(output)]
    assert run([*line, "--weights", str(weights), *FLAGS]) == 0
    before, after = pixels_of(demo(1)), pixels_of(output)
    changed = np.abs(before.astype(int) - after).max(axis=2) > 24
    assert after.shape == before.shape
    assert 0.02 < changed.mean() < 0.5
    assert read_mark(output) is not None
    assert "1 of 1 swapped" in capfd.readouterr().out


def test_pixels_outside_the_face_are_untouched(tmp_path: Path) -> None:
    target = tmp_path / "target.png"
    Image.fromarray(pixels_of(demo(1))).save(target)
    swap(demo(0), target, tmp_path / "out.png", model=Inverter(), colour_match=False, **TOOLS)
    before, after = pixels_of(target), pixels_of(tmp_path / "out.png")
    swapper = Swapper(Inverter(), **TOOLS)
    face = swapper.find(before)[0]
    hull = LandmarkParser().labels(face.crop, face.landmarks) > 0
    y, x = np.mgrid[: before.shape[0], : before.shape[1]]
    u, v = np.rint(transform_points(np.stack([x.ravel(), y.ravel()], 1), face.matrix)).astype(int).T
    inside = np.zeros(before.shape[:2], bool)
    known = (u >= 0) & (v >= 0) & (u < 128) & (v < 128)
    inside.ravel()[known] = hull[v[known], u[known]]
    near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (after[~near] == before[~near]).all()
    middle = cv2.erode(inside.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    assert middle.any()
    assert np.abs(after[middle].astype(int) - (255 - before[middle].astype(int))).mean() < 6


def test_orientation_is_undone_and_exif_kept(tmp_path: Path) -> None:
    upright = Image.fromarray(pixels_of(demo(1)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    target = tmp_path / "turned.jpg"
    upright.transpose(Image.Transpose.ROTATE_90).save(target, exif=exif.tobytes(), quality=97)
    swap(demo(0), target, tmp_path / "out.jpg", model=Inverter(), **TOOLS)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "Maker"
        border = np.array(image)[:40].astype(int)
    assert np.abs(border - np.array(upright)[:40]).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_16_bit_png_keeps_depth_alpha_and_orientation(tmp_path: Path, orientation: int) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 65536, (20, 30, 4)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain = Picture(stored[..., :3], np.zeros((20, 30, 3), np.uint8), stored[..., 3], exif=exif.tobytes())
    path = tmp_path / "deep.png"
    save_picture(plain, path, mark=False)
    picture = load_picture(path.read_bytes())
    view = Image.fromarray((stored[..., :3] >> 8).astype(np.uint8))
    view.getexif()[0x0112] = orientation
    from PIL import ImageOps

    assert (picture.pixels >> 8 == np.array(ImageOps.exif_transpose(view))).all()
    assert picture.alpha is not None
    assert sorted(picture.alpha.ravel()) == sorted(stored[..., 3].ravel())
    save_picture(picture, path)
    again = load_picture(path.read_bytes())
    assert (again.pixels == picture.pixels).all()
    assert (again.alpha == picture.alpha).all()


def test_a_16_bit_photo_is_pasted_in_16_bits(tmp_path: Path) -> None:
    deep = pixels_of(demo(1)).astype(np.uint16) * 257 + 3
    deep[0, 0] = 12345
    path, output = tmp_path / "deep.png", tmp_path / "out.png"
    cv2.imwrite(str(path), deep[..., ::-1])
    swap(demo(0), path, output, model=Inverter(), **TOOLS)
    after = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert after.dtype == np.uint16
    same = (after == deep).all(axis=2)
    assert same[0, 0]
    assert 0.5 < same.mean() < 0.98


def test_profile_and_grey_stay(tmp_path: Path) -> None:
    from PIL import ImageCms

    lab_like = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Image.fromarray(pixels_of(demo(1)))
    photo.save(tmp_path / "profile.png", icc_profile=lab_like)
    photo.convert("L").save(tmp_path / "grey.png")
    swap(demo(0), tmp_path, tmp_path / "out", model=Inverter(), **TOOLS)
    with Image.open(tmp_path / "out" / "profile.png") as image:
        assert image.info["icc_profile"] == lab_like
    with Image.open(tmp_path / "out" / "grey.png") as image:
        assert image.mode == "L"


def test_a_wide_profile_is_converted_for_the_face_only() -> None:
    picture = Picture(
        np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), profile=_swapped_channels_profile()
    )
    red = np.zeros((1, 1, 3), np.float32)
    red[..., 0] = 200
    native = picture.native(red)
    assert native[0, 0, 0] != pytest.approx(200)  # the profile's primaries differ
    assert (Picture(picture.pixels, picture.pixels).native(red) == red).all()


def _swapped_channels_profile() -> bytes:
    """An sRGB profile whose red and green primaries change places."""
    from PIL import ImageCms

    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    for i in range(len(data) - 4):  # the name must not say sRGB
        if data[i : i + 4] == b"sRGB":
            data[i : i + 4] = b"mine"
        if data[i : i + 8] == "sRGB".encode("utf-16-be"):
            data[i : i + 8] = "mine".encode("utf-16-be")
    return bytes(data)


# mask, colours, paste


def _face(size: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop, its labels by the mean landmarks, and those."""
    points = np.array(MEAN_68) * size - 0.5
    crop = np.full((size, size, 3), 120, np.uint8)
    return crop, LandmarkParser().labels(crop, points), points


def test_what_lies_over_the_face_is_no_face() -> None:
    crop, labels, points = _face()
    free = face_mask(crop, labels, points)
    labels[56:60, 36:92] = PARTS.index("glasses")  # a frame
    labels[80:100, 40:60] = PARTS.index("background")  # a hand
    labels[:45] = PARTS.index("hair")
    covered = face_mask(crop, labels, points)
    assert free.max() == 1
    assert free[~np.isin(_face()[1], [i for i, name in enumerate(PARTS) if name != "background"])].max() == 0
    assert covered[56:60, 36:92].max() == covered[80:100, 40:60].max() == covered[:45].max() == 0
    assert covered[72, 64] > 0.9


@pytest.mark.parametrize(("luma", "stays"), [(120, False), (20, True)])
def test_sunglasses_stay_and_clear_lenses_do_not(luma: int, stays: bool) -> None:
    crop, labels, points = _face()
    labels[50:66, 36:92] = PARTS.index("glasses")
    crop[50:66, 36:92] = luma
    labels[70:73, 62:65] = PARTS.index("background")  # a parser's doubt
    mask = face_mask(crop, labels, points)
    assert (mask[50:66, 36:92].max() == 0) == stays
    assert mask[71, 63] > 0.4


def test_a_parser_that_sees_face_everywhere_is_held_by_the_landmarks() -> None:
    crop, _, points = _face()
    mask = face_mask(crop, np.full((128, 128), PARTS.index("skin"), np.uint8), points)
    assert mask[5, 5] == mask[120, 8] == 0
    assert mask[70, 64] == 1


def test_colours_are_matched_within_the_mask() -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(90, 200, (64, 64, 3)).astype(np.uint8)
    swapped = (target.astype(np.float32) * (0.5, 0.7, 0.9) + 20).astype(np.uint8)
    mask = np.zeros((64, 64), np.float32)
    mask[16:48, 16:48] = 1
    matched = match_colour(swapped, target, mask)
    inside = mask > 0
    assert np.abs(matched[inside].mean(0) - target[inside].mean(0)).max() < 6
    assert np.abs(swapped[inside].mean(0) - target[inside].mean(0)).max() > 30
    assert (match_colour(swapped, target, np.zeros((64, 64), np.float32)) == swapped).all()


@pytest.mark.parametrize("scale", [0.2, 1.0, 3.7])
def test_paste_puts_a_crop_where_it_came_from(scale: float) -> None:
    """Whatever the size of the face in the photo: a smooth pattern comes back in place."""
    size = 96
    five = template_points("ffhq", 100) * scale + (40, 55)
    matrix = similarity(five, template_points("ffhq", size))
    side = int(200 * scale) + 150
    y, x = np.mgrid[:side, :side]
    wave = 128 + 90 * np.sin((x + 2 * y) / (40 * max(scale, 0.5)))
    photo = np.repeat(wave[..., None], 3, 2).astype(np.uint8)
    from fstriplets.faces.align import warp

    crop = warp(photo, matrix, size)
    mask = np.zeros((size, size), np.float32)
    mask[20:-20, 20:-20] = 1
    into = photo.copy()
    into[: side // 2] = np.where(into[: side // 2] > 250, 250, into[: side // 2])
    paste(Picture(photo, photo), into, crop, mask, matrix)
    assert np.abs(into.astype(int) - photo).max() <= 6
    into = photo.copy()
    paste(Picture(photo, photo), into, 255 - crop, mask, matrix)
    changed = (into != photo).any(axis=2)
    assert changed.sum() == pytest.approx(((size - 40) / size * 100 * scale) ** 2, rel=0.25)


# which face, and who


def test_which_faces_of_several(tmp_path: Path) -> None:
    target = two_people(tmp_path)
    before = pixels_of(target)

    def halves(**options: Any) -> tuple[bool, bool]:
        report = swap(
            demo(3),
            target,
            tmp_path / "out.png",
            model=Inverter(),
            overwrite=True,
            **options,
            **TOOLS,
        )
        assert report.items[0].status == "swapped"
        changed = (pixels_of(tmp_path / "out.png") != before).any(axis=2)
        return bool(changed[:, :320].any()), bool(changed[:, 340:].any())

    assert halves() == (True, False)
    assert halves(faces="all") == (True, True)
    assert halves(faces=2) == (True, True)
    assert halves(like=demo(0)) == (True, False)
    assert halves(like=demo(2)) == (False, True)
    report = swap(
        demo(3),
        target,
        tmp_path / "none.png",
        model=Inverter(),
        like=demo(2),
        like_min=0.999,
        **TOOLS,
    )
    assert report.items[0].reason == "not_like"
    assert not (tmp_path / "none.png").exists()
    with pytest.raises(ConfigError, match="--faces some: choose largest, all"):
        Choice.parse("some")


def test_a_folder_keeps_its_names_and_embeds_the_source_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(demo(1), folder / "a.jpg")
    shutil.copy(demo(2), folder / "sub" / "b.jpg")
    nobody(folder)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a photo")
    model, seen = Inverter(), []
    report = swap(demo(0), folder, tmp_path / "out", model=model, progress=seen.append, **TOOLS)
    assert {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jpg")} == {
        "a.jpg",
        "sub/b.jpg",
    }
    assert {item.target.name: item.reason for item in report.items if item.status != "swapped"} == {
        "broken.jpg": "not_an_image",
        "nobody.jpg": "no_face",
    }
    assert (model.embedded, model.swapped) == (1, 2)
    assert [p.done for p in seen] == [1, 2, 3, 4]
    assert (report.exit_code(), report.exit_code(strict=True)) == (0, 1)


def test_nobody_in_the_photo_is_exit_code_1(
    weights: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["swap", "--source", str(demo(0)), "--target", str(nobody(tmp_path))]
    assert run([*line, "-o", str(tmp_path / "x.jpg"), "--weights", str(weights), *FLAGS]) == 1
    assert "no_face" in capfd.readouterr().err
    assert not (tmp_path / "x.jpg").exists()


# bad input


def test_bad_input_is_named(tmp_path: Path) -> None:
    good, model = demo(1), Inverter()
    held = tmp_path / "held.jpg"
    shutil.copy(good, held)

    def refused(
        error: type[Exception], words: str, source: Path, target: Path, output: Path, **o: Any
    ) -> None:
        with pytest.raises(error, match=words):
            swap(source, target, output, model=model, **TOOLS, **o)

    new = tmp_path / "new.jpg"
    refused(UserError, "--source .*no_face.*clear face", nobody(tmp_path), good, new)
    refused(UserError, "--source: no such file", tmp_path / "absent.jpg", good, new)
    refused(UserError, "--target: no such file or folder", good, tmp_path / "absent", new)
    refused(OutputError, "exists already: --overwrite", demo(0), good, held)
    refused(UserError, "same file as --source", good, good, new)
    refused(OutputError, "would replace a picture that is read", demo(0), held, held, overwrite=True)
    refused(UserError, "name a file that ends in", demo(0), good, tmp_path / "x.tiff")
    refused(UserError, "no photo or video by its name", demo(0), Path(__file__), new)
    refused(OutputError, "folder of the targets", demo(0), tmp_path, tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(UserError, "holds no photos", demo(0), empty, tmp_path / "o")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:3000])
    refused(UserError, "--source .*truncated", bad, good, new)
    report = swap(demo(0), bad, new, model=model, **TOOLS)
    assert (report.items[0].reason, report.exit_code()) == ("truncated", 1)


# weights


def test_the_bundled_swapper_leaves_the_targets_identity_but_not_its_pose() -> None:
    model = load_model("mobilefsgan_128", device="cpu")
    config = load_config(None, [f"image_size={model.size}", "detector=bundled", "landmarker=bundled"])
    rows, _ = evaluate_photo_swaps(Path("demo"), config, FaceStage(config), model, 6)
    swapped = rows[0]
    assert swapped.answer == "swapped"
    assert swapped.to_source is not None
    assert swapped.to_target is not None
    assert swapped.to_source > 0.2
    assert swapped.to_target < 0.8
    assert swapped.pose < 3  # degrees


def test_without_weights_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="fstriplets train swap"):
        load_model()
    with pytest.raises(WeightsError, match="no such file, and no name"):
        load_model(tmp_path / "absent.safetensors")


def test_a_swapper_in_the_table_of_weights_is_found(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(weights, folder / "mine.safetensors")
    row = {"role": "swapper", "architecture": "MobileFSGAN", "file": "mine.safetensors", "licence": "mine"}
    row |= {"sha256": file_sha256(weights), "bytes": weights.stat().st_size}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump({"mine": row}))
    monkeypatch.setenv("FSTRIPLETS_WEIGHTS_REGISTRY", str(tmp_path / "table.yaml"))
    assert load_model("mine", device="cpu").name == "mine"
    assert load_model().name == "mine"
    with pytest.raises(WeightsError, match="no swapper but a detector"):
        load_model("yunet")
    with pytest.raises(ConfigError, match="--device abacus"):
        load_model("mine", device="abacus")


def test_an_export_is_read_by_its_head(weights: Path, tmp_path: Path) -> None:
    generator, settings = load_swapper(weights)
    assert (settings.variant, settings.outputs, settings.size) == ("shallow", (256, 128), SIZE)
    assert not generator.training
    with pytest.raises(WeightsError, match="variant 'new'"):
        load_swapper(_export(tmp_path / "a.safetensors", variant="new"))
    with pytest.raises(WeightsError, match="does not describe a swapper"):
        load_swapper(_export(tmp_path / "b.safetensors", channels="many"))
    other = _export(tmp_path / "c.safetensors", embedder="someone's")
    with pytest.raises(WeightsError, match="recogniser someone's, which is not installed: --embedder"):
        load_model(other)
    with pytest.raises(WeightsError, match="is an ONNX model"):
        load_model(weights, "mobilefacenet_foamliu")
    with pytest.raises(WeightsError, match="--embedder: no such file"):
        load_model(weights, tmp_path / "absent.pth")


def test_the_releases_generator_is_turned_to_rgb(tmp_path: Path) -> None:
    import torch

    from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator

    torch.manual_seed(3)
    bgr = MobileFSGANGenerator(8, 512).eval()
    path = tmp_path / "G.pth"
    torch.save({f"module.{name}": value for name, value in bgr.state_dict().items()}, path)
    rgb, settings = load_swapper(path)
    assert (settings.size, settings.release) == (256, True)
    image, vector = torch.rand(1, 3, 32, 32) * 2 - 1, torch.nn.functional.normalize(torch.rand(1, 512))
    with torch.inference_mode():
        theirs = bgr(image.flip(1), vector).full
        ours = rgb(image, vector).full
    assert theirs is not None
    assert ours is not None
    assert torch.allclose(ours, theirs.flip(1), atol=1e-5)
    with pytest.raises(WeightsError, match="--embedder MOBILEFACENET"):
        load_model(path)
    torch.save({"job": {"generator": {}}, "step": 3}, path)
    with pytest.raises(WeightsError, match=r"export/swapper\.safetensors"):
        load_swapper(path)


def test_swapped_crops_follow_the_embedding(weights: Path) -> None:
    model = load_model(weights, device="cpu")
    crops = np.stack([cv2.resize(pixels_of(demo(n)), (SIZE, SIZE)) for n in (0, 2)])
    vectors = model.embed(crops)
    assert vectors.shape == (2, 512)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    same = model.swap(crops, np.repeat(vectors[:1], 2, axis=0))
    other = model.swap(crops, vectors)
    assert same.dtype == np.uint8
    assert same.shape == crops.shape
    assert (same[0] == other[0]).all()
    assert (same[1] != other[1]).any()


# the mark


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


# videos


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


def test_nobody_found_says_why() -> None:
    swapper = Swapper(Inverter(), **TOOLS)
    with pytest.raises(PhotoRejected) as caught:
        swapper.find(np.full((100, 100, 3), 128, np.uint8))
    assert caught.value.reason == "no_face"


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


def test_a_thumbnail_of_the_face_before_is_dropped(tmp_path: Path) -> None:
    entry = struct.Struct("<HHI4s")
    thumb = b"\xff\xd8thumbnail\xff\xd9"
    maker = b"Maker\0"
    second = 8 + 2 + 12 + 4 + len(maker)
    tiff = b"II*\0" + struct.pack("<I", 8)
    tiff += (
        struct.pack("<H", 1)
        + entry.pack(0x010F, 2, len(maker), struct.pack("<I", 26))
        + struct.pack("<I", second)
    )
    tiff += maker + struct.pack("<H", 2)
    tiff += entry.pack(0x0201, 4, 1, struct.pack("<I", second + 30))
    tiff += entry.pack(0x0202, 4, 1, struct.pack("<I", len(thumb))) + struct.pack("<I", 0) + thumb
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels_of(demo(1))).save(path, exif=b"Exif\0\0" + tiff)
    assert b"thumbnail" in path.read_bytes()
    picture = load_picture(path.read_bytes())
    save_picture(picture, tmp_path / "b.jpg")
    assert b"thumbnail" not in (tmp_path / "b.jpg").read_bytes()
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[0x010F] == "Maker"


def test_kinds_that_are_not_written_become_png(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photo = Image.fromarray(pixels_of(demo(1)))
    photo.save(folder / "scan.tiff", description="a scan")
    photo.putalpha(200)
    photo.save(folder / "glass.png")
    report = swap(demo(0), folder, tmp_path / "out", model=Inverter(), **TOOLS)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["glass.png", "scan.tiff.png"]
    assert any("PNG" in note for note in report.notes)
    with Image.open(tmp_path / "out" / "scan.tiff.png") as image:
        assert dict(image.getexif()) == {270: "a scan"}
    with Image.open(tmp_path / "out" / "glass.png") as image:
        assert image.mode == "RGBA"
        assert set(np.unique(np.array(image)[..., 3])) == {200}
    swap(demo(0), folder / "glass.png", tmp_path / "white.jpg", model=Inverter(), **TOOLS)
    with Image.open(tmp_path / "white.jpg") as image:
        corner = np.array(image)[:20, :20].mean()
    assert corner == pytest.approx((pixels_of(demo(1))[:20, :20] * (200 / 255) + 55).mean(), abs=3)
