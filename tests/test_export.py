"""Exported swappers: folding is exact, files say what they are and agree with PyTorch, and swap photos."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_swap import FLAGS, demo, pixels_of
from tiny_dataset import make_shard, make_splits

from fstriplets.cli.app import run
from fstriplets.errors import (
    ConfigError,
    DatasetError,
    MissingDependency,
    OutputError,
    WeightsError,
)
from fstriplets.models.fold import folded
from fstriplets.models.networks.mobilefsgan import VARIANTS, MobileFSGANGenerator
from fstriplets.swapping import load_model

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install 'fstriplets[export]'")
pytestmark = pytest.mark.usefixtures("one_thread", "fresh_machine")

SIZE = 64


def trained(variant: str = "baseline", channels: int = 8, reach: float = 0.0) -> MobileFSGANGenerator:
    """A seeded generator whose normalisations do something, as after a training."""
    torch.manual_seed(5)
    network = MobileFSGANGenerator(channels, 512, variant, (256,), reach).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, 0, 0.3)
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of `train swap`."""
    from safetensors.torch import save_file

    run_folder = tmp_path_factory.mktemp("run")
    head = {"variant": "shallow", "outputs": "[256]", "channels": "8", "embedding_size": "512"}
    head |= {"image_size": str(SIZE), "crop": "ffhq", "embedder": "seeded", "recipe_sha256": "ab" * 32}
    (run_folder / "export").mkdir()
    save_file(trained("shallow").state_dict(), run_folder / "export" / "swapper.safetensors", metadata=head)
    return run_folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_splits(tmp_path_factory.mktemp("export") / "triplets")


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All precisions, by the command line, on the demo's people."""
    folder = tmp_path_factory.mktemp("exported")
    assert run(["export", "swap", str(weights), "-o", str(folder), "--images", "6", "-q"]) == 0
    return folder


