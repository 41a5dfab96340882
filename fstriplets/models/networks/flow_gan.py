"""FlowGAN: the generator of the `flow-gan` editor, and the discriminator it is trained against.

The generator never draws a whole picture. From an aligned face at 256 px and the code of an edit it
predicts four maps, and `compose` applies them to the photo:

    result = mask * colour + (1 - mask) * exp(gain) * faded(photo(x + flow))

Flow moves features (a grin, fuller cheeks), gain relights and recolours while the photo's own texture
stays (wrinkles, hair colour), mask and colour paint what was not there (teeth, glasses, a beard). The
attention mask is GANimation's (Pumarola et al., ECCV 2018); flow and gain are ours. Where all maps are 0,
the photo keeps its own pixels, at whatever resolution the maps are applied.

Beside the photo it reads where the landmarks are, and a layout: the area that glasses take, or the hair.
Another colour of the hair and age paint nothing, so that every strand stays; within the layout they tint
the photo's grey (`fade`), or the noise of dark hair would come out in colours. In training the features
also have to tell the parts of the face apart. The picture enters with its 4x4 blocks as channels (Shi et
al., CVPR 2016), so that the U-Net works at 64 px and below and still sees and writes every pixel.
Normalisation is per picture (GroupNorm), and the code acts as scale and shift behind it (FiLM, Perez et
al., AAAI 2018). The discriminator is a conditional patch discriminator (Isola et al., CVPR 2017) on pairs
(photo, result), with the code projected onto its features (Miyato & Koyama, ICLR 2018) and spectral
normalisation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fstriplets.models.networks.shapes import check_shape

__all__ = [
    "CELLS",
    "CODE_SIZE",
    "EDITS",
    "FRAME_STYLES",
    "GUIDE",
    "PARTS",
    "SIDE",
    "FlowGanDiscriminator",
    "FlowGanGenerator",
    "Maps",
    "compose",
    "edit_code",
]

#: Edits the code can name, in the order of its entries.
EDITS = (
    "aging", "beard", "chubbiness", "glasses", "sunglasses", "grin",
    "hair_colour", "hair_fringe", "hair_bald", "hair_cut",
)  # fmt: skip
#: Round, square, aviator, browline: rows of synth.wear.FRAMES.
FRAME_STYLES = 4
#: Length of a code: strength and name of the edit, style of the frame, colour.
CODE_SIZE = 2 * len(EDITS) + FRAME_STYLES + 3
#: Side of the aligned face the network works on, pixels.
SIDE = 256
#: Side of the guide and of the finest features; channels of the guide (edits/flow_guide.py).
CELLS, GUIDE = SIDE // 4, 21
#: Part labels (synth.regions.LABELS) the features are made to tell apart in training.
PARTS = 13

#: Channels of guide and layout that are drawn features, the last ones.
_DRAWN = 6
#: Edits that paint nothing and tint the grey of what is in their layout; those that do nothing else.
_TINTING, _WITHIN = frozenset({"aging", "hair_colour"}), frozenset({"hair_colour"})
#: Weights of red, green and blue in grey.
_GREY = (0.299, 0.587, 0.114)
#: Farthest a pixel moves, as a share of half the side; strongest gain, natural logarithm.
_REACH, _GAIN = 0.3, 2.0
#: Factor on what becomes flow: a step of the optimiser must move pixels by hundredths, not by several.
_CALM = 0.08
#: Strength from which the mask is free to be opaque.
_OPAQUE = 0.25


def edit_code(
    edit: str,
    strength: float,
    style: int | None = None,
    colour: tuple[float, float, float] | None = None,
) -> Tensor:
    """The code of an edit: [CODE_SIZE] float32.

    Args:
        edit: one of EDITS.
        strength: 0..1.
        style: of the frame, 0..FRAME_STYLES - 1; None for edits without glasses.
        colour: linear RGB in 0..1 of the frame or of the wanted hair; None for other edits.
    """
    code = torch.zeros(CODE_SIZE)
    index = EDITS.index(edit)
    code[index] = strength
    code[len(EDITS) + index] = 1.0
    if style is not None:
        code[2 * len(EDITS) + style] = 1.0
    if colour is not None:
        # gamma as a display's: equal steps look alike
        code[-3:] = 2 * torch.tensor(colour, dtype=torch.float32).clamp(0, 1) ** (1 / 2.2)
    return code


class Maps(NamedTuple):
    """What the generator predicts, all [B, C, SIDE, SIDE].

    Attributes:
        flow: [B, 2] where a pixel's content comes from: x, y, in halves of the side.
        gain: [B, 3] natural logarithm of the factor on the moved photo.
        mask: [B, 1] 0..1, how much of `colour` replaces the photo.
        colour: [B, 3] 0..1.
        fade: [B, 1] 0..1, how much of the moved photo's colour is taken out before it is relit.
    """

    flow: Tensor
    gain: Tensor
    mask: Tensor
    colour: Tensor
    fade: Tensor


class _Block(nn.Module):
    """conv3x3 → GroupNorm → scale and shift from the code → SiLU; residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, code: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.GroupNorm(8, outputs)
        self.film = nn.Linear(code, 2 * outputs)
        self.residual = inputs == outputs and stride == 1
        nn.init.normal_(self.film.weight, std=0.06)  # edits differ from the start
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.film(code)[:, :, None, None].chunk(2, 1)
        y = F.silu(self.norm(self.conv(x)) * (1 + scale) + shift)
        return x + y if self.residual else y


