"""How each recorded case calls a network: runners(stats)[net][case](module, inputs) -> outputs by name.

They use the official call signatures; a network with another brings its own runner in factories.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Runner = Callable[[nn.Module, Tensors], Tensors]
Stats = Callable[[Tensor], Tensor]


def runners(stats: Stats) -> dict[str, dict[str, Runner]]:
    """The default runners of every net in the table.

    Args:
        stats: what reduces a big tensor to the numbers that were recorded of it.
    """

    def generator_eval(module: nn.Module, inputs: Tensors) -> Tensors:
        return fsgan_generator_eval(module, inputs, stats)

    return {
        "mobilefsgan_generator": {"eval": generator_eval, "train": fsgan_generator_train},
        "mobilefsgan_discriminator": {"eval": fsgan_discriminator_eval, "train": fsgan_discriminator_train},
        "mobilefacenet": {"eval": one_to_one(), "crop256": fsgan_embedding},
        "mobilefacenet_arcface": {"eval": one_to_one()},
        "iresnet50": {"eval": one_to_one()},
        "stargan_generator": {"train": one_to_one("x", "c", train=True), "eval": one_to_one("x", "c")},
        "spade_generator": {"train": one_to_one("seg", train=True), "eval": one_to_one("seg")},
    }


def one_to_one(*names: str, train: bool = False) -> Runner:
    """The named inputs (default x) in, output y."""

    def run(module: nn.Module, inputs: Tensors) -> Tensors:
        return {"y": module.train(train)(*(inputs[name] for name in names or ("x",)))}

    return run


def fsgan_generator_eval(module: nn.Module, inputs: Tensors, stats: Stats) -> Tensors:
    full, half, quarter, attributes = module.eval()(inputs["targets"], inputs["embeddings"])
    return {
        "images256": full,
        "images128": half,
        "images64": quarter,
        "attr_stats": torch.stack([stats(kept) for kept in attributes]),
        "attr_last_patch": attributes[-1][:, :, 20:28, 20:28],
    }


def fsgan_generator_train(module: nn.Module, inputs: Tensors) -> Tensors:
    """One step's gradients and the running statistics after it."""
    module.train()
    full, half, quarter, _ = module(inputs["targets"], inputs["embeddings"])
    loss = (full - 0.3).square().mean() + (half + 0.2).square().mean() + quarter.square().mean()
    module.zero_grad()
    loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {
        "images256_s2": full[:, :, ::2, ::2],
        "images128": half,
        "images64": quarter,
        "loss": loss[None],
        "grad_norms": torch.stack([g.double().norm() for g in gradients.values()]),
        "grad_head": gradients["encoder_head.conv_image.weight"],
        "grad_fc": gradients["identity_encoder.b8_down.fc_var.bias"],
        "grad_att": gradients["decoder.b64_4.conv_attention.weight"],
        "grad_out": gradients["decoder.image256_output.conv.weight"],
        "running_means": buffers(module, "running_mean"),
        "running_vars": buffers(module, "running_var"),
    }


def fsgan_discriminator_eval(module: nn.Module, inputs: Tensors) -> Tensors:
    module.eval()
    scores = module(inputs["images256"], inputs["images128"], inputs["images64"])
    return dict(zip(("out256", "out128", "out64"), scores, strict=True))


def fsgan_discriminator_train(module: nn.Module, inputs: Tensors) -> Tensors:
    """Scores, and what the forward pass changed: the spectral norms' u, the running means."""
    module.train()
    scores = module(inputs["images256"], inputs["images128"], inputs["images64"])
    return {
        **dict(zip(("out256", "out128", "out64"), scores, strict=True)),
        "u_after": buffers(module, "weight_u"),
        "running_means": buffers(module, "running_mean"),
    }


def fsgan_embedding(module: nn.Module, inputs: Tensors) -> Tensors:
    """The embedding of a 256-px face: centre crop, 112 px."""
    crop = inputs["x256"][:, :, 26:230, 26:230]
    faces = F.interpolate(crop, (112, 112), mode="bilinear", align_corners=True)
    return {"embeddings": module.eval()(faces)}


def buffers(module: nn.Module, ending: str) -> Tensor:
    """All tensors of the state dict whose names end so, in its order."""
    found = [value.double().flatten() for name, value in module.state_dict().items() if name.endswith(ending)]
    return torch.cat(found)
