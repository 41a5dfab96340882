"""What a recipe of `train swap` may say; the defaults are MobileFSGAN's (Yu et al., ICME 2022).

Where the paper is silent (averaged weights, clipping, precision) the default changes nothing or is named
as ours in the field's description.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fstriplets.models.networks.mobilefsgan import OUTPUTS, VARIANTS
from fstriplets.shards.mixing import PAPER_MIX
from fstriplets.training.losses import VGG19_WEIGHTS
from fstriplets.training.recipe import TrainingRecipe

__all__ = ["Recipe", "ScaleWeights"]

#: Side the hourglass goes down from to a vector.
_HOURGLASS_SIDE = 256


class ScaleWeights(BaseModel):
    """Weights of the losses at one of the generator's outputs; a loss of weight 0 is not computed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    adv: float = Field(0.0, ge=0, description="of the discriminator of this scale")
    id: float = Field(0.0, ge=0, description="of the distance to the source's embedding")
    pixel: float = Field(0.0, ge=0, description="of half the squared error, where the result is known")
    l1: float = Field(0.0, ge=0, description="of the absolute error likewise, with `face_weight`; ours")
    perceptual: float = Field(0.0, ge=0, description="of the distance to the target's features")
    truth: float = Field(0.0, ge=0, description="of that to the result's, where it is known; ours")


