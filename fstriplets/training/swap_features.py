"""What the swap trainer's networks and losses look through: face recognisers, and features of appearance.

The paper takes its own MobileFaceNet and VGG19. Neither may travel with fstriplets; where the user has not
imported them, the bundled recogniser and face analyser stand in, and whoever asks is told so.
"""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.errors import ConfigError, WeightsError
from fstriplets.faces.align import similarity
from fstriplets.faces.templates import EMBEDDER_WINDOW, template_points
from fstriplets.models.networks.face_analyser import FaceAnalyser
from fstriplets.models.networks.face_embedder import EMBEDDER_SIDE, FaceEmbedder
from fstriplets.models.networks.iresnet import iresnet50
from fstriplets.models.networks.mobilefacenet import MobileFaceNet
from fstriplets.models.networks.shapes import check_shape
from fstriplets.models.weights import entry, installed, load_state_dict, registry, require
from fstriplets.models.weights.adapters import load_into, mobilefacenet, vgg19
from fstriplets.shards.layout import RUN
from fstriplets.shards.store import Store

__all__ = [
    "OWN",
    "FaceCrop",
    "Features",
    "Identity",
    "dataset_crop",
    "load_features",
    "load_identity",
    "own_identity",
    "own_state",
    "parted",
    "trainable_copy",
]

#: What the head of a swapper's file calls an embedder that lies in it, under names with this prefix.
OWN = "own"
_OWN_PREFIX = "embedder."

_SIDE = 112  # of recognisers
_ANALYSER_SIDE = 128


@dataclass(frozen=True)
class Origin:
    """Where a network of a loss comes from; goes into the export's head."""

    name: str
    licence: str


@functools.lru_cache
def _to_crop(have: str, want: str, side: int, size: int) -> np.ndarray:
    """[2, 3]: pixels of the template `want` at `side` px to those of `have` at `size` px."""
    return np.asarray(similarity(template_points(want, side), template_points(have, size)))


class FaceCrop(nn.Module):
    """Another template's crop cut out of aligned crops, differentiably: [B, 3, S, S] -> [B, 3, side, side].

    MobileFSGAN's own window (26:230 of 256) is cut and resized as the release does it.
    """

    def __init__(self, have: str, want: str, side: int = _SIDE) -> None:
        super().__init__()
        self.have, self.want, self.side = have, want, side

    def forward(self, images: Tensor) -> Tensor:
        check_shape("images", images, [None, 3, None, None])
        size = images.shape[-1]
        if self.have == "ffhq" and self.want == "mobilefsgan":
            low, high = (round(share * size) for share in EMBEDDER_WINDOW)
            window = images[..., low:high, low:high]
            return F.interpolate(window, (self.side, self.side), mode="bilinear", align_corners=True)
        if self.have == self.want:
            return F.interpolate(images, (self.side, self.side), mode="bilinear", antialias=True)
        if (times := self.shrink(size)) > 1:
            images, size = F.avg_pool2d(images, times), size // times
        grid = self.grid(size).to(images.device).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, grid.to(images.dtype), padding_mode="reflection", align_corners=False)

    @property
    def upright(self) -> bool:
        """Whether rows and columns stay rows and columns, so that the crop is a window, resized."""
        return self.have == self.want or (self.have, self.want) == ("ffhq", "mobilefsgan")

    def shrink(self, size: int) -> int:
        """By what power of 2 pictures are averaged first, so that sampling them skips no pixels."""
        (a, b), _ = _to_crop(self.have, self.want, self.side, size)[:, :2].tolist()
        return int(2 ** max(0, math.floor(math.log2(math.hypot(a, b)))))

    def grid(self, size: int) -> Tensor:
        """Where each pixel of a crop that is not upright lies in ours: [1, side, side, 2] in -1..1."""
        matrix = _to_crop(self.have, self.want, self.side, size)
        y, x = np.mgrid[: self.side, : self.side].astype(np.float64)
        places = np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix.T
        return torch.from_numpy(((places + 0.5) * 2 / size - 1)[None].astype(np.float32))


