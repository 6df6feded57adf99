"""The transformer over a sound of any length, layer by layer, in flat memory and time per second of sound.

Up to `NEAR_FRAMES` the frames go through at once: every frame attends to every other, as in the reference. A longer
sound goes through in pieces. Each piece attends to all frames within `NEAR_FRAMES` on both sides, one by one, and to
everything beyond in summary: the far frames are grouped around `GROUPS` of them, spread evenly over the sound, and
each group counts as its mean frame, as often as it has members. wav2vec 2.0's attention knows contents and no
positions; that is why groups by content serve.

Pieces are cut anew in every layer, from the finished output of the layer before: no error creeps in from their edges.
`benchmarks/audio.py` measures what the summary costs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from .spool import Spool
from .wav2vec_model import Encoder, EncoderLayer

NEAR_FRAMES = 7_500  # five minutes at 25 fps
PIECE_FRAMES = 2_500
GROUPS = 1_024
# Further channels of queries and keys that carry a key's weight. One would do; fast attention kernels want eights.
WEIGHT_CHANNELS = 8

Progress = Callable[[int, int], None]  # steps done, steps in all
Source = Callable[[int, int], Tensor]  # frames start, stop → [stop - start, channels]


@dataclass(frozen=True)
class Reach:
    """How far the attention looks frame by frame, and how many groups stand for the rest."""

    near_frames: int = NEAR_FRAMES
    piece_frames: int = PIECE_FRAMES
    groups: int = GROUPS

    def pieces(self, frames: int) -> list[tuple[int, int]]:
        """First frame and end of every piece; one piece if all frames are near each other."""
        if frames <= self.near_frames:
            return [(0, frames)]
        return [(i, min(i + self.piece_frames, frames)) for i in range(0, frames, self.piece_frames)]


@dataclass
class NearPiece:
    """One piece's keys and values, and its part of every group."""

    k: Tensor  # [1, heads, frames, channels per head + WEIGHT_CHANNELS]
    v: Tensor
    counts: Tensor  # [groups] float32
    sums: Tensor  # [groups, channels] float32


class LayerSweep:
    """Runs the layers of one encoder over the frames of one sound."""

    def __init__(
        self, encoder: Encoder, frames: int, device: torch.device, dtype: torch.dtype, reach: Reach | None = None
    ) -> None:
        self.encoder = encoder
        self.frames = frames
        self.device = device
        self.dtype = dtype
        self.reach = reach or Reach()
        self.pieces = self.reach.pieces(frames)

    def run(self, projected: Source, outputs: Spool, work: Spool, progress: Progress | None = None) -> None:
        """Append the output of every layer to `outputs`, layer after layer, `frames` rows each.

        Args:
            projected: gives projected features of any frames; asked for `position_kernel // 2` more on both sides.
            outputs: spool of `[channels]` rows.
            work: another one, for the input of the first layer.
            progress: called after every piece of every layer.
        """
        steps = len(self.pieces) * (len(self.encoder.layers) + 1)
        done = 0
        source = self._reader(work, 0)
        for piece in self._begun(projected):
            work.append(piece)
            done += 1
            if progress is not None:
                progress(done, steps)
        for index, layer in enumerate(self.encoder.layers):
            for piece in self._layer(layer, source):
                outputs.append(self.encoder.output(index, piece)[0])
                done += 1
                if progress is not None:
                    progress(done, steps)
            source = self._reader(outputs, index * self.frames)

    def _reader(self, spool: Spool, first_row: int) -> Source:
        """Frames of a finished layer."""

        def read(start: int, stop: int) -> Tensor:
            rows = torch.from_numpy(spool.read(first_row + start, first_row + stop))
            return rows.to(self.device, self.dtype)

        return read

    def _begun(self, projected: Source) -> Iterator[Tensor]:
        """The first layer's input, piece by piece: the positional convolution sees its real neighbours."""
        margin = self.encoder.pos_conv_embed.conv.kernel_size[0] // 2
        for start, stop in self.pieces:
            first, last = max(0, start - margin), min(self.frames, stop + margin)
            x = self.encoder.begin(projected(first, last)[None])[0]
            yield x[start - first : stop - first]

    def _layer(self, layer: EncoderLayer, source: Source) -> Iterator[Tensor]:
        """Output of one layer, `[1, piece, channels]` each."""
        if len(self.pieces) == 1:
            yield layer(source(0, self.frames)[None])
            return
        members = GroupedFrames(layer, source, self.pieces, self.reach.groups, self.dtype)
        reach = math.ceil(self.reach.near_frames / self.reach.piece_frames)
        near: deque[NearPiece] = deque()
        ready = 0
        for i, (start, stop) in enumerate(self.pieces):
            if i > reach:
                near.popleft()
            while ready < min(i + reach + 1, len(self.pieces)):
                near.append(members.piece(ready))
                ready += 1
            x = source(start, stop)[None]
            q = layer.attention.queries(layer.attention_input(x))
            yield layer.after_attention(x, members.attend(q, near))


