"""The swapper: a MobileFSGAN generator and the recogniser whose embeddings it was trained on.

Weights come from `fstriplets train swap` (safetensors whose head says what they are), or from the
MobileFSGAN release: that generator reads and writes BGR, is turned here, and needs the release's
MobileFaceNet, because an embedding of another recogniser means nothing to it. Files of
`fstriplets export swap` are opened by onnx_model.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fstriplets.errors import ConfigError, WeightsError
from fstriplets.models.networks.mobilefsgan import OUTPUT_FORMS, OUTPUTS, VARIANTS, MobileFSGANGenerator
from fstriplets.models.weights import installed, load_state_dict, registry, require
from fstriplets.models.weights.adapters import load_into, mobilefsgan_rgb, strip_module

if TYPE_CHECKING:
    import torch

    from fstriplets.training.swap_features import Identity

__all__ = [
    "MAX_STRENGTH",
    "RUNTIMES",
    "MobileFSGAN",
    "Model",
    "Parts",
    "Settings",
    "load_model",
    "load_parts",
    "load_swapper",
    "read_head",
    "swap_faces",
]

Pixels = npt.NDArray[np.uint8]
Embeddings = npt.NDArray[np.float32]

#: What runs the networks.
RUNTIMES = ("auto", "torch", "onnx")

#: Largest `strength` of swap_faces.
MAX_STRENGTH = 2.0
_RELEASE_SIDE = 256
_OF_RUN = Path("export", "swapper.safetensors")
_NO_WEIGHTS = """there are no swapper's weights, and the bundled file is missing: install fstriplets again, or
train some:    fstriplets train swap train-swap-small --data DATASET --output RUN
               then --weights RUN/export/swapper.safetensors
or take the MobileFSGAN release's: --weights GENERATOR.pth --embedder MOBILEFACENET.pth"""


class Model(Protocol):
    """What swaps faces in aligned crops.

    Attributes:
        size: side of its crops, pixels. crop: their template. name: what summaries call it.
    """

    size: int
    crop: str
    name: str

    def embed(self, crops: Pixels) -> Embeddings:
        """Aligned crops uint8 [B, S, S, 3] -> id_embeddings [B, D], L2-normalised."""
        ...

    def swap(self, crops: Pixels, embeddings: Embeddings) -> Pixels:
        """Targets uint8 [B, S, S, 3] and the sources' id_embeddings [B, D] -> uint8 [B, S, S, 3]."""
        ...


def swap_faces(model: Model, crops: Pixels, sources: Embeddings, strength: float = 1.0) -> Pixels:
    """Targets uint8 [N, S, S, 3] with the faces of id_embeddings [N, D] -> uint8 [N, S, S, 3].

    Args:
        strength: how far the identity goes from the target's (0) to the source's (1). A trained network gives
            the mean of what it is unsure of, which is too near to the target; above 1 the embedding is taken
            beyond the source's, on the line that comes from the target's, and makes up for some of it.
    """
    if strength != 1:
        own = model.embed(crops)
        sources = own + np.float32(strength) * (sources - own)
        lengths = np.linalg.norm(sources, axis=1, keepdims=True)
        sources = sources / np.clip(lengths, 1e-6, 1)  # between the two it stays on the sphere
    return model.swap(crops, sources)


@dataclass(frozen=True)
class Settings:
    """What a generator's file says about itself."""

    variant: str = "baseline"
    outputs: tuple[int, ...] = (256, 128, 64)
    channels: int = 64
    attention_reach: float = 0.0
    enlarge: int = 1  #: how much smaller than its crops what the network sees is
    output_form: str = "image"  #: of networks.mobilefsgan.OUTPUT_FORMS
    identity_map: int = 0  #: width of the layer behind its identity map; 0: it has none
    pixel_unshuffle: int = 1  #: side of the squares of pixels it folds into channels
    embedding_size: int = 512
    size: int = _RELEASE_SIDE  #: side of the crops it takes
    crop: str = "ffhq"  #: their template
    embedder: str = ""  #: name of the recogniser; `own`: in the file itself; empty: it does not say
    embedder_licence: str = ""
    release: bool = False  #: of the MobileFSGAN release


