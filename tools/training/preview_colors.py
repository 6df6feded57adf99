"""Latents turned so that ComfyUI's preview of Wan 2.1 shows their picture.

The preview multiplies the 16 channels of each latent cell with a fixed matrix (`latent_rgb_factors` of
`comfy/latent_formats.py`), which fits Wan's own latents. Those of another VAE can be turned by an orthogonal matrix:
noise stays noise, lengths stay lengths, and a model whose first and last layers are turned too makes the same videos.
A turn is all that is possible: the preview's offset and its contrast are those of the real model.
"""

from __future__ import annotations

import in_process

in_process.import_core()

import numpy as np
import torch
from comfy.latent_formats import Wan21
from torch import Tensor
from torch.nn import functional as F

from training.faces import Face, Motion, render
from training.vae_model import CELL, LATENT_CHANNELS, VAE

MASK_CHANNELS = 4
PEOPLE, SEED = 256, 500_000
ROUNDS = 3000

Weights = dict[str, Tensor]


def turn_for(vae: VAE) -> Tensor:
    """The turn `[16, 16]` for a VAE, found on drawn faces."""
    return best_turn(*(part.flatten(0, 2) for part in latents_and_colors(vae, range(SEED, SEED + PEOPLE))))


@torch.no_grad()
def latents_and_colors(vae: VAE, people: range) -> tuple[Tensor, Tensor]:
    """Drawn faces, a picture each: latents `[N, h, w, 16]` in the model's space, and the cells' colors `[N, h, w, 3]`.

    Colors are in -1 … 1.
    """
    latents, colors = [], []
    for seed in people:
        rng = np.random.default_rng(seed)
        motion = Motion.random(rng, *rng.random((2, 2), np.float32))[:1]
        picture = torch.from_numpy(render(Face.random(rng), motion)).movedim(-1, 1).float() / 127.5 - 1
        latents.append(Wan21().process_in(vae.encode(picture[None])[0].transpose(1, 2))[0, :, 0])
        colors.append(F.avg_pool2d(picture, CELL)[0])
    return torch.stack(latents).movedim(1, -1), torch.stack(colors).movedim(1, -1)


def previewed(latents: Tensor) -> Tensor:
    """Latents `[..., 16]` in the model's space -> what core's preview shows, `[..., 3]`; -1 is black and 1 white."""
    wan = Wan21()
    return latents @ torch.tensor(wan.latent_rgb_factors) + torch.tensor(wan.latent_rgb_factors_bias)


def best_turn(latents: Tensor, colors: Tensor) -> Tensor:
    """The orthogonal matrix U `[16, 16]` for which `previewed(latents @ U.T)` is nearest to the colors.

    A Procrustes problem with more channels than colors. With the factors F = P S (P orthonormal, S symmetric) it asks
    for the orthonormal Q = U.T P `[16, 3]` that minimizes |latents Q S - colors|; majorization makes each round an
    ordinary Procrustes problem (Kiers 1990, Psychometrika 55, 417-428). What Q leaves open of U is near to no turn.

    Args:
        latents: `[N, 16]` in the model's space.
        colors: `[N, 3]` in -1 … 1.
    """
    latents, wan = latents.double(), Wan21()
    wanted = colors.double() - torch.tensor(wan.latent_rgb_factors_bias).double()
    left, stretch, right = torch.linalg.svd(torch.tensor(wan.latent_rgb_factors).double(), full_matrices=False)
    frame, scale = left @ right, right.T @ torch.diag(stretch) @ right
    together, towards = latents.T @ latents / len(latents), latents.T @ wanted / len(latents) @ scale
    largest = torch.linalg.eigvalsh(together)[-1]
    found = nearest_orthogonal(torch.linalg.lstsq(latents, wanted).solution @ torch.linalg.inv(scale))
    for _ in range(ROUNDS):
        found = nearest_orthogonal(towards - (together @ found - largest * found) @ scale @ scale)
    rest_found, rest_frame = (_complement(columns) for columns in (found, frame))
    rest = nearest_orthogonal(rest_found.T @ rest_frame)
    return (found @ frame.T + rest_found @ rest @ rest_frame.T).T.float()


def nearest_orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with orthonormal columns that is nearest to this one."""
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _complement(columns: Tensor) -> Tensor:
    """Orthonormal columns that span what these `[16, n]` do not."""
    return torch.linalg.svd(columns, full_matrices=True)[0][:, columns.shape[1] :]


def turned_vae(weights: Weights, turn: Tensor) -> Weights:
    """The VAE's weights, under core's names, with latents that are turned in the model's space.

    Only the 1x1x1 convolutions at both ends of the latent change. The log variances, which core never reads, stay.
    """
    wan = Wan21()
    mean, std = wan.latents_mean.flatten(), wan.latents_std.flatten()
    there, back = std[:, None] * turn / std, std[:, None] * turn.T / std
    result = {name: value.float() for name, value in weights.items()}
    rows, decode = slice(0, LATENT_CHANNELS), result["conv2.weight"].flatten(1)
    encode = result["conv1.weight"].clone()
    encode[rows] = torch.tensordot(there, encode[rows], 1)
    bias = result["conv1.bias"].clone()
    bias[rows] = there @ (bias[rows] - mean) + mean
    result |= {"conv1.weight": encode, "conv1.bias": bias}
    result["conv2.weight"] = (decode @ back).reshape(result["conv2.weight"].shape)
    result["conv2.bias"] = result["conv2.bias"] + decode @ (mean - back @ mean)
    return result


def turned_transformer(weights: Weights, turn: Tensor) -> Weights:
    """An image-to-video model's weights, under core's names, for turned latents.

    They enter twice, as what is sampled and, behind the mask, as the picture, and leave once, as the velocity.
    """
    result = {name: value.float() for name, value in weights.items()}
    taken = result["patch_embedding.weight"].clone()
    for first in (0, LATENT_CHANNELS + MASK_CHANNELS):
        channels = slice(first, first + LATENT_CHANNELS)
        taken[:, channels] = torch.einsum("dc..., kc -> dk...", taken[:, channels], turn)
    result["patch_embedding.weight"] = taken
    for name in ("head.head.weight", "head.head.bias"):  # for each of the patch's cells all channels
        given = result[name].unflatten(0, (-1, LATENT_CHANNELS))
        result[name] = torch.einsum("kc, pc... -> pk...", turn, given).flatten(0, 1)
    return result