# folding


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"hourglass", "wide"}))
def test_folding_changes_nothing_but_rounding(variant: str) -> None:
    network = trained(variant)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flat = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in flat.modules())
    target = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    embeddings = torch.nn.functional.normalize(torch.randn(2, 512))
    with torch.inference_mode():
        wanted, made = network(target, embeddings).full, flat(target, embeddings).full
    assert wanted.std() > 0.01
    assert torch.allclose(made, wanted, atol=2e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_folding_keeps_what_cuts_outliers() -> None:
    network, free = trained(reach=1.0), trained(reach=1.0)
    for name in ("attribute_encoder.b64_2", "decoder.b64_2.basic_block", "decoder.up128"):
        for other in (network, free):
            norm = other.get_submodule(name).normalize
            with torch.no_grad():
                norm.weight.mul_(torch.tensor([8.0, -8.0] * 4))  # some features lie beyond the limit now
        free.get_submodule(name).bounded = False
    target = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    embeddings = torch.nn.functional.normalize(torch.randn(2, 512))
    with torch.inference_mode():
        wanted, uncut = (each(target, embeddings).full for each in (network, free))
        made = folded(network)(target, embeddings).full
    assert (wanted - uncut).abs().max() > 0.01
    assert torch.allclose(made, wanted, atol=2e-5)


def test_folding_survives_a_channel_that_is_switched_off() -> None:
    network = trained()
    norm = network.attribute_encoder.get_submodule("downsample128").normalize
    with torch.no_grad():
        norm.weight[3] = 0
    target, embedding = torch.rand(1, 3, SIZE, SIZE), torch.ones(1, 512) / 512**0.5
    with torch.inference_mode():
        wanted, made = network(target, embedding).full, folded(network)(target, embedding).full
    assert torch.allclose(made, wanted, atol=2e-5)


def test_folding_wants_statistics_that_stand_still() -> None:
    with pytest.raises(ValueError, match="eval"):
        folded(trained().train())


# files


def test_the_table_holds_what_was_measured(exported: Path) -> None:
    report = json.loads((exported / "export.json").read_text())
    files = {file["path"]: file for file in report["files"]}
    names = [f"swapper-{p}.onnx" for p in ("fp32", "fp16", "int8")] + [
        "embedder-fp32.onnx",
        "embedder-fp16.onnx",
    ]
    assert list(files) == names
    fp32, fp16, int8 = (files[name] for name in names[:3])
    assert fp32["max_error"] < 0.05  # of 255
    assert fp32["mean_error"] < fp16["mean_error"] < 0.5
    assert fp16["mean_error"] < int8["mean_error"] < 0.02 * 255
    assert fp32["psnr"] > fp16["psnr"] > int8["psnr"] > 30
    assert fp32["bytes"] > 1.5 * fp16["bytes"]
    assert files["embedder-fp32.onnx"]["min_cosine"] > 0.99999
    assert files["embedder-fp16.onnx"]["min_cosine"] > 0.995
    assert all(file["bytes"] == (exported / name).stat().st_size for name, file in files.items())
    page = (exported / "export.md").read_text()
    assert all(name in page for name in names)
    assert "3 pairs of the demo's synthetic people" in page
    assert "--calibrate" in page
    assert sorted(p.name for p in exported.iterdir()) == sorted([*names, "export.json", "export.md"])


def test_a_file_says_by_itself_what_it_is(exported: Path) -> None:
    from fstriplets.export.graph import read_metadata

    head = read_metadata(exported / "swapper-int8.onnx")
    wanted = {
        "role": "generator", "precision": "int8", "size": str(SIZE), "crop": "ffhq", "colour_order": "RGB",
        "value_range": "-1..1", "embedding_size": "512", "training_digest": "ab" * 32, "channels": "8",
        "embedder": "seeded", "embedder_file": "embedder-fp32.onnx",
    }  # fmt: skip
    assert wanted.items() <= head.items()
    assert len(head["weights_sha256"]) == 64
    assert head["licence"]
    assert read_metadata(exported / "swapper-fp16.onnx")["embedder_file"] == "embedder-fp16.onnx"
    assert read_metadata(exported / "embedder-fp32.onnx")["role"] == "embedder"


def test_graphs_are_folded_and_int8_where_it_counts(exported: Path) -> None:
    def kinds(precision: str) -> list[str]:
        return [node.op_type for node in onnx.load(exported / f"swapper-{precision}.onnx").graph.node]

    model = onnx.load(exported / "swapper-fp32.onnx")
    assert model.opset_import[0].version >= 17
    assert "BatchNormalization" not in kinds("fp32")
    assert {item.name: item.type.tensor_type.elem_type for item in onnx.load(
        exported / "swapper-fp16.onnx").graph.input} == {"target": 1, "embedding": 1}  # fmt: skip
    int8 = onnx.load(exported / "swapper-int8.onnx")
    bytes_of = {1: 0, 3: 0, 10: 0}
    for weight in int8.graph.initializer:
        bytes_of[weight.data_type] = bytes_of.get(weight.data_type, 0) + int(np.prod(weight.dims))
    assert bytes_of[3] > 10 * bytes_of[1]  # int8 numbers against floats


# running them


def test_a_photo_swapped_by_onnx_is_the_one_torch_swaps(
    weights: Path, exported: Path, tmp_path: Path
) -> None:
    line = ["swap", "--source", str(demo(0)), "--target", str(demo(1)), *FLAGS, "-q"]
    assert run([*line, "-o", str(tmp_path / "torch.png"), "--weights", str(weights)]) == 0
    theirs = pixels_of(tmp_path / "torch.png").astype(int)
    assert np.abs(theirs - pixels_of(demo(1))).max() > 30  # something was swapped
    for precision, most in (("fp32", 1), ("int8", 40)):
        output, file = tmp_path / f"{precision}.png", exported / f"swapper-{precision}.onnx"
        assert run([*line, "-o", str(output), "--weights", str(file), "--runtime", "onnx"]) == 0
        assert np.abs(pixels_of(output) - theirs).max() <= most


def test_a_batch_is_its_faces_one_by_one(weights: Path, exported: Path) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    ours, theirs = load_model(exported, runtime="onnx"), load_model(weights, device="cpu")
    assert (ours.size, ours.crop) == (theirs.size, theirs.crop)
    assert ours.name == "swapper-fp32.onnx"
    embeddings = ours.embed(crops)
    assert np.allclose(embeddings, theirs.embed(crops), atol=1e-4)
    assert np.abs(ours.swap(crops, embeddings).astype(int) - theirs.swap(crops, embeddings)).max() <= 1


def test_the_recognisers_window_is_cut_within_the_graph() -> None:
    from fstriplets.export.graph import Embed
    from fstriplets.training.swap_features import FaceCrop, Identity, Origin

    torch.manual_seed(0)
    face = torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    for have, want in (("ffhq", "mobilefsgan"), ("arcface", "arcface"), ("ffhq", "arcface")):
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8, 8), torch.nn.Flatten(), torch.nn.Linear(64, 8))
        identity = Identity(network, FaceCrop(have, want, 32), Origin("tiny", ""))
        with torch.inference_mode():
            assert torch.allclose(Embed(identity, SIZE)(face), identity(face), atol=1e-5)