class MobileFSGAN:
    """A generator and its recogniser on a device.

    Args:
        generator, settings: of `load_swapper`.
        embedder: `training.swap_features.load_identity`'s.
        device: where they run.

    Raises:
        WeightsError: the recogniser's embeddings are not as long as the generator's.
    """

    def __init__(
        self, generator: MobileFSGANGenerator, settings: Settings, embedder: Any, device: str, name: str
    ) -> None:
        import torch

        if embedder.embedding_size != settings.embedding_size:
            raise WeightsError(
                f"the swapper {name} wants embeddings of {settings.embedding_size} numbers, the embedder"
                f" {embedder.origin.name} gives {embedder.embedding_size}: --embedder must be the one it was"
                " trained with"
            )
        self.size, self.crop, self.name = settings.size, settings.crop, name
        self._device = device
        # NHWC: an eighth faster on an AVX2 core; the same pictures.
        laid_out: Any = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._generator = laid_out.eval().requires_grad_(False)
        self._embedder = embedder.to(device).eval()

    def embed(self, crops: Pixels) -> Embeddings:
        """As Model.embed."""
        import torch

        with torch.inference_mode():
            vectors = self._embedder(self._tensor(crops)).float().cpu().numpy()
        return np.asarray(vectors, np.float32)

    def swap(self, crops: Pixels, embeddings: Embeddings) -> Pixels:
        """As Model.swap."""
        import torch

        with torch.inference_mode():
            vectors = torch.from_numpy(np.ascontiguousarray(embeddings)).to(self._device)
            targets = self._tensor(crops).contiguous(memory_format=torch.channels_last)
            images = self._generator(targets, vectors).full
            images = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        swapped: Pixels = np.ascontiguousarray(images.permute(0, 2, 3, 1).cpu().numpy())
        return swapped

    def _tensor(self, crops: Pixels) -> torch.Tensor:
        import torch

        batch = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device)
        return batch.permute(0, 3, 1, 2).float() / 127.5 - 1


def load_model(
    weights: str | Path | None = None,
    embedder: str | Path | None = None,
    device: str = "auto",
    runtime: str = "auto",
) -> Model:
    """The swapper of some weights.

    Args:
        weights: a file, a name of the table of weights, or a folder: of a run of `train swap`, or of
            `export swap`; None: the user's own swapper in the table of weights, else the bundled one.
        embedder: checkpoint or name of its recogniser; None: the one the weights name, or the
            MobileFaceNet that was imported.
        device: `cpu`, `cuda`, `mps` (torch only), or `auto`: cuda where there is one.
        runtime: `torch`, `onnx` (exported files), or `auto`: what the weights are.

    Raises:
        WeightsError: none installed, or not such a network; says what to do.
        ConfigError: unknown device or runtime.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"--runtime {runtime}: choose one of: {', '.join(RUNTIMES)}")
    if runtime == "onnx" or (runtime == "auto" and weights is not None and _exported(weights)):
        from fstriplets.swapping.onnx_model import load_onnx

        if weights is None:
            raise WeightsError(
                "--runtime onnx needs --weights: a file or folder that fstriplets export swap wrote"
            )
        return load_onnx(weights, embedder, device)
    parts = load_parts(weights, embedder)
    return MobileFSGAN(parts.generator, parts.settings, parts.identity, _device(device), parts.name)


def _exported(weights: str | Path) -> bool:
    path = Path(weights).expanduser()
    return path.suffix == ".onnx" or (path.is_dir() and any(path.glob("swapper-*.onnx")))


@dataclass(frozen=True)
class Parts:
    """A swapper's networks, in evaluation mode on the CPU."""

    generator: MobileFSGANGenerator
    settings: Settings
    identity: Identity  #: its recogniser
    path: Path  #: of the generator's checkpoint
    name: str


def load_parts(weights: str | Path | None, embedder: str | Path | None) -> Parts:
    """A generator and the recogniser it was trained with; arguments and errors as of `load_model`."""
    from fstriplets.training.swap_features import OWN, load_identity, own_identity, parted

    path, name = _found(weights)
    generator, settings = load_swapper(path)
    if settings.embedder == OWN:
        if embedder is not None:
            raise WeightsError(f"the swapper {name} has an embedder of its own: leave --embedder away")
        _, own = parted(load_state_dict(path))
        if not own:
            raise WeightsError(f"{path} lacks the embedder that its head speaks of: it is not complete")
        identity = own_identity(own, settings.crop, name, settings.embedder_licence)
    else:
        identity = load_identity(_embedder_of(settings, embedder, name), settings.crop)
    return Parts(generator, settings, identity, path, name)


def _found(weights: str | Path | None) -> tuple[Path, str]:
    known = registry()
    if weights is None:
        names = [row.name for row in known.values() if row.role == "swapper" and installed(row.name)]
        if not names:
            raise WeightsError(_NO_WEIGHTS)
        first = min(names, key=lambda name: known[name].bundled)  # the user's own go before the bundled ones
        return require(first), first
    if str(weights) in known:
        if known[str(weights)].role != "swapper":
            raise WeightsError(f"--weights {weights} is no swapper but a {known[str(weights)].role}")
        return require(str(weights)), str(weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        if not (path / _OF_RUN).is_file():
            raise WeightsError(f"{path} is no folder of a finished run of train swap: it has no {_OF_RUN}")
        return path / _OF_RUN, f"{path.resolve().name}/{path.joinpath(_OF_RUN).name}"
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} is an exported file: it runs with --runtime onnx")
    if not path.is_file():
        raise WeightsError(f"--weights: no such file, and no name of `fstriplets weights list`: {weights}")
    return path, path.name


