"""Trainer of MobileFSGAN on triplet shards (Yu, Zhu, Lu, Liu: ICME 2022).

A step: the source's embedding and the target go through the generator; the three-scale discriminator learns
to tell swapped images from the unedited members of the triplets; the generator learns from it, from the
recogniser, from the result where one is known, and from the target's appearance. What is trained on is in
swap_data.py, what it is worth in swap_losses.py, what may be chosen in swap_recipe.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fstriplets.errors import ConfigError, DatasetError, WeightsError
from fstriplets.models.networks.mobilefsgan import MobileFSGANGenerator
from fstriplets.models.networks.mobilefsgan_discriminator import MobileFSGANDiscriminator
from fstriplets.models.weights import load_state_dict, registry, require
from fstriplets.models.weights.adapters import load_into
from fstriplets.training.average import Average
from fstriplets.training.grow import grown
from fstriplets.training.loop import warmup_cosine
from fstriplets.training.muon import Muon
from fstriplets.training.ranks import sync_batch_norm, these_ranks
from fstriplets.training.swap_data import Batch, TripletStream
from fstriplets.training.swap_features import (
    OWN,
    Identity,
    Origin,
    dataset_crop,
    load_features,
    load_identity,
    own_state,
    parted,
    trainable_copy,
)
from fstriplets.training.swap_losses import SwapLosses, at_scales
from fstriplets.training.swap_recipe import Recipe
from fstriplets.training.swap_validation import Validation

__all__ = ["Recipe", "SwapJob", "make_job"]


def make_job(recipe: Recipe, data: Path | str) -> SwapJob:
    """The training of a recipe on a dataset, on the GPU where there is one."""
    return SwapJob(recipe, data)


class SwapJob:
    """One training of a swapper; see training.loop.Job.

    Attributes:
        generator, discriminator: as trained; discriminator is None where no scale has an adversarial loss.
        embedder: reads the sources where it learns along; None: the recogniser of the id loss reads them.
        average, embedder_average: the running averages of generator and embedder, which ship.
        notes: what whoever started it should know.

    Raises:
        DatasetError: no such dataset. WeightsError: no recogniser. ConfigError: image_size, ranks.
    """

    def __init__(self, recipe: Recipe, data: Path | str) -> None:
        self.recipe, self.ranks = recipe, these_ranks()
        self.device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
        self.crop = self._agreed_crop(data)
        try:
            self._stream = TripletStream(data, "train", recipe, self.ranks)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._place: dict[str, Any] | None = None
        self._load_features()
        self._build()
        self._validation = self._held_out(data)
        self.notes = self._notes()

    def batch(self, step: int) -> Batch:
        """The stream's next batch."""
        del step
        return self._stream.batch()

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator."""
        self._set_rate(step)
        source, target, result = (self._laid_out(images) for images in batch.images(self.device))
        has_result = batch.has_result.to(self.device)
        with torch.no_grad(), self._autocast():
            found = self.identity(source).float()
            wanted = found
            if self.recipe.id_of_result:
                wanted = torch.where(has_result[:, None], self.identity(result).float(), found)
        with self._autocast():
            embeddings = self.embedder(source).float() if self.embedder is not None else found
            images = [image.float() for image in self._run_generator(target, embeddings).images]
        values: dict[str, Tensor] = {}
        if self.discriminator is not None:
            members = torch.stack([source, target, result], dim=1)
            real = members[torch.arange(len(members)), batch.real]
            values |= self._judge(self._laid_out(real), images)
        values |= self._swap(images, wanted, target, result, has_result)
        self.average.follow(self.generator, step)
        if self.embedder is not None and self.embedder_average is not None:
            self.embedder_average.follow(self.embedder, step)
        self._place = batch.place
        return values

    def state(self) -> dict[str, Any]:
        """Networks, optimisers, averages, and the stream's place behind the last batch used."""
        return {**{name: part.state_dict() for name, part in self._parts().items()}, "place": self._place}

    def load(self, state: dict[str, Any]) -> None:
        """Takes up a `state`, of any number of ranks."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        if state["place"] is not None:
            self._place = state["place"]
            self._stream.seek(state["place"])

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by its name there; not what the recipe does without."""
        parts = {
            "generator": self.generator,
            "average": self.average.network,
            "generator_optimiser": self._g,
            "discriminator": self.discriminator,
            "discriminator_optimiser": self._d,
            "embedder": self.embedder,
            "embedder_average": self.embedder_average.network if self.embedder_average else None,
            "embedder_optimiser": self._e,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def validate(self) -> dict[str, float]:
        """Measures of the averaged generator on the val split; nothing where there is none."""
        return self._validation.measure(self.average.network, self._reader) if self._validation else {}

    def draw(self, path: Path) -> None:
        """A grid of source, target, swapped, result of the val split."""
        if self._validation:
            self._validation.draw(self.average.network, path, self._reader)

    @property
    def _reader(self) -> Identity:
        """What reads the sources of the averaged generator."""
        return self.embedder_average.network if self.embedder_average is not None else self.identity

    def export(self, folder: Path) -> list[Path]:
        """swapper.safetensors: the averaged generator in fp32, and what it is in the file's head.

        An embedder that learned along lies in it too (swap_features.OWN).
        """
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "swapper.safetensors"
        state = {
            name: value.cpu().contiguous().clone()
            for name, value in self.average.network.state_dict().items()
        }
        if self.embedder_average is not None:
            kept = own_state(self.embedder_average.network)
            state |= {name: value.cpu().contiguous().clone() for name, value in kept.items()}
        save_file(state, path, metadata=self._described())
        return [path]

    # building

    def _agreed_crop(self, data: Path | str) -> str:
        crop, swaps = dataset_crop(data), self.recipe.true_swaps
        if swaps and (other := dataset_crop(swaps)) != crop:
            raise ConfigError(f"true_swaps: {swaps} has crops of the template {other}, {data} has {crop}")
        return crop

    def _load_features(self) -> None:
        recipe = self.recipe
        self.identity = load_identity(recipe.embedder, self.crop).to(self.device)
        wanted = any(weights.perceptual or weights.truth for weights in recipe.losses().values())
        features = load_features(recipe.perceptual, self.crop, self.identity) if wanted else None
        self._features_origin: Origin | None = features.origin if features else None
        self.losses = SwapLosses(
            recipe, self.identity, features.to(self.device) if features else None, self.ranks
        )

    def _build(self) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        generator = MobileFSGANGenerator(
            recipe.channels,
            self.identity.embedding_size,
            recipe.variant,
            recipe.outputs,
            recipe.attention_reach,
            recipe.enlarge,
            recipe.output_form,
            recipe.identity_map,
            recipe.pixel_unshuffle,
        )
        if recipe.image_size % generator.stride:
            raise ConfigError(
                f"image_size must be a multiple of {generator.stride} for {recipe.variant}, enlarge"
                f" {recipe.enlarge}, pixel_unshuffle {recipe.pixel_unshuffle}"
            )
        embedder = trainable_copy(self.identity) if recipe.embedder_learning_rate else None
        if recipe.start:
            _start(generator, embedder, recipe.start)
        discriminator: nn.Module | None = None
        if judged := self.losses.judged:
            discriminator = MobileFSGANDiscriminator(
                recipe.discriminator_channels, recipe.discriminator_layers, judged
            )
        self.average: Average[nn.Module] = Average(generator.to(self.device), recipe.ema)
        self.generator = self._placed(generator)
        self.embedder: Identity | None = None
        self.embedder_average: Average[Identity] | None = None
        if embedder is not None:
            self.embedder_average = Average(embedder.to(self.device), recipe.ema)
            self.embedder = self._synced(embedder)
        self.discriminator = self._placed(discriminator) if discriminator is not None else None
        self._run_generator: Callable[..., Any] = self._compiled(self.generator)
        self._run_discriminator: Callable[..., Any] | None = (
            self._compiled(self.discriminator) if self.discriminator is not None else None
        )
        self._g = self._optimiser(self.generator, recipe.learning_rate)
        self._e = self._optimiser(embedder, recipe.embedder_learning_rate) if embedder is not None else None
        self._d = None
        if self.discriminator is not None:
            rate = recipe.discriminator_learning_rate or recipe.learning_rate
            self._d = self._adam(self.discriminator, rate)

    def _synced(self, embedder: Identity) -> Identity:
        if self.recipe.sync_batch_norm:
            sync_batch_norm(embedder)
        return embedder.train()

    def _placed(self, network: nn.Module) -> nn.Module:
        if self.recipe.sync_batch_norm:
            network = sync_batch_norm(network)
        network = network.to(self.device)
        if self.recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _compiled(self, network: nn.Module) -> Callable[..., Any]:
        return torch.compile(network) if self.recipe.compile else network

    def _optimiser(self, network: nn.Module, rate: float) -> torch.optim.Optimizer:
        """The generator's, or the embedder's."""
        if self.recipe.optimiser == "adam":
            return self._adam(network, rate)
        matrices, others = _hidden_and_others(network)
        return Muon(matrices, others, rate)

    def _adam(self, network: nn.Module, rate: float) -> torch.optim.Adam:
        fused = self.device.type == "cuda" or None
        return torch.optim.Adam(network.parameters(), rate, self.recipe.betas, fused=fused)

    def _held_out(self, data: Path | str) -> Validation | None:
        if not self.ranks.first:
            return None
        try:
            return Validation(data, self.recipe, self.identity)
        except DatasetError:
            return None

    def _notes(self) -> list[str]:
        notes = [f"id loss: {self.identity.origin.name}; perceptual loss: {self._perceptual_name()}"]
        if self._features_origin and self._features_origin.name not in ("vgg19", "seeded"):
            notes.append(
                "no VGG19 is installed (fstriplets weights import --as vgg19): the perceptual loss is not the"
                " paper's"
            )
        if "seeded" in (self.identity.origin.name, self._perceptual_name()):
            notes.append("seeded networks know nothing of faces: for tests only")
        if self.ranks.first and self._validation is None:
            notes.append("the dataset has no val split: no validation, no pictures")
        if self.recipe.true_swaps and self._validation and not self._validation.true_swaps:
            notes.append(f"{self.recipe.true_swaps} has no val split: true swaps are not measured")
        return notes

    def _perceptual_name(self) -> str:
        return self._features_origin.name if self._features_origin else "none"

    # the step

    def _set_rate(self, step: int) -> None:
        recipe = self.recipe
        factor = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
        if recipe.schedule == "cosine":
            factor = warmup_cosine(step, recipe.steps, recipe.warmup)
        rates = (
            (self._g, recipe.learning_rate),
            (self._d, recipe.discriminator_learning_rate or recipe.learning_rate),
            (self._e, recipe.embedder_learning_rate),
        )
        for optimiser, rate in rates:
            for group in optimiser.param_groups if optimiser else []:
                group["lr"] = rate * factor

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _laid_out(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last else images

    def _judge(self, real: Tensor, images: list[Tensor]) -> dict[str, Tensor]:
        """A step of the discriminator on unedited members and swapped images."""
        assert self._run_discriminator is not None
        assert self._d is not None
        fakes = [image.detach() for image in self.losses.chosen(images)]
        self._d.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        # One after the other: a forward pass moves the spectral norm's vectors, which the compiled backward
        # pass of an earlier one would miss.
        for seen, is_real in ((at_scales(real, fakes), True), (fakes, False)):
            with self._autocast():
                scores = [s.float() for s in self._run_discriminator(*seen)]
            loss = self.losses.discriminator(scores, is_real)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        values = {"discriminator": total}
        values |= self._descend(self._d, "discriminator")
        return values

    def _swap(
        self, images: list[Tensor], wanted: Tensor, target: Tensor, result: Tensor, has_result: Tensor
    ) -> dict[str, Tensor]:
        """A step of the generator, and of an embedder that learns along."""
        scores: list[Tensor] = []
        if self.discriminator is not None and self._run_discriminator is not None:
            self.discriminator.requires_grad_(False)
            with self._autocast():
                scores = [s.float() for s in self._run_discriminator(*self.losses.chosen(images))]
        with self._autocast():
            loss, values = self.losses.generator(images, scores, wanted, target, result, has_result)
        self._g.zero_grad(set_to_none=True)
        if self._e is not None:
            self._e.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
        values |= self._descend(self._g, "generator")
        if self._e is not None:
            values |= self._descend(self._e, "embedder")
        return {"loss": loss.detach(), **values}

    def _descend(self, optimiser: torch.optim.Optimizer, name: str) -> dict[str, Tensor]:
        parameters = list(_parameters(optimiser))
        self.ranks.average_gradients(parameters)
        values: dict[str, Tensor] = {}
        if self.recipe.clip:
            values[f"{name}_norm"] = nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        optimiser.step()
        return values

    def _described(self) -> dict[str, str]:
        recipe = self.recipe
        size = recipe.crop_size or recipe.image_size
        described = {
            "architecture": "MobileFSGAN generator",
            "variant": recipe.variant,
            "outputs": json.dumps(list(recipe.outputs)),
            "channels": str(recipe.channels),
            "attention_reach": f"{recipe.attention_reach:g}",
            "output_form": recipe.output_form,
            "identity_map": str(recipe.identity_map),
            "pixel_unshuffle": str(recipe.pixel_unshuffle),
            "embedding_size": str(self.identity.embedding_size),
            "image_size": str(size),
            "enlarge": str(size * recipe.enlarge // recipe.image_size),
            "crop": self.crop,
            "embedder": self.identity.origin.name if self.embedder is None else OWN,
            "id_loss": self.identity.origin.name,
            "embedder_crop": self.identity.crop.want,
            "embedder_licence": self.identity.origin.licence,
            "perceptual": self._perceptual_name(),
            "perceptual_licence": self._features_origin.licence if self._features_origin else "",
            "recipe_sha256": recipe.digest(),
            "steps": str(recipe.steps),
        }
        return described


def _start(generator: MobileFSGANGenerator, embedder: Identity | None, path: str) -> None:
    """Loads the weights of an earlier run, or of the table of weights.

    A narrower network, and one that folds fewer pixels, is grown. Output layers of another form stay as they
    are, and so do an embedder and an identity map of which the file has none.
    """
    try:
        mine, theirs = parted(load_state_dict(require(path) if path in registry() else Path(path)))
        load_into(generator, grown(mine, generator.state_dict()))
        if embedder is not None and theirs:
            load_into(embedder.network, theirs)
    except WeightsError as error:
        raise ConfigError(f"start: {error}") from error


#: Layers that read pixels, or give pictures, attention or an identity map.
_ENDS = ("encoder_head.conv_image.", "decoder.image", "identity_map.map.")


def _hidden_and_others(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Matrices of hidden layers, and the rest: vectors, layers of one kernel a channel or place, ends."""
    hidden: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        ends = parameter.ndim < 2 or len(parameter) == 1 or parameter.shape[1] <= 3 or name.startswith(_ENDS)
        (others if ends else hidden).append(parameter)
    return hidden, others


def _parameters(optimiser: torch.optim.Optimizer) -> Iterable[nn.Parameter]:
    for group in optimiser.param_groups:
        yield from group["params"]
