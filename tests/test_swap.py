"""Swapping photos and folders through a seeded generator: what must stay as it was, whose face, bad input."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image
from swap_people import FLAGS, TOOLS, Inverter, demo, nobody, pixels_of, two_people

from fstriplets.cli.app import run
from fstriplets.config import load_config
from fstriplets.errors import (
    ConfigError,
    OutputError,
    PhotoRejected,
    UserError,
    WeightsError,
)
from fstriplets.evaluation import evaluate_photo_swaps
from fstriplets.faces import FaceStage
from fstriplets.faces.align import similarity, transform_points
from fstriplets.faces.parse import PARTS, LandmarkParser
from fstriplets.faces.templates import MEAN_68, template_points
from fstriplets.models.weights import file_sha256
from fstriplets.swapping import Choice, Swapper, load_model, load_swapper, read_mark, swap
from fstriplets.swapping.model import swap_faces
from fstriplets.swapping.paste import face_mask, match_colour, paste
from fstriplets.swapping.picture import Picture, load_picture, save_picture

SIZE = 64
pytestmark = pytest.mark.usefixtures("fresh_machine")


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


def test_nobody_found_says_why() -> None:
    swapper = Swapper(Inverter(), **TOOLS)
    with pytest.raises(PhotoRejected) as caught:
        swapper.find(np.full((100, 100, 3), 128, np.uint8))
    assert caught.value.reason == "no_face"


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
    refused(ConfigError, "--identity-strength 3: 0 .* to 2", demo(0), good, new, identity_strength=3)
    refused(UserError, "holds no photos", demo(0), empty, tmp_path / "o")
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:3000])
    refused(UserError, "--source .*truncated", bad, good, new)
    report = swap(demo(0), bad, new, model=model, **TOOLS)
    assert (report.items[0].reason, report.exit_code()) == ("truncated", 1)


# weights


def test_the_bundled_swapper_leaves_the_targets_identity_but_not_its_pose() -> None:
    model = load_model("mobilefsgan_256", device="cpu")
    config = load_config(None, [f"image_size={model.size}", "detector=bundled", "landmarker=bundled"])
    rows, _ = evaluate_photo_swaps(Path("demo"), config, FaceStage(config), model, 6)
    swapped = rows[0]
    assert swapped.answer == "swapped"
    assert swapped.to_source is not None
    assert swapped.to_target is not None
    assert swapped.to_source > 0.5
    assert swapped.to_source > swapped.to_target + 0.25
    assert swapped.pose < 3  # degrees


def test_without_weights_the_bundled_swapper_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_model().name == "mobilefsgan_256"
    monkeypatch.setattr("fstriplets.swapping.model.installed", lambda name: None)
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
    bgr = MobileFSGANGenerator(8, 256).eval()
    path = tmp_path / "G.pth"
    torch.save({f"module.{name}": value for name, value in bgr.state_dict().items()}, path)
    rgb, settings = load_swapper(path)
    assert (settings.size, settings.release) == (256, True)
    assert (settings.embedding_size, settings.attention_reach) == (256, 0)
    image, vector = torch.rand(1, 3, 32, 32) * 2 - 1, torch.nn.functional.normalize(torch.rand(1, 256))
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


def test_identity_strength_goes_from_the_target_to_beyond_the_source(weights: Path) -> None:
    model = load_model(weights, device="cpu")
    crops = np.stack([cv2.resize(pixels_of(demo(n)), (SIZE, SIZE)) for n in (0, 2)])
    source, own = model.embed(crops)[:1], model.embed(crops)[1:]
    asked: list[np.ndarray] = []

    class Recorder(Inverter):
        def embed(self, crops: np.ndarray) -> np.ndarray:
            return model.embed(crops)

        def swap(self, crops: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
            asked.append(embeddings[0])
            return crops

    for strength in (0, 0.5, 1, 1.5):
        swap_faces(Recorder(), crops[1:], source, strength)
    to_target = [float(vector @ own[0] / np.linalg.norm(vector)) for vector in asked]
    assert np.allclose(asked[0], own[0], atol=1e-5)
    assert np.allclose(asked[2], source[0])
    assert np.allclose([np.linalg.norm(vector) for vector in asked[:3]], 1, atol=1e-5)
    assert np.linalg.norm(asked[3]) > 1
    assert to_target == sorted(to_target, reverse=True)
    assert np.ptp(to_target) > 0.01


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