class _Heads(nn.Module):
    """A convolution with weights of its own for each edit: what one edit learns costs the others nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(EDITS), outputs, inputs, kernel, kernel) * spread)
        self.bias = nn.Parameter(torch.zeros(len(EDITS), outputs))
        self.padding = kernel // 2

    def forward(self, x: Tensor, edits: list[int]) -> Tensor:
        """Each picture of x [B, C, H, W] by the weights of its edit."""
        rows = zip(torch.split(x, 1), edits, strict=True)
        return torch.cat([F.conv2d(r, self.weight[e], self.bias[e], padding=self.padding) for r, e in rows])


class FlowGanGenerator(nn.Module):
    """Photo and code in, maps out.

    Args:
        widths: channels at 64, 32, 16 and 8 px; multiples of 8.
        fine: channels of the last stage, at 128 px.
        code_width: of the code's embedding.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (24, 48, 96, 128),
        fine: int = 16,
        code_width: int = 96,
    ) -> None:
        super().__init__()
        a, b, c, d = widths
        self.code = nn.Sequential(
            nn.Linear(CODE_SIZE, code_width), nn.SiLU(), nn.Linear(code_width, code_width), nn.SiLU()
        )
        for layer, spread in ((self.code[0], 0.7), (self.code[2], 0.2)):
            nn.init.normal_(layer.get_parameter("weight"), std=spread)
        self.stem = nn.Conv2d(48, a, 3, 1, 1)
        self.guide = nn.Conv2d(GUIDE + 1, a, 1)
        self.down1 = _Block(a, b, code_width, 2)
        self.same1 = _Block(b, b, code_width)
        self.down2 = _Block(b, c, code_width, 2)
        self.same2 = _Block(c, c, code_width)
        self.down3 = _Block(c, d, code_width, 2)
        self.middle = nn.ModuleList([_Block(d, d, code_width) for _ in range(3)])
        self.shrink2, self.up2 = nn.Conv2d(d, c, 1), _Block(c, c, code_width)
        self.shrink1, self.up1 = nn.Conv2d(c, b, 1), _Block(b, b, code_width)
        self.shrink0, self.up0 = nn.Conv2d(b, a, 1), _Block(a, a, code_width)
        self.parts = nn.Conv2d(a, PARTS, 1)
        seen = a + PARTS + _DRAWN  # features, parts and drawn landmarks: an edit is mostly of some of them
        self.coarse = _Heads(seen, 2 + 3, 3, 1e-3)  # flow and gain at 64 px
        self.widen = _Heads(seen, 4 * 12, 1, a**-0.5)
        self.fine1 = _Heads(12 + 12 + 4, fine, 3, (9 * 28) ** -0.5)
        self.fine2 = _Heads(fine, 4 * 5, 3, 1e-3)  # mask, colour and shade at 256 px
        nn.init.constant_(self.fine2.bias[:, :4], -1.0)  # begin with a faint mask

    def forward(
        self,
        photo: Tensor,
        guide: Tensor,
        layout: Tensor,
        code: Tensor,
        strength: Tensor,
        windows: Tensor | None = None,
        size: int = SIDE,
    ) -> Maps:
        """Predict.

        Args:
            photo: [B, 3, SIDE, SIDE] in [-1, 1], aligned to the `ffhq` template.
            guide: [B, GUIDE, CELLS, CELLS], where its features are: edits.flow_guide.face_guide.
            layout: [B, 1, SIDE, SIDE] 0..1, the area of the glasses to come or of the hair there is
                (edits/flow_layout.py); 0 for other edits.
            code: [B, CODE_SIZE], see `edit_code`.
            strength: [B] 0..1 scales what is predicted; 0 gives maps of 0.
            windows: [B, 2] top and left of a window of `size` pixels, all multiples of 4: only that part
                of the maps is made, which is most of the cost. None: all of it.
        """
        features = self.features(photo, guide, layout, code)
        return self.heads(features, photo, layout, code, strength, windows, size)

    def features(self, photo: Tensor, guide: Tensor, layout: Tensor, code: Tensor) -> Tensor:
        """What the heads read, [B, C, CELLS, CELLS]: features, parts (`likely_parts`), drawn landmarks."""
        check_shape("photo", photo, [None, 3, SIDE, SIDE])
        check_shape("guide", guide, [photo.shape[0], GUIDE, CELLS, CELLS])
        check_shape("layout", layout, [photo.shape[0], 1, SIDE, SIDE])
        check_shape("code", code, [photo.shape[0], CODE_SIZE])
        guide = torch.cat([guide, F.avg_pool2d(layout, SIDE // CELLS)], 1)
        embedded = self.code(code)
        x0 = self.stem(F.pixel_unshuffle(photo, 4)) + self.guide(guide)
        x1 = self.same1(self.down1(x0, embedded), embedded)
        x2 = self.same2(self.down2(x1, embedded), embedded)
        x = self.down3(x2, embedded)
        for block in self.middle:
            x = block(x, embedded)
        x = self.up2(_double(self.shrink2(x)) + x2, embedded)
        x = self.up1(_double(self.shrink1(x)) + x1, embedded)
        x = self.up0(_double(self.shrink0(x)) + x0, embedded)
        return torch.cat([x, self.parts(x).softmax(1), guide[:, -_DRAWN:]], 1)

    @staticmethod
    def likely_parts(features: Tensor) -> Tensor:
        """The probabilities of the parts among `features`: [B, PARTS, CELLS, CELLS]."""
        return features[:, -PARTS - _DRAWN : -_DRAWN]

    def heads(
        self,
        x: Tensor,
        photo: Tensor,
        layout: Tensor,
        code: Tensor,
        strength: Tensor,
        windows: Tensor | None = None,
        size: int = SIDE,
    ) -> Maps:
        """The maps of `features`; arguments as of `forward`."""
        edits = code[:, len(EDITS) : 2 * len(EDITS)].argmax(1).tolist()
        coarse = self.coarse(x, edits)
        if windows is not None:
            corners, cells = (windows // 4).tolist(), size // 4
            x, coarse = (_cut(maps, corners, cells) for maps in (x, coarse))
            photo, layout = (_cut(x, windows.tolist(), size) for x in (photo, layout))
        seen = F.pixel_unshuffle(torch.cat([photo, layout], 1), 2)
        fine = torch.cat([F.pixel_shuffle(self.widen(x, edits), 2), seen], 1)
        fine = F.pixel_shuffle(self.fine2(F.silu(self.fine1(fine, edits)), edits), 2)
        maps = self._maps(coarse, fine, layout, strength[:, None, None, None])
        return _confined(maps, layout, [EDITS[e] for e in edits])

    def _maps(self, coarse: Tensor, fine: Tensor, layout: Tensor, strength: Tensor) -> Maps:
        coarse = F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
        return Maps(
            flow=torch.tanh(_CALM * coarse[:, :2]) * (strength * _REACH),
            gain=torch.tanh((coarse[:, 2:] + fine[:, 4:]) / _GAIN) * (strength * _GAIN),
            mask=torch.sigmoid(fine[:, :1]) * (strength / _OPAQUE).clamp(max=1),
            colour=torch.sigmoid(fine[:, 1:4]),
            fade=layout * strength,
        )


def _confined(maps: Maps, layout: Tensor, edits: list[str]) -> Maps:
    """The maps without what the edits must not do."""
    tinting, bound = (
        torch.tensor([[float(e in some)] for e in edits], device=layout.device)[..., None, None]
        for some in (_TINTING, _WITHIN)
    )
    gain = maps.gain * torch.maximum(layout, 1 - bound)
    return Maps(maps.flow * (1 - bound), gain, maps.mask * (1 - tinting), maps.colour, maps.fade * tinting)


def _cut(x: Tensor, corners: list[list[int]], size: int) -> Tensor:
    """A window of each picture of a batch."""
    return torch.stack([p[:, y : y + size, z : z + size] for p, (y, z) in zip(x, corners, strict=True)])


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def compose(photo: Tensor, maps: Maps, windows: Tensor | None = None) -> Tensor:
    """Apply maps to the photo they were predicted from.

    Args:
        photo: [B, 3, S, S] in [-1, 1].
        maps: of the same size, or of windows of it.
        windows: [B, 2] top and left of the windows.

    Returns:
        [B, 3, ., .] in [-1, 1], of the size of the maps.
    """
    side, size = photo.shape[-1], maps.mask.shape[-1]
    line = (torch.arange(size, device=photo.device) + 0.5) / (side / 2) - 1
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    if windows is not None:
        grid = grid + windows.flip(1)[:, None, None] / (side / 2)
    where = grid + maps.flow.permute(0, 2, 3, 1)
    moved = F.grid_sample(photo, where, padding_mode="border", align_corners=False) * 0.5 + 0.5
    grey = (moved * moved.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)
    faded = moved + maps.fade * (grey - moved)
    toned = (faded * torch.exp(maps.gain)).clamp(max=1)
    return (maps.mask * maps.colour + (1 - maps.mask) * toned) * 2 - 1


class FlowGanDiscriminator(nn.Module):
    """Is this the true edit of this photo? Judges patches of 31 px.

    Args:
        width: channels of the first layer.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        sizes = [(24, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(i, o, 3, s, 1)) for i, o, s in sizes)
        self.score = spectral_norm(nn.Conv2d(2 * width, 1, 1))
        self.project = nn.Linear(CODE_SIZE, 2 * width, bias=False)

    def forward(self, photo: Tensor, result: Tensor, code: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores [B, 1, S/8, S/8] and the features of each layer.

        Args:
            photo, result: [B, 3, S, S] in [-1, 1], the same window of both; S a multiple of 8.
            code: [B, CODE_SIZE].
        """
        check_shape("result", result, list(photo.shape), multiple_of=8)
        x = F.pixel_unshuffle(torch.cat([photo, result], 1), 2)
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        wanted = (x * self.project(code)[:, :, None, None]).mean(1, keepdim=True)
        return self.score(x) + wanted, features
