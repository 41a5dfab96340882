"""MobileFSGAN: a face swapper of 2.5 M parameters; its discriminator is in mobilefsgan_discriminator.py.

Yu, Zhu, Lu, Liu: Migrating face swap to mobile devices (ICME 2022), with its supplement for the
structure of the blocks and for the four variants of the network ablation. State-dict names are
those of the official release (whose files carry a `module.` prefix: adapters.strip_module).

Where paper and release differ, this follows the release, whose weights then load:
- the attention map comes from a 1x1 convolution (paper: 3x3) and has no sigmoid;
- the identity branch goes down to 8x8 (paper: "down-samples three times", which holds for the rest);
- the release's pictures are BGR: its weights become RGB ones by adapters.mobilefsgan_rgb;
- a decoder block adds its result to what it was given, not to what the attention chose.

Ours, off by default: `attention_reach`. Nothing bounds the release's attention, and each of twelve decoder
blocks multiplies features by a map that is linear in them; batch statistics hide that in training, and a
photo unlike the training's then grows to infinity. With it, normalised features are cut at 6 deviations: an
outlier passed through nine residual blocks grew a hundredfold and came out as a blot. `enlarge`: the network
sees a smaller picture, and what it changes is applied to the large one: what a CPU can carry at 64 px serves
128. And `output_form: flow`: the output layers give no picture but what to do with the target, a flow, a
colour residual and how much of the fine detail stays, all of them nothing at first; so pixels that need no
change need not be drawn anew, and a face that changes its shape stays sharp. And `identity_map`: the
embedding reaches the network only as scales and shifts of whole maps, which say little of where a brow ends;
two more layers draw it as a map that is added where the decoder begins. And `pixel_unshuffle`: squares of
pixels are folded into channels before the first layer and out of the last (sub-pixel convolution, Shi et al.
2016), so that a network that works on 64x64 places sees and draws 128x128 pixels at next to no cost. The rest
of the network is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fstriplets.models.networks.shapes import check_shape

__all__ = [
    "OUTPUTS",
    "OUTPUT_FORMS",
    "VARIANTS",
    "Layout",
    "MobileFSGANGenerator",
    "Swapped",
]

_SLOPE = 0.01  # LeakyReLU of the generator
_OUTLIER = 6.0  # where normalised features are cut, if attention is bounded
_FULL = 256  # side the layers are named after; the network is convolutional and runs at others

#: Allowed `outputs` of the generator: the paper's ablation takes the small ones away first.
OUTPUTS: tuple[tuple[int, ...], ...] = ((256,), (256, 128), (256, 128, 64))

#: What the output layers give: the swapped picture, or how it comes out of the target.
OUTPUT_FORMS = ("image", "flow")
_FLOW_REACH = 0.12  # how far a flow moves content at most, in halves of the side
_DETAIL = 2.0  # logit of the share of the fine detail that stays at first
#: Halves of the side over which what is said fades towards the crop's edge, where the target stays: no face
#: reaches the top, of which a strip stays whole, and chins come near the bottom.
_STRIP, _RIM_TOP, _RIM_SIDES, _RIM_BOTTOM = 0.1, 0.2, 0.12, 0.06
_MAP_SIDE = 16  # of an identity map, laid over all of the crop


@dataclass(frozen=True)
class Layout:
    """How many blocks run at each side, for an input of 256."""

    #: Side -> attribute encoder blocks, from the largest side down.
    attribute_blocks: dict[int, int]
    #: Side -> decoder blocks; at most one more than attribute blocks there.
    decoder_blocks: dict[int, int]
    #: Smallest side of the identity encoder; from there it comes up again to the decoder's start.
    identity_bottom: int = 8
    #: Channels double with every halving of the side.
    widen: bool = False
    #: Residuals within blocks, and skips between the identity encoder's two halves.
    fuse: bool = True


_BASELINE = Layout({256: 2, 128: 3, 64: 4}, {256: 3, 128: 4, 64: 5})
_HOURGLASS_SIDES = tuple(_FULL >> step for step in range(9))  # 256 … 1

#: The paper's network ablation; sizes are those of its table within 2 % (wide 585 MiB, shallow 8.7,
#: hourglass 12.3; the paper 586.0, 8.8, 12.4). `no_fusion` keeps the attention: it is how a decoder block
#: reads the attributes, not one of the connections the supplement's second principle adds. `hourglass` has
#: the baseline's depth (9 identity, 9 attribute, 12 decoder blocks) spread over nine sides down to a vector.
VARIANTS: dict[str, Layout] = {
    "baseline": _BASELINE,
    "wide": replace(_BASELINE, widen=True),
    "shallow": replace(
        _BASELINE, attribute_blocks={256: 1, 128: 2, 64: 3}, decoder_blocks={256: 2, 128: 3, 64: 4}
    ),
    "no_fusion": replace(_BASELINE, fuse=False),
    "hourglass": Layout(
        attribute_blocks=dict.fromkeys(_HOURGLASS_SIDES, 1),
        decoder_blocks={side: 2 if side >= 64 else 1 for side in _HOURGLASS_SIDES},
        identity_bottom=1,
    ),
}


class Swapped(NamedTuple):
    """What the generator returns; an image is None where its output was not built."""

    full: Tensor | None  # [B, 3, S, S] in [-1, 1]
    half: Tensor | None  # [B, 3, s/2, s/2], where the network sees s = S / enlarge
    quarter: Tensor | None  # [B, 3, s/4, s/4]
    attributes: list[Tensor]  # kept maps of the attribute encoder, from the largest side down

    @property
    def images(self) -> list[Tensor]:
        """The images that were built, largest first."""
        return [image for image in self[:3] if image is not None]


class _Head(nn.Module):
    """What both encoders share: RGB to features."""

    def __init__(self, channels: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv_image = nn.Conv2d(3 * fold**2, channels, 3, padding=1)
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] -> what feeds the identity branch and the attribute branch: [B, C, S/fold, S/fold]."""
        image = F.pixel_unshuffle(image, self.fold) if self.fold > 1 else image
        features = F.leaky_relu(self.conv_image(image), _SLOPE)
        return self.conv3x3(F.leaky_relu(self.conv1x1(features), _SLOPE)), features