def test_val_faces_calibrate_and_are_compared(
    weights: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fstriplets.export import export_swap

    seen: list[Any] = []

    def spy(source: Path, path: Path, pairs: Any, embeddings: np.ndarray) -> None:
        seen.extend([pairs, embeddings])
        path.write_bytes(source.read_bytes())

    monkeypatch.setattr("fstriplets.export.swap.to_int8", spy)
    said: list[str] = []
    report = export_swap(weights, tmp_path, precisions=["int8"], data=dataset, images=2, progress=said.append)
    assert [file.path.name for file in report.files] == ["swapper-int8.onnx", "embedder-fp32.onnx"]
    assert report.compared == report.calibrated == "1 pairs of triplets/val"
    assert any("int8" in what for what in said)
    pairs, embeddings = seen
    assert pairs.targets.shape == pairs.sources.shape == (1, 3, SIZE, SIZE)
    assert embeddings.shape == (1, 512)
    assert not any("--calibrate" in note for note in report.notes)


# what is refused


def refusals(weights: Path, dataset: Path, folder: Path) -> dict[str, tuple[dict[str, Any], type, str]]:
    base: dict[str, Any] = {"weights": weights, "output": folder / "out"}
    junk = folder / "junk.safetensors"
    junk.write_bytes(b"none")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, folder / "other.safetensors")
    only_train = folder / "only-train"
    make_shard(only_train, 0, people=2, photos=2)
    return {
        "precision": (base | {"precisions": ["int4"]}, ConfigError, "int4.*fp32, fp16, int8"),
        "format": (base | {"formats": ["pb"]}, ConfigError, "pb.*onnx, coreml, tflite"),
        "int8": (base | {"formats": ["tflite"], "precisions": ["int8"]}, ConfigError, "tflite has no int8"),
        "images": (base | {"images": 0}, ConfigError, "--images 0"),
        "no run": (base | {"weights": folder}, WeightsError, r"swapper\.safetensors"),
        "no file": (base | {"weights": folder / "gone.pth"}, WeightsError, r"gone\.pth"),
        "junk": (base | {"weights": junk}, WeightsError, r"junk\.safetensors"),
        "no swapper": (base | {"weights": folder / "other.safetensors"}, WeightsError, "no MobileFSGAN"),
        "no val": (base | {"data": only_train}, DatasetError, "no split 'val'; it has: train"),
        "no dataset": (base | {"data": folder / "gone"}, DatasetError, "gone"),
        "a file": (base | {"output": junk}, OutputError, "is a file"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "precision",
        "format",
        "int8",
        "images",
        "no run",
        "no file",
        "junk",
        "no swapper",
        "no val",
        "no dataset",
        "a file",
    ],
)
def test_what_cannot_be_exported_is_said(weights: Path, dataset: Path, tmp_path: Path, case: str) -> None:
    from fstriplets.export import export_swap

    arguments, error, words = refusals(weights, dataset, tmp_path)[case]
    with pytest.raises(error, match=words):
        export_swap(**arguments)


def test_files_that_exist_are_kept(weights: Path, exported: Path) -> None:
    before = (exported / "swapper-fp32.onnx").read_bytes()
    line = ["export", "swap", str(weights), "-o", str(exported), "--images", "1", "--precision", "fp32", "-q"]
    assert run(line) == OutputError.exit_code
    assert (exported / "swapper-fp32.onnx").read_bytes() == before
    assert not list(exported.glob(".export-*"))


@pytest.mark.parametrize(
    ("package", "kind", "extra"),
    [("onnx", "onnx", "export"), ("coremltools", "coreml", "coreml"), ("litert_torch", "tflite", "tflite")],
)
def test_a_missing_converter_is_named(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, kind: str, extra: str
) -> None:
    from fstriplets.export import export_swap

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=rf"fstriplets\[{extra}\]"):
        export_swap(weights, tmp_path / "out", formats=[kind], precisions=["fp32"], images=1)


def test_core_ml_packages_say_what_they_take(weights: Path, tmp_path: Path) -> None:
    ct = pytest.importorskip("coremltools", reason="needs coremltools: pip install 'fstriplets[coreml]'")
    from fstriplets.export import export_swap

    report = export_swap(weights, tmp_path / "out", formats=["coreml"], precisions=["fp16"], images=1)
    assert [file.path.name for file in report.files] == ["swapper-fp16.mlpackage", "embedder-fp16.mlpackage"]
    for file in report.files:
        spec = ct.models.MLModel(str(file.path), skip_model_load=True).get_spec()
        shapes = {item.name: list(item.type.multiArrayType.shape) for item in spec.description.input}
        face = [1, 3, SIZE, SIZE]
        assert shapes == (
            {"target": face, "embedding": [1, 512]} if "swapper" in file.path.name else {"face": face}
        )
        assert [item.name for item in spec.description.output] in (["swapped"], ["embedding"])
        assert spec.description.metadata.userDefined["value_range"] == "-1..1"
        assert file.bytes > 1000


