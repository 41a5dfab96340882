"""The networks' variants and boundaries, and the adapters from official names."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fstriplets.errors import WeightsError
from fstriplets.models.networks import (
    MobileFaceNet,
    MobileFSGANDiscriminator,
    MobileFSGANGenerator,
    SPADEGenerator,
    StarGANGenerator,
    VGG19Slices,
    check_shape,
    iresnet50,
    mobilefacenet_arcface,
)
from fstriplets.models.networks.mobilefsgan import OUTPUTS, VARIANTS
from fstriplets.models.weights import adapters


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def small(variant: str = "baseline", outputs: tuple[int, ...] = (256, 128, 64)) -> MobileFSGANGenerator:
    torch.manual_seed(0)
    return MobileFSGANGenerator(4, 8, variant, outputs)


def swap(network: nn.Module, side: int = 64, people: int = 2):
    torch.manual_seed(1)
    return network(torch.rand(people, 3, side, side) * 2 - 1, torch.randn(people, 8))


def test_parameter_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        assert parameters(MobileFSGANGenerator()) == 2_517_781
        assert parameters(MobileFSGANDiscriminator()) == 2_107_923
        assert parameters(MobileFaceNet()) == 1_200_512
        assert parameters(mobilefacenet_arcface()) == 2_059_520
        assert parameters(iresnet50()) == 43_590_848
        assert parameters(StarGANGenerator()) == 8_430_528
        assert parameters(SPADEGenerator()) == 92_538_819


@pytest.mark.parametrize(("variant", "mib"), [("wide", 586.0), ("shallow", 8.8), ("hourglass", 12.4)])
def test_variants_have_the_sizes_of_the_papers_ablation(variant: str, mib: float) -> None:
    with torch.device("meta"):
        size = parameters(MobileFSGANGenerator(variant=variant)) * 4 / 2**20
    assert size == pytest.approx(mib, rel=0.02)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_variants_give_three_scales_and_train(variant: str) -> None:
    network = small(variant).train()
    side = max(64, network.stride)
    out = swap(network, side)
    assert [tuple(i.shape) for i in out.images] == [(2, 3, side >> k, side >> k) for k in range(3)]
    sum(image.square().mean() for image in out.images).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_fewer_outputs_leave_the_full_image_as_it_was(outputs: tuple[int, ...]) -> None:
    whole, part = small().eval(), small(outputs=outputs).eval()
    part.load_state_dict({name: whole.state_dict()[name] for name in part.state_dict()})
    mine, full = swap(part), swap(whole)
    assert len(mine.images) == len(outputs)
    assert torch.equal(mine.full, full.full)
    assert (mine.quarter is None) == (64 not in outputs)


def test_without_fusion_only_the_connections_go() -> None:
    baseline, cut = small().eval(), small("no_fusion").eval()
    cut.load_state_dict(baseline.state_dict())
    assert not torch.allclose(swap(baseline).full, swap(cut).full)


def test_the_embedding_and_the_target_both_count() -> None:
    network = small().eval()
    targets, embeddings = torch.rand(2, 3, 64, 64), torch.randn(2, 8)
    out = network(targets, embeddings).full
    assert not torch.allclose(out, network(targets, embeddings.flip(0)).full)
    assert not torch.allclose(out, network(targets.flip(0), embeddings).full)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "deep"}, "baseline, wide"),
        ({"outputs": (128,)}, "outputs must be one of"),
    ],
)
def test_unknown_variants_list_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MobileFSGANGenerator(**arguments)


def test_shapes_are_checked_at_the_boundary() -> None:
    network = small()
    with pytest.raises(ValueError, match="multiples of 32"):
        network(torch.zeros(1, 3, 40, 40), torch.zeros(1, 8))
    with pytest.raises(ValueError, match=r"embeddings must be \[2, 8\]"):
        network(torch.zeros(2, 3, 64, 64), torch.zeros(1, 8))
    with pytest.raises(ValueError, match="3 scales"):
        MobileFSGANDiscriminator(2, 2)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="faces must be"):
        MobileFaceNet()(torch.zeros(1, 3, 128, 128))
    check_shape("x", torch.zeros(2, 3), [None, 3])


def test_insightface_names_become_ours_one_to_one() -> None:
    # `layers.2.layers.0.layers.1.weight`: the names are checked as a whole by the parity test
    name = adapters.insightface_mobilefacenet
    assert name("layers.0.layers.2.weight") == "conv1.prelu.weight"
    assert name("layers.2.layers.1.layers.0.weight") == "conv_23.conv_dw.conv.weight"
    assert name("layers.3.layers.2.layers.2.layers.1.bias") == "conv_3.model.2.project.bn.bias"
    assert name("features.layers.3.running_mean") == "bn.running_mean"


def test_module_prefixes_are_stripped() -> None:
    network = small()
    wrapped = {f"module.{name}": value for name, value in network.state_dict().items()}
    small().load_state_dict(adapters.strip_module(wrapped))


@pytest.mark.parametrize("make", [small, lambda: MobileFSGANDiscriminator(4, 2)])
def test_networks_of_bgr_photos_are_turned_to_rgb(make) -> None:
    torch.manual_seed(0)
    bgr, rgb = make(), make().eval()
    photos = [torch.rand(2, 3, side, side) for side in (64, 48, 32)]
    turned = [photo.flip(1) for photo in photos]
    embeddings = torch.randn(2, 8)

    def run(network: nn.Module, images: list[torch.Tensor]) -> list[torch.Tensor]:
        generator = isinstance(network, MobileFSGANGenerator)
        return network(images[0], embeddings).images if generator else network(*images)

    for _ in range(
        8 if isinstance(bgr, MobileFSGANDiscriminator) else 1
    ):  # spectral norms find their vectors
        run(bgr.train(), turned)
    rgb.load_state_dict(adapters.mobilefsgan_rgb(bgr.eval().state_dict()))
    for ours, theirs in zip(run(rgb, photos), run(bgr, turned), strict=True):
        torch.testing.assert_close(ours, theirs.flip(1), rtol=1e-4, atol=1e-4)


def test_torchvisions_vgg19_is_sliced() -> None:
    numbers = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
    ours = VGG19Slices().state_dict()
    official = {
        f"features.{name.split('.', 1)[1]}": torch.randn_like(value)
        for name, value in ours.items()
        if name not in ("mean", "std")
    }
    assert {int(name.split(".")[1]) for name in official} == set(numbers)
    adapted = adapters.torchvision_vgg19({**official, "classifier.0.weight": torch.zeros(1)})
    VGG19Slices().load_state_dict(adapted)
    assert torch.equal(adapted["slice5.28.weight"], official["features.28.weight"])
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        adapters.torchvision_vgg19({})


def test_stargan_and_spade_sizes_are_read_from_the_file() -> None:
    stargan = adapters.stargan_generator(StarGANGenerator(8, 3, 4).state_dict())
    assert (stargan.c_dim, parameters(stargan)) == (3, parameters(StarGANGenerator(8, 3, 4)))
    spade = SPADEGenerator(4, 5, 64)
    wrapped = {f"module.{name}": value for name, value in spade.state_dict().items()}
    assert adapters.spade_generator(wrapped, 64).semantic_nc == 5


@pytest.mark.parametrize("adapter", [adapters.stargan_generator, adapters.spade_generator])
def test_a_foreign_file_is_refused(adapter) -> None:
    with pytest.raises(WeightsError, match="generator"):
        adapter({"conv.weight": torch.zeros(3)})


def test_a_file_that_lacks_tensors_is_refused_by_name() -> None:
    state = StarGANGenerator(8, 3, 2).state_dict()
    del state["main.4.weight"]
    with pytest.raises(WeightsError, match=r"main\.4\.weight"):
        adapters.stargan_generator(state)


def test_old_files_without_batch_counters_load() -> None:
    state = StarGANGenerator(8, 3, 2).state_dict()
    adapters.stargan_generator({n: v for n, v in state.items() if not n.endswith("num_batches_tracked")})


def test_bounded_attention_keeps_outliers_finite() -> None:
    torch.manual_seed(0)
    images, embeddings = 40 * torch.randn(1, 3, 32, 32), torch.randn(1, 8)
    found = {}
    for reach in (0.0, 1.5):
        network = MobileFSGANGenerator(4, 8, attention_reach=reach).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "conv_attention" in name:
                    parameter.mul_(200)
            attributes = network(images, embeddings).attributes
            network.decoder.get_submodule("b256_0").register_forward_hook(
                lambda module, inputs, output, reach=reach: found.setdefault(reach, output)
            )
            network(images, embeddings)
        assert all(kept.isfinite().all() for kept in attributes)
    assert not found[0.0].isfinite().all()  # what the release's does
    assert found[1.5].isfinite().all()


@pytest.mark.parametrize(("enlarge", "fold"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_a_generator_of_flows_begins_as_the_target_and_moves_content(enlarge: int, fold: int) -> None:
    torch.manual_seed(0)
    network = MobileFSGANGenerator(4, 8, enlarge=enlarge, output_form="flow", pixel_unshuffle=fold).eval()
    size = 64 * enlarge * fold
    place = torch.linspace(-0.5, 0.5, size)
    target = place.expand(1, 3, size, size)  # a ramp from left to right
    with torch.no_grad():
        images = network(target, torch.randn(1, 8)).images
        assert [image.shape[-1] for image in images] == [size, 32 * fold, 16 * fold]
        assert (images[0] - target).abs().max() < 0.02
        half = torch.nn.functional.avg_pool2d(target, 2 * enlarge)
        assert (images[1] - half).abs().max() < 0.02
        bias = network.decoder.get_submodule("image256_output").conv.bias
        bias[3 * fold**2 : 4 * fold**2] = 5.0  # all content from farther right
        moved = network(target, torch.randn(1, 8)).full
        bias[: 5 * fold**2] = 0.0
        bias[: fold**2] = 0.1
        redder = network(target, torch.randn(1, 8)).full
    for changed in (moved, redder):  # fades towards the crop's edge
        change = (changed - target).abs()
        assert change[..., 0, :].max() < 0.5 * change.max()
    inner = slice(size // 4, -size // 4)
    assert torch.allclose((moved - target)[..., inner, inner], torch.tensor(0.5 * 0.12), atol=2e-3)
    change = (redder - target)[..., inner, inner]
    assert torch.allclose(change[:, 0], torch.tensor(2 * 0.0997), atol=5e-3)
    assert change[:, 1:].abs().max() < 5e-3


@pytest.mark.parametrize("size", [64, 128])
def test_an_identity_map_is_blank_at_first_and_then_draws_the_embedding(size: int) -> None:
    torch.manual_seed(0)
    plain = MobileFSGANGenerator(4, 8, output_form="flow").eval()
    mapped = MobileFSGANGenerator(4, 8, output_form="flow", identity_map=6).eval()
    missing, unexpected = mapped.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("identity_map.") for name in missing)
    for network in (plain, mapped):
        torch.nn.init.normal_(network.decoder.get_submodule("image256_output").conv.weight, std=0.1)
    mapped.decoder.load_state_dict(plain.decoder.state_dict())
    target = torch.rand(1, 3, size, size) - 0.5
    one, two = torch.nn.functional.normalize(torch.randn(2, 1, 8), dim=-1)
    with torch.no_grad():
        assert torch.equal(mapped(target, one).full, plain(target, one).full)
        before = (mapped(target, one).full - mapped(target, two).full).abs().mean()
        torch.nn.init.normal_(mapped.identity_map.map.weight)
        after = (mapped(target, one).full - mapped(target, two).full).abs().mean()
    assert after > 2 * before


def test_an_enlarging_generator_adds_the_small_change_and_keeps_fine_detail() -> None:
    torch.manual_seed(0)
    network = MobileFSGANGenerator(4, 8, enlarge=2).eval()
    assert network.stride == 64
    embedding = torch.randn(1, 8)
    smooth = 0.5 * torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8) - 0.5, 64, mode="bilinear")
    detail = 0.02 * (torch.arange(64) % 2 * 2 - 1).float()  # stripes a pixel wide: gone at half the size
    with torch.no_grad():
        plain, striped = (network(picture, embedding).full for picture in (smooth, smooth + detail))
        small = torch.nn.functional.avg_pool2d(smooth, 2)
        same = MobileFSGANGenerator(4, 8).eval()
        same.load_state_dict(network.state_dict())
        wanted = same(small, embedding).full
    assert torch.allclose(striped - plain, detail.expand_as(plain), atol=1e-5)
    change = torch.nn.functional.avg_pool2d(plain, 2) - small
    assert (change - (wanted - small))[..., 2:-2, 2:-2].abs().mean() < 0.1 * (wanted - small).abs().mean()