def _embedder_of(settings: Settings, chosen: str | Path | None, name: str) -> str:
    """What load_identity shall load."""
    known = registry()
    if chosen is not None:
        if str(chosen) not in known and not Path(chosen).expanduser().is_file() and str(chosen) != "seeded":
            raise WeightsError(
                f"--embedder: no such file, and no name of `fstriplets weights list`: {chosen}"
            )
        file = known[str(chosen)].file if str(chosen) in known else str(chosen)
        if file.endswith(".onnx"):
            raise WeightsError(
                f"--embedder {chosen} is an ONNX model: give the torch checkpoint it was made from"
            )
        return str(chosen)
    if settings.embedder == "seeded" or (settings.embedder in known and installed(settings.embedder)):
        return settings.embedder
    if settings.release:
        if "mobilefacenet" in known and installed("mobilefacenet"):
            return "mobilefacenet"
        raise WeightsError(
            f"the generator {name} of the MobileFSGAN release needs the release's face recogniser:"
            " --embedder MOBILEFACENET.pth, or once and for all"
            ' fstriplets weights import --as mobilefacenet --licence "…" MOBILEFACENET.pth'
        )
    raise WeightsError(
        f"the swapper {name} was trained with the recogniser {settings.embedder or '(its file names none)'},"
        " which is not installed: --embedder FILE"
    )


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    usable = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = device.split(":")[0]
    if kind not in usable:
        raise ConfigError(f"--device {device}: choose one of: auto, {', '.join(usable)}")
    if not usable[kind]:
        raise ConfigError(f"--device {device}: torch sees no such device here; --device cpu works anywhere")
    return device


def load_swapper(path: str | Path) -> tuple[MobileFSGANGenerator, Settings]:
    """A generator that reads and writes RGB, in evaluation mode on the CPU, and what it is.

    Args:
        path: safetensors of `train swap`, or a checkpoint of the MobileFSGAN release.

    Raises:
        WeightsError: no such file, or no MobileFSGAN generator.
    """
    from fstriplets.training.swap_features import parted

    path = Path(path).expanduser()
    head = read_head(path)
    state = {name: value.float() for name, value in parted(_generator_state(path))[0].items()}
    if head:
        settings = _settings(path, head)
    else:
        state, settings = mobilefsgan_rgb(state), _release_settings(path, state)
    generator = MobileFSGANGenerator(
        settings.channels,
        settings.embedding_size,
        settings.variant,
        settings.outputs,
        settings.attention_reach,
        settings.enlarge,
        settings.output_form,
        settings.identity_map,
        settings.pixel_unshuffle,
    )
    load_into(generator, state)
    return generator.eval(), settings


def read_head(path: Path) -> dict[str, str]:
    """What the head of a swapper's safetensors says; empty for other files and where there is none."""
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            head = dict(file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path} is no intact safetensors file: {error}") from error
    return head if "variant" in head else {}


def _settings(path: Path, head: Mapping[str, str]) -> Settings:
    try:
        settings = Settings(
            variant=head["variant"],
            outputs=tuple(int(side) for side in json.loads(head["outputs"])),
            channels=int(head["channels"]),
            attention_reach=float(head.get("attention_reach", 0)),
            enlarge=int(head.get("enlarge", 1)),
            output_form=head.get("output_form", "image"),
            identity_map=int(head.get("identity_map", 0)),
            pixel_unshuffle=int(head.get("pixel_unshuffle", 1)),
            embedding_size=int(head.get("embedding_size", 512)),
            size=int(head.get("image_size") or head.get("size") or _RELEASE_SIDE),
            crop=head.get("crop", "ffhq"),
            embedder=head.get("embedder", ""),
            embedder_licence=head.get("embedder_licence", ""),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its head does not describe a swapper: {error!r}") from error
    forms = settings.output_form in OUTPUT_FORMS
    if settings.variant not in VARIANTS or settings.outputs not in OUTPUTS or not forms:
        raise WeightsError(
            f"{path} describes a swapper this version does not know: variant {settings.variant!r},"
            f" outputs {list(settings.outputs)}, output_form {settings.output_form!r}"
        )
    return settings


def _generator_state(path: Path) -> dict[str, torch.Tensor]:
    """The generator's tensors, from a file that may hold more than it."""
    from fstriplets.models.weights.load import load_checkpoint

    checkpoint = load_checkpoint(path) if path.suffix != ".safetensors" else load_state_dict(path)
    parts = [checkpoint, *checkpoint.values()] if isinstance(checkpoint, dict) else []
    for part in parts:
        if isinstance(part, dict) and all(isinstance(name, str) for name in part):
            plain = strip_module(part)
            if "encoder_head.conv_image.weight" in plain:
                return plain
    hint = ""
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get("job"), dict):
        hint = "; it is the checkpoint of a training, whose swapper lies in export/swapper.safetensors"
    raise WeightsError(f"{path} holds no MobileFSGAN generator{hint}")


def _release_settings(path: Path, state: Mapping[str, torch.Tensor]) -> Settings:
    """Read off the tensors what a checkpoint without a head is."""
    outputs = tuple(side for side in (256, 128, 64) if f"decoder.image{side}_output.conv.weight" in state)
    linear = state.get("identity_encoder.b256_down.fc_mean.weight")
    if outputs not in OUTPUTS or linear is None:
        raise WeightsError(f"{path} is no MobileFSGAN generator of the release")
    channels = int(state["encoder_head.conv_image.weight"].shape[0])
    embedding = int(linear.shape[1])
    return Settings(outputs=outputs, channels=channels, embedding_size=embedding, release=True)