class GroupedFrames:
    """All frames of one layer's input, each assigned to the nearest of a fixed number of frames."""

    def __init__(
        self, layer: EncoderLayer, source: Source, pieces: list[tuple[int, int]], groups: int, dtype: torch.dtype
    ) -> None:
        self.layer = layer
        self.dtype = dtype
        self.source = source
        self.pieces = pieces
        frames = pieces[-1][1]
        picks = [round(i * (frames - 1) / (groups - 1)) for i in range(groups)]
        self.centres = torch.cat([self._seen(i, i + 1) for i in picks])  # [groups, channels] float32
        self.assignments: list[Tensor] = []
        self.counts = torch.zeros(groups, device=self.centres.device)
        self.sums = torch.zeros_like(self.centres)
        for start, stop in pieces:
            x = self._seen(start, stop)
            self.assignments.append(self._assign(x))
            counts, sums = self._totals(x, self.assignments[-1])
            self.counts += counts
            self.sums += sums

    def piece(self, index: int) -> NearPiece:
        """Keys, values and groups of one piece."""
        x = self._seen(*self.pieces[index])
        k, v = self._keys_values(x, torch.zeros(len(x), device=x.device))
        return NearPiece(k, v, *self._totals(x, self.assignments[index]))

    def attend(self, q: Tensor, near: deque[NearPiece]) -> Tensor:
        """Queries `[1, heads, F, D]` over the near frames and the summary of all others → `[1, F, channels]`."""
        counts = self.counts - sum(p.counts for p in near)
        sums = self.sums - sum(p.sums for p in near)
        kept = counts > 0.5  # counts are whole numbers in float32
        far_k, far_v = self._keys_values(sums[kept] / counts[kept, None], counts[kept].log())
        k = torch.cat([*(p.k for p in near), far_k], dim=2)
        v = torch.cat([*(p.v for p in near), far_v], dim=2)
        return self.layer.attention.attend(_weighted_queries(q), k, v)

    def _seen(self, start: int, stop: int) -> Tensor:
        """What the attention sees of the frames, `[stop - start, channels]` float32."""
        return self.layer.attention_input(self.source(start, stop)[None])[0].float()

    def _keys_values(self, x: Tensor, log_counts: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of `x` [F, channels] that count `exp(log_counts)` times for weighted queries."""
        k, v = self.layer.attention.keys_values(x.to(self.dtype)[None])
        width = k.shape[-1]
        k, v = pad(k, (0, WEIGHT_CHANNELS)), pad(v, (0, WEIGHT_CHANNELS))
        k[..., width] = log_counts
        return k, v

    def _assign(self, x: Tensor) -> Tensor:
        """Index of the nearest centre of every frame, `[F]` int64."""
        return (self.centres.square().sum(dim=1) - 2 * x @ self.centres.T).argmin(dim=1)

    def _totals(self, x: Tensor, assignment: Tensor) -> tuple[Tensor, Tensor]:
        """How many frames each group has, and their sum."""
        counts = torch.bincount(assignment, minlength=len(self.centres)).float()
        return counts, torch.zeros_like(self.centres).index_add_(0, assignment, x)


def _weighted_queries(q: Tensor) -> Tensor:
    """Queries for keys that carry their weight in further channels.

    The logit gains 1 · log(count): a mask of queries by keys would be the one thing here that needs much memory. The
    attention divides by the root of the wider width, so both parts are scaled up by what that takes away.
    """
    width = q.shape[-1]
    wide = pad(q * math.sqrt((width + WEIGHT_CHANNELS) / width), (0, WEIGHT_CHANNELS))
    wide[..., width] = math.sqrt(width + WEIGHT_CHANNELS)
    return wide