class Identity(nn.Module):
    """The id_embedding of aligned crops: [B, 3, S, S] in [-1, 1] -> [B, D], L2-normalised.

    Frozen, and in eval mode whatever it is told, unless it `learns`.
    """

    def __init__(self, network: nn.Module, crop: FaceCrop, origin: Origin, learns: bool = False) -> None:
        super().__init__()
        self.network, self.crop, self.origin = network.eval().requires_grad_(learns), crop, origin
        self._learns = learns
        with torch.no_grad():
            self.embedding_size = int(network(torch.zeros(1, 3, crop.side, crop.side)).shape[1])

    def train(self, mode: bool = True) -> Identity:
        """Stays in eval mode unless it learns."""
        return super().train(mode and self._learns)

    def forward(self, images: Tensor) -> Tensor:
        return self.at_scales([images])[0]

    def at_scales(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Embeddings of batches of several sizes, in one pass: all crops have the recogniser's size."""
        crops = [self.crop(batch) for batch in images]
        embeddings = F.normalize(self.network(torch.cat(crops)).float())
        return list(torch.split(embeddings, [len(crop) for crop in crops]))


class Features(nn.Module):
    """Feature maps of aligned crops: [B, 3, S, S] in [-1, 1] -> list of [B, C, H, W]; frozen.

    Maps of other networks than VGG19 are brought to unit length at each place (as LPIPS does, times the
    root of the channels), so that the loss's weight means about the same whichever network it is.
    """

    def __init__(
        self, network: nn.Module, taps: Sequence[str], origin: Origin, crop: FaceCrop | None = None
    ) -> None:
        super().__init__()
        self.network, self.crop, self.origin = network.eval().requires_grad_(False), crop, origin
        self.taps = tuple(taps)  # submodules whose outputs are the maps; none: the network returns them
        self._found: list[Tensor] = []
        for name in self.taps:
            network.get_submodule(name).register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._found.append(output)

    def train(self, mode: bool = True) -> Features:
        """Stays in eval mode."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        if not self.taps:
            maps: list[Tensor] = self.network(images)
            return maps
        self._found.clear()
        self.network(self.crop(images) if self.crop else images)
        found, self._found = self._found, []
        return [F.normalize(m.float()) * m.shape[1] ** 0.5 for m in found]


def load_identity(choice: str, crop: str) -> Identity:
    """The recogniser of the id loss.

    Args:
        choice: `auto` (an imported MobileFaceNet, else the bundled recogniser), a name of the table of
            weights, a checkpoint's path, or `seeded` (random weights: for tests).
        crop: template of the crops it will see.

    Raises:
        WeightsError: none is there, or no such network.
        ConfigError: unknown choice.
    """
    if choice == "seeded":
        return Identity(_seeded(), FaceCrop(crop, "mobilefsgan"), Origin("seeded", ""))
    if choice == "auto":
        choice = _first_installed(("mobilefacenet", "face_embedder"))
        if not choice:
            raise WeightsError(
                "the id loss needs a face recogniser and none is installed: import one with"
                ' `fstriplets weights import --as mobilefacenet --licence "…" FILE`,'
                " or name a checkpoint with --set embedder=FILE"
            )
    path, origin = _place(choice, "embedder")
    network = _recogniser(_recogniser_state(path))
    return Identity(network, _crop_of(network, crop), origin)


def trainable_copy(identity: Identity) -> Identity:
    """A recogniser of its own that begins as `identity` and learns."""
    network = copy.deepcopy(identity.network)
    if isinstance(network, FaceEmbedder):
        del network.smooth  # its other head, of no use here
    return Identity(network, identity.crop, identity.origin, learns=True)


def own_state(identity: Identity) -> dict[str, Tensor]:
    """An embedder's tensors as they lie in a swapper's file: matrices in half precision."""
    return {
        _OWN_PREFIX + name: value.half() if value.is_floating_point() and value.dim() > 1 else value
        for name, value in identity.network.state_dict().items()
    }


def parted(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a swapper's file: the generator's, and an embedder's of its own, if any, in fp32."""
    generator = {key: value for key, value in state.items() if not key.startswith(_OWN_PREFIX)}
    own = {
        key.removeprefix(_OWN_PREFIX): value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if key.startswith(_OWN_PREFIX)
    }
    return generator, own


def own_identity(embedder: dict[str, Tensor], crop: str, name: str, licence: str) -> Identity:
    """The embedder that lies in a swapper's file: `parted`'s second part."""
    network = _recogniser(embedder)
    return Identity(network, _crop_of(network, crop), Origin(name, licence))


def load_features(choice: str, crop: str, identity: Identity) -> Features:
    """The network of the perceptual loss.

    Args:
        choice: `auto` (imported VGG19, else the bundled face analyser, else the recogniser's maps), a name
            of the table of weights, a checkpoint's path, `embedder` (the recogniser's maps) or `seeded`.
        crop: template of the crops it will see.
        identity: of the id loss.
    """
    if choice == "auto":
        choice = _first_installed(("vgg19", "face_analyser")) or "embedder"
    if choice == "seeded":
        return Features(_seeded(), _taps(_seeded()), Origin("seeded", ""), identity.crop)
    if choice == "embedder":
        return Features(
            copy.deepcopy(identity.network), _taps(identity.network), identity.origin, identity.crop
        )
    path, origin = _place(choice, "perceptual")
    state = load_state_dict(path)
    if "slice1.0.weight" in state or "features.0.weight" in state:
        return Features(vgg19(state), (), origin)
    if any(name.startswith("to_heatmaps.") for name in state):
        analyser = load_into(FaceAnalyser(), {name: value.float() for name, value in state.items()})
        return Features(
            analyser, ("stem", "at32", "at16", "at8"), origin, FaceCrop(crop, "ffhq", _ANALYSER_SIDE)
        )
    network = _recogniser(_recogniser_state(path))
    return Features(network, _taps(network), origin, _crop_of(network, crop))


def dataset_crop(data: str | Path) -> str:
    """The template of a dataset's crops; `ffhq` where it does not tell."""
    store = Store(str(data))
    if str(data).endswith(".tar") or "*" in str(data) or not store.exists(RUN):
        return "ffhq"
    config = json.loads(store.read(RUN)).get("config", {})
    return str(config.get("crop", "ffhq"))


def _first_installed(names: Sequence[str]) -> str:
    known = registry()
    return next((name for name in names if name in known and installed(name)), "")


def _place(choice: str, key: str) -> tuple[Path, Origin]:
    if choice in registry():
        return require(choice), Origin(choice, entry(choice).licence)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise ConfigError(f"{key}: {choice!r} is no name of `fstriplets weights list` and no file")
    return path, Origin(path.name, "unknown")


def _recogniser_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".onnx":
        raise WeightsError(f"{path}: an ONNX model gives no gradients; the id loss needs torch weights")
    return {name: value.float() for name, value in load_state_dict(path).items()}


def _recogniser(state: dict[str, Tensor]) -> nn.Module:
    """A recogniser from tensors whose names tell what it is."""
    if any(name.startswith("gather.") for name in state):
        if not any(name.startswith("smooth.") for name in state):
            return load_into(FaceEmbedder(smooth_hidden=0), state)
        return load_into(FaceEmbedder(), state)
    if any(name.startswith("layer4.") for name in state):
        return load_into(iresnet50(len(state["fc.bias"]) if "fc.bias" in state else 512), state)
    return mobilefacenet(state)


def _crop_of(network: nn.Module, have: str) -> FaceCrop:
    """What a recogniser wants to see of crops of the template `have`."""
    if isinstance(network, FaceEmbedder):
        return FaceCrop(have, "arcface", EMBEDDER_SIDE)
    official = isinstance(network, MobileFaceNet) and network.normalize  # insightface's does not normalise
    return FaceCrop(have, "mobilefsgan" if official else "arcface")


def _seeded() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MobileFaceNet()


def _taps(network: nn.Module) -> tuple[str, ...]:
    """Submodules of a recogniser whose outputs tell what a face looks like."""
    if isinstance(network, MobileFaceNet):
        return "conv2_dw", "conv_23", "conv_34"
    return ("stem", "stages.0", "stages.1") if isinstance(network, FaceEmbedder) else ("layer1", "layer2")