class _Block(nn.Module):
    """BatchNorm, 1x1, LeakyReLU, 3x3; the block of attribute encoder and decoder."""

    def __init__(self, channels: int, residual: bool, bounded: bool) -> None:
        super().__init__()
        self.residual, self.bounded = residual, bounded
        self.normalize = nn.BatchNorm2d(channels)
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normal = _within(self.normalize(x), self.bounded)
        y: Tensor = self.conv3x3(F.leaky_relu(self.conv1x1(normal), _SLOPE))
        return x + y if self.residual else y


def _within(normal: Tensor, bounded: bool) -> Tensor:
    return normal.clamp(-_OUTLIER, _OUTLIER) if bounded else normal


class _IdentityBlock(nn.Module):
    """Features normalised, then scaled and shifted by what two linear layers read in the embedding."""

    def __init__(self, channels: int, embedding: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.normalize = nn.BatchNorm2d(channels, affine=False)
        self.fc_mean = nn.Linear(embedding, channels)
        self.fc_var = nn.Linear(embedding, channels)
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale = self.fc_var(embedding)[:, :, None, None]
        shift = self.fc_mean(embedding)[:, :, None, None]
        styled = F.leaky_relu(self.normalize(x) * scale + shift, _SLOPE)
        y: Tensor = self.conv3x3(F.leaky_relu(self.conv1x1(styled), _SLOPE))
        return x + y if self.residual else y


class _Down(nn.Module):
    """Halves the side."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(self.normalize(x)), _SLOPE)


class _Up(nn.Module):
    """Doubles the side."""

    def __init__(self, in_channels: int, out_channels: int, bounded: bool) -> None:
        super().__init__()
        self.bounded = bounded
        self.normalize = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, out_channels, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        normal = _within(self.normalize(x), self.bounded)
        x = F.interpolate(normal, scale_factor=2, mode="bilinear", align_corners=True)
        return F.leaky_relu(self.conv(F.pad(x, (1, 1, 1, 1), mode="reflect")), _SLOPE)


class _DecoderBlock(nn.Module):
    """Attention between what comes up and the attribute map, then a block; residual around both."""

    def __init__(self, channels: int, residual: bool, reach: float) -> None:
        super().__init__()
        self.residual, self.reach = residual, reach
        self.conv_attention = nn.Conv2d(channels, 1, 1)
        self.basic_block = _Block(channels, residual=False, bounded=bool(reach))

    def forward(self, x: Tensor, attribute: Tensor) -> Tensor:
        attention = self.conv_attention(x)
        if self.reach:
            attention = attention.clamp(0.5 - self.reach, 0.5 + self.reach)
        y: Tensor = self.basic_block(attention * x + (1 - attention) * attribute)
        return x + y if self.residual else y


class _Output(nn.Module):
    """The picture: [B, 3, S, S]."""

    def __init__(self, channels: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = nn.Conv2d(channels, 3 * fold**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(_unfolded(self.conv(x), self.fold))


class _FlowOutput(nn.Module):
    """What to do with the target: [B, 6, s, s] of colour residual (3), flow (2) and kept detail (1)."""

    def __init__(self, channels: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv = nn.Conv2d(channels, 6 * fold**2, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        self.conv.bias = nn.Parameter(torch.tensor([0.0] * 5 + [_DETAIL]).repeat_interleave(fold**2))

    def forward(self, x: Tensor) -> Tensor:
        maps = _unfolded(self.conv(x), self.fold)
        colour, flow = 2 * torch.tanh(maps[:, :3]), _FLOW_REACH * torch.tanh(maps[:, 3:5])
        return torch.cat([colour, flow, torch.sigmoid(maps[:, 5:])], dim=1)


def _unfolded(maps: Tensor, fold: int) -> Tensor:
    return F.pixel_shuffle(maps, fold) if fold > 1 else maps


def _applied(maps: Tensor, targets: Tensor, times: int, place: int) -> Tensor:
    """The targets [B, 3, S, S] as maps [B, 6, S/times, S/times] change them; detail is finer than a `place`.

    A crop's edge stays the target's own: nothing is known of what lies beyond it, and no seam may show.
    """
    size = int(targets.shape[-1])
    places = (torch.arange(size, dtype=maps.dtype, device=maps.device) + 0.5) * (2 / size) - 1
    inner = torch.minimum((1 + places - _STRIP) / _RIM_TOP, (1 - places) / _RIM_BOTTOM).clamp(0, 1)[:, None]
    inner = inner * ((1 - places.abs()) / _RIM_SIDES).clamp(max=1)
    large = _larger(maps, times)
    colour, flow = large[:, :3] * inner, large[:, 3:5] * inner
    detail = 1 - (1 - large[:, 5:]) * inner
    across, down = places[None, :].expand(size, size), places[:, None].expand(size, size)
    grid = torch.stack([across, down], dim=-1)[None] + flow.permute(0, 2, 3, 1)
    moved = F.grid_sample(targets, grid, padding_mode="border", align_corners=False)
    coarse = _larger(F.avg_pool2d(moved, place), place)
    return coarse + colour + detail * (moved - coarse)


def _larger(images: Tensor, times: int) -> Tensor:
    return F.interpolate(images, scale_factor=times, mode="bilinear") if times > 1 else images


class _IdentityMap(nn.Module):
    """Draws an embedding as [B, channels, 16, 16]; blank at first."""

    def __init__(self, embedding: int, hidden: int, channels: int) -> None:
        super().__init__()
        self.channels, self.scale = channels, embedding**0.5  # to unit variance, where vectors have length 1
        self.hidden = nn.Linear(embedding, hidden)
        self.map = nn.Linear(hidden, channels * _MAP_SIDE**2)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        drawn: Tensor = self.map(F.leaky_relu(self.hidden(embedding * self.scale), _SLOPE))
        return drawn.view(-1, self.channels, _MAP_SIDE, _MAP_SIDE)


class _IdentityEncoder(nn.Module):
    """Down to `identity_bottom`, replacing the identity on the way, and up again with skips."""

    def __init__(self, layout: Layout, widths: dict[int, int], embedding: int, bounded: bool) -> None:
        super().__init__()
        self.fuse = layout.fuse
        self.sides = [side for side in widths if side >= layout.identity_bottom]
        start = min(layout.decoder_blocks)  # where the decoder takes over
        self.up_sides = [side for side in reversed(self.sides) if layout.identity_bottom < side <= start]
        for side in self.sides:
            if side < _FULL:
                self.add_module(f"down{side}", _Down(widths[2 * side], widths[side]))
            self.add_module(f"b{side}_down", _IdentityBlock(widths[side], embedding, layout.fuse))
        for side in self.up_sides:
            self.add_module(f"up{side}", _Up(widths[side // 2], widths[side], bounded))
            self.add_module(f"b{side}_up", _IdentityBlock(widths[side], embedding, layout.fuse))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        skips: dict[int, Tensor] = {}
        for side in self.sides:
            if side < _FULL:
                x = self.get_submodule(f"down{side}")(x)
            x = skips[side] = self.get_submodule(f"b{side}_down")(x, embedding)
        for side in self.up_sides:
            x = self.get_submodule(f"up{side}")(x)
            x = self.get_submodule(f"b{side}_up")(x + skips[side] if self.fuse else x, embedding)
        return x


class _AttributeEncoder(nn.Module):
    """Keeps what the identity branch destroys: each block's map, and each side's first."""

    def __init__(self, layout: Layout, widths: dict[int, int], bounded: bool) -> None:
        super().__init__()
        self.blocks = layout.attribute_blocks
        for side, count in self.blocks.items():
            if side < _FULL:
                self.add_module(f"downsample{side}", _Down(widths[2 * side], widths[side]))
            for index in range(1, count + 1):
                self.add_module(f"b{side}_{index}", _Block(widths[side], layout.fuse, bounded))

    def forward(self, x: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        for side, count in self.blocks.items():
            if side < _FULL:
                x = self.get_submodule(f"downsample{side}")(x)
            kept.append(x)
            for index in range(1, count + 1):
                x = self.get_submodule(f"b{side}_{index}")(x)
                kept.append(x)
        return kept


class _Decoder(nn.Module):
    """Goes up from the identity branch's end, reading the attribute maps from the last to the first."""

    def __init__(
        self,
        layout: Layout,
        widths: dict[int, int],
        outputs: Sequence[int],
        reach: float,
        form: str,
        fold: int,
    ) -> None:
        super().__init__()
        self.outputs = tuple(outputs)
        output = _FlowOutput if form == "flow" else _Output
        self.sides = sorted(layout.decoder_blocks)
        self.blocks = layout.decoder_blocks
        self.attribute_blocks = layout.attribute_blocks
        for side in self.sides:
            if side > self.sides[0]:
                self.add_module(f"up{side}", _Up(widths[side // 2], widths[side], bool(reach)))
            for index in self._indices(side):
                self.add_module(f"b{side}_{index}", _DecoderBlock(widths[side], layout.fuse, reach))
            if side in self.outputs:
                self.add_module(f"image{side}_output", output(widths[side], fold))

    def _indices(self, side: int) -> range:
        """The attribute maps of this side that are read, last first; 0 is the side's first map."""
        last = self.attribute_blocks[side]
        return range(last, last - self.blocks[side], -1)

    def forward(self, x: Tensor, kept: list[Tensor]) -> dict[int, Tensor]:
        made: dict[int, Tensor] = {}
        end = len(kept)
        for side in self.sides:
            if side > self.sides[0]:
                x = self.get_submodule(f"up{side}")(x)
            first = end - self.attribute_blocks[side] - 1
            for index in self._indices(side):
                x = self.get_submodule(f"b{side}_{index}")(x, kept[first + index])
            end = first
            if side in self.outputs:
                made[side] = self.get_submodule(f"image{side}_output")(x)
        return made


class MobileFSGANGenerator(nn.Module):
    """Puts the identity of an embedding on a target photo.

    The defaults are the paper's network: 2,517,781 parameters, 10.1 MB.
    """

    def __init__(
        self,
        num_channels: int = 64,  # of every map; `wide` doubles them with every halving of the side
        embedding_size: int = 512,  # length of the source's id_embedding
        variant: str = "baseline",  # key of VARIANTS: baseline, wide, shallow, no_fusion, hourglass
        outputs: Sequence[int] = (256, 128, 64),  # one of OUTPUTS, named for an input of 256
        attention_reach: float = 0.0,  # how far attention may leave 0.5; 0: unbounded, as released
        enlarge: int = 1,  # inputs are so many times larger than what the network sees
        output_form: str = "image",  # one of OUTPUT_FORMS
        identity_map: int = 0,  # width of the layer behind the identity map; 0: none
        pixel_unshuffle: int = 1,  # side of the squares of pixels that are folded into channels
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        if tuple(outputs) not in OUTPUTS:
            raise ValueError(f"outputs must be one of {', '.join(map(str, OUTPUTS))}, got {tuple(outputs)}")
        if output_form not in OUTPUT_FORMS:
            raise ValueError(f"output_form must be one of {', '.join(OUTPUT_FORMS)}, got {output_form!r}")
        layout = VARIANTS[variant]
        self.embedding_size, self.enlarge, self.output_form = embedding_size, enlarge, output_form
        self.fold = pixel_unshuffle
        halvings = _FULL // min(layout.identity_bottom, *layout.attribute_blocks)
        #: The input's sides must be multiples of this.
        self.stride = halvings * enlarge * pixel_unshuffle
        sides = [_FULL >> step for step in range(halvings.bit_length())]
        widths = {side: num_channels * (_FULL // side if layout.widen else 1) for side in sides}
        bounded = attention_reach > 0
        self.encoder_head = _Head(num_channels, pixel_unshuffle)
        self.identity_encoder = _IdentityEncoder(layout, widths, embedding_size, bounded)
        self.attribute_encoder = _AttributeEncoder(layout, widths, bounded)
        self.decoder = _Decoder(layout, widths, outputs, attention_reach, output_form, pixel_unshuffle)
        start = widths[min(layout.decoder_blocks)]
        self.identity_map = _IdentityMap(embedding_size, identity_map, start) if identity_map else None

    def forward(
        self,
        targets: Tensor,  # [B, 3, S, S] in [-1, 1]; S a multiple of `stride`
        embeddings: Tensor,  # [B, embedding_size], of the sources, L2-normalised
    ) -> Swapped:
        check_shape("targets", targets, [None, 3, None, None], multiple_of=self.stride)
        check_shape("embeddings", embeddings, [targets.shape[0], self.embedding_size])
        small = F.avg_pool2d(targets, self.enlarge) if self.enlarge > 1 else targets
        identity, attribute = self.encoder_head(small)
        kept = self.attribute_encoder(attribute)
        made = self.decoder(self._start(identity, embeddings), kept)
        images = {side: self._image(side, output, targets, small) for side, output in made.items()}
        return Swapped(images.get(256), images.get(128), images.get(64), kept)

    def _start(self, identity: Tensor, embeddings: Tensor) -> Tensor:
        """What the decoder begins with."""
        changed: Tensor = self.identity_encoder(identity, embeddings)
        if self.identity_map is None:
            return changed
        drawn: Tensor = self.identity_map(embeddings)
        if drawn.shape[2:] != changed.shape[2:]:
            drawn = F.interpolate(drawn, size=changed.shape[2:], mode="bilinear")
        return changed + drawn

    def _image(self, side: int, made: Tensor, targets: Tensor, small: Tensor) -> Tensor:
        """The picture an output layer means; within [-1, 1] once the network is trained."""
        scaled = targets if side == _FULL else F.avg_pool2d(small, _FULL // side)
        if self.output_form == "flow":
            times = self.enlarge if side == _FULL else 1
            image = _applied(made, scaled, times, max(2, times * self.fold))
        elif side == _FULL and self.enlarge > 1:
            image = targets + _larger(made - small, self.enlarge)
        else:
            return made
        return image if self.training else image.clamp(-1, 1)