class Recipe(TrainingRecipe):
    """Keys of pipelines/train-swap.yaml."""

    batch_size: int = Field(64, ge=2, description="triplets a step, all ranks together; 16 x 4 GPUs")
    optimiser: Literal["adam", "muon"] = Field(
        "adam", description="of the generator; muon (betas of its own): ours"
    )
    learning_rate: float = Field(1e-4, gt=0, description="of both networks")
    discriminator_learning_rate: float = Field(
        0.0, ge=0, description="of the discriminator where it is another; 0: learning_rate; ours"
    )
    embedder_learning_rate: float = Field(
        0.0,
        ge=0,
        description="of a copy of the recogniser that reads the sources, learns along and ships with the"
        " swapper; 0: the recogniser itself reads them; ours",
    )
    schedule: Literal["constant", "cosine"] = Field("constant", description="of the learning rate")
    warmup: int = Field(0, ge=0, description="steps over which the learning rate rises; ours")
    betas: tuple[float, float] = Field((0.0, 0.999), description="of Adam")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights, which ship; ours")
    clip: float = Field(0.0, ge=0, description="largest norm of a network's gradient; 0: any; ours")

    start: str = Field("", description="a swapper to go on from: a file, or weights by name; ours")
    image_size: int = Field(
        256, ge=64, le=512, multiple_of=32, description="side of the largest output, pixels"
    )
    output_form: Literal["image", "flow"] = Field(
        "image", description="of the outputs: the picture, or flow and colour residual on the target; ours"
    )
    variant: str = Field("baseline", description=f"of the generator: {', '.join(VARIANTS)}")
    outputs: tuple[int, ...] = Field(
        (256, 128, 64), description="trained outputs, named for an image_size of 256"
    )
    channels: int = Field(64, ge=4, multiple_of=4, description="of every map of the generator")
    attention_reach: float = Field(
        0.0,
        ge=0,
        description="how far attention may leave 0.5; 0: unbounded, as released; ours",
    )
    identity_map: int = Field(
        0,
        ge=0,
        le=1024,
        description="width of the layer that draws the embedding as a map for the decoder; 0: none; ours",
    )
    enlarge: int = Field(
        1,
        ge=1,
        le=4,
        description="how much smaller than its crops what the network sees is; finer detail stays; ours",
    )
    pixel_unshuffle: int = Field(
        1,
        ge=1,
        le=4,
        description="side of the squares of pixels folded into channels: fewer places, same pixels; ours",
    )
    crop_size: int = Field(
        0,
        ge=0,
        le=1024,
        description="side of the crops the exported swapper takes, for output_form flow; 0: image_size; ours",
    )
    discriminator_channels: int = Field(16, ge=4, description="after a discriminator's first layer")
    discriminator_layers: int = Field(4, ge=1, le=6, description="of each discriminator")

    loss_256: ScaleWeights = ScaleWeights(adv=1, id=20, pixel=10, perceptual=4)
    loss_128: ScaleWeights = ScaleWeights(adv=0.02, id=20)
    loss_64: ScaleWeights = ScaleWeights(adv=0.02, id=20)
    face_weight: float = Field(
        0.0, ge=0, description="how much more than the rest the face counts in the l1 losses; ours"
    )
    adv_form: Literal["paper", "code"] = Field("paper", description="generator's: -D, or relu(1 - D)")
    id_of_result: bool = Field(
        False, description="id losses ask for the embedding of the result where it is known; ours"
    )
    id_form: Literal["paper", "code"] = Field("code", description="1 - cos, or relu(1 - cos - 0.02)")
    perceptual_weights: tuple[float, ...] = Field(
        VGG19_WEIGHTS, description="of VGG19's slices; other networks' maps count alike"
    )
    embedder: str = Field("auto", description="of the id loss: auto, weights by name, a checkpoint, seeded")
    perceptual: str = Field("auto", description="features: auto, weights by name, a checkpoint, seeded")

    mix: Literal["triplets", "without_triplets"] = Field(
        "triplets", description="without: FaceShifter's arrangement, samples without stored results only"
    )
    vanilla: float = Field(PAPER_MIX["vanilla"], ge=0, lt=1, description="share of two-people samples")
    vanilla_same: float = Field(
        PAPER_MIX["vanilla_same"], ge=0, lt=1, description="share of one photo thrice"
    )
    true_swaps: str = Field(
        "", description="dataset of `synth swaps` to mix in; its val split is reported apart"
    )
    true_swap_share: float = Field(
        0.0, ge=0, le=1, description="share of true swaps in all samples; 0: they are measured only"
    )
    true_swap_reversed: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of true swaps taken back: from the swap to the photo it was made of; ours",
    )
    shuffle: int = Field(256, ge=0, description="samples of a shard held back to draw from")
    open_shards: int = Field(4, ge=1, le=64, description="shards drawn from in turn")
    fresh_pairs: bool = Field(False, description="draw pairs anew each epoch (datasets of layout faces)")
    flip: float = Field(0.5, ge=0, le=1, description="share of triplets mirrored")
    grey: float = Field(0.015, ge=0, le=1, description="share of triplets without colour")
    jitter: float = Field(0.2, ge=0, lt=1, description="range of brightness, contrast and saturation")
    jitter_share: float = Field(0.3, ge=0, le=1, description="share of triplets with jitter")
    stretch: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="range of the logarithm of how much wider and flatter triplets are made; ours",
    )

    precision: Literal["fp32", "bf16"] = Field("fp32", description="of the networks' arithmetic")
    channels_last: bool = Field(False, description="memory order NHWC; slower on CPUs")
    compile: bool = Field(False, description="torch.compile of both networks; pays in long runs on GPUs")
    sync_batch_norm: bool = Field(True, description="statistics over all ranks' samples")
    validation_samples: int = Field(64, ge=1, description="of the val split, always the same")

    @field_validator("variant")
    @classmethod
    def _known_variant(cls, value: str) -> str:
        if value not in VARIANTS:
            raise ValueError(f"choose one of: {', '.join(VARIANTS)}")
        return value

    @field_validator("outputs")
    @classmethod
    def _known_outputs(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value not in OUTPUTS:
            raise ValueError(f"choose one of: {', '.join(str(list(sides)) for sides in OUTPUTS)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.vanilla + self.vanilla_same >= 1:
            raise ValueError("vanilla and vanilla_same are shares of all samples: together less than 1")
        if self.mix == "without_triplets" and not self.vanilla:
            raise ValueError("mix without_triplets needs vanilla above 0")
        if self.true_swap_share and not self.true_swaps:
            raise ValueError("true_swap_share needs true_swaps: a dataset of `fstriplets synth swaps`")
        if self.variant == "hourglass" and self.image_size % (
            _HOURGLASS_SIDE * self.enlarge * self.pixel_unshuffle
        ):
            raise ValueError(
                "variant hourglass needs image_size 256 (or 512), times enlarge, pixel_unshuffle"
            )
        if self.crop_size and (
            self.output_form != "flow" or self.crop_size % (self.image_size // self.enlarge)
        ):
            raise ValueError(
                "crop_size needs output_form flow and must be a multiple of image_size / enlarge"
            )
        if not any(any(loss.model_dump().values()) for loss in self.losses().values()):
            raise ValueError("all loss weights of the chosen outputs are 0: there is nothing to learn")
        return self

    def losses(self) -> dict[int, ScaleWeights]:
        """Output -> weights of its losses, largest first."""
        every = {256: self.loss_256, 128: self.loss_128, 64: self.loss_64}
        return {side: every[side] for side in self.outputs}

    def digest(self) -> str:
        """sha256 of all values, hex."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