def test_tflite_files_agree_with_torch(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="needs litert-torch: pip install 'fstriplets[tflite]'")
    from fstriplets.export import export_swap
    from fstriplets.export.tflite import open_tflite, read_tflite_metadata

    out = tmp_path / "out"
    report = export_swap(weights, out, formats=["tflite"], precisions=["fp32", "fp16"], images=4)
    files = {file.path.name: file for file in report.files}
    names = [
        f"{role}-{precision}.tflite" for role in ("swapper", "embedder") for precision in ("fp32", "fp16")
    ]
    assert list(files) == names
    full, half = files["swapper-fp32.tflite"], files["swapper-fp16.tflite"]
    assert {file.format for file in report.files} == {"tflite"}
    assert full.max_error is not None
    assert full.max_error < 0.05  # of 255, as for ONNX
    assert full.mean_error is not None
    assert half.mean_error is not None
    assert full.mean_error < half.mean_error < 0.5
    assert full.bytes > half.bytes
    assert (files["embedder-fp32.tflite"].min_cosine or 0) > 0.99999
    assert (files["embedder-fp16.tflite"].min_cosine or 0) > 0.995
    head = read_tflite_metadata(out / "swapper-fp16.tflite")
    assert head["value_range"] == "-1..1"
    assert head["embedder_file"] == "embedder-fp16.tflite"
    made = open_tflite(out / "swapper-fp32.tflite")(
        {
            "target": np.zeros((1, 3, SIZE, SIZE), np.float32),
            "embedding": np.ones((1, 512), np.float32) / 512**0.5,
        }
    )
    assert made.shape == (1, 3, SIZE, SIZE)


@pytest.mark.parametrize("form", ["image", "flow"])
def test_tflite_has_both_output_forms(tmp_path: Path, form: str) -> None:
    pytest.importorskip("litert_torch", reason="needs litert-torch: pip install 'fstriplets[tflite]'")
    from fstriplets.export.graph import Swap
    from fstriplets.export.tflite import open_tflite, write_tflite

    torch.manual_seed(3)
    network = MobileFSGANGenerator(8, 512, "shallow", (256,), output_form=form).eval()
    for module in network.modules():  # a new flow network's last layer does nothing
        if isinstance(module, torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, 0, 0.3)
    swap = Swap(network, SIZE)
    write_tflite(swap, tmp_path / "a.tflite", "fp32", {"description": "a swapper"})
    target, embedding = torch.rand(1, 3, SIZE, SIZE) * 2 - 1, torch.ones(1, 512) / 512**0.5
    made = open_tflite(tmp_path / "a.tflite")({"target": target.numpy(), "embedding": embedding.numpy()})
    with torch.inference_mode():
        assert np.abs(made - swap(target, embedding).numpy()).max() * 127.5 < 0.05


def _broken(folder: Path) -> Path:
    (folder / "swapper-fp32.onnx").write_bytes(b"nothing")
    return folder


def _alone(folder: Path) -> Path:
    (folder / "embedder-fp32.onnx").unlink()
    return folder


def _foreign(folder: Path) -> Path:
    model = onnx.load(folder / "swapper-fp32.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "swapper-fp32.onnx")
    return folder


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_broken, "no ONNX file"), (_alone, "embedder-fp32.onnx"), (_foreign, "does not say"),
     (lambda folder: folder / "embedder-fp32.onnx", "says it is embedder"),
     (lambda folder: folder / "export.json", "no ONNX file"),
     (lambda folder: folder.parent, "holds no swapper")],
)  # fmt: skip
def test_files_that_do_not_run_are_named(
    exported: Path, tmp_path: Path, damage: Callable[[Path], Path], words: str
) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    with pytest.raises(WeightsError, match=words):
        load_model(damage(folder), runtime="onnx")


def test_runtimes_and_devices_are_named(exported: Path) -> None:
    with pytest.raises(ConfigError, match="auto, torch, onnx"):
        load_model(exported, runtime="tensorrt")
    with pytest.raises(ConfigError, match="--device mps"):
        load_model(exported, device="mps")
    with pytest.raises(WeightsError, match="--weights"):
        load_model(None, runtime="onnx")
    with pytest.raises(WeightsError, match="--runtime onnx"):
        load_model(exported / "swapper-fp32.onnx", runtime="torch")
