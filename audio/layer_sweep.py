"""The transformer over a sound of any length, layer by layer, in flat memory and time per second of sound.

Up to `NEAR_FRAMES` the frames go through at once: every frame attends to every other, as in the reference. A longer
sound goes through in pieces. Each piece attends to all frames within `NEAR_FRAMES` on both sides, one by one, and to
everything beyond in summary: the far frames are grouped around some of them, spread evenly over the sound, and
each group counts as its mean frame, as often as it has members, corrected for how its members scatter. wav2vec 2.0's
attention knows contents and no positions; that is why groups by content serve.

Pieces are cut anew in every layer, from the finished output of the layer before: no error creeps in from their edges.
`benchmarks/audio.py` measures what the summary costs.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from ..spool import Spool
from .free_memory import give_back
from .wav2vec_model import Encoder, EncoderLayer

NEAR_FRAMES = 7_500  # five minutes at 25 fps
PIECE_FRAMES = 1_250
GROUP_VALUES = 1_024 * 768  # numbers in the centers of all groups: a narrower model affords more groups
EXTRA_CHANNELS = 8  # two are needed; fast attention kernels want widths in eights
NOBODY = -1e4  # logarithm of the weight of a row that holds no frame; float16 can hold it
MAX_LOG_FACTOR = 4.0  # of what the scatter of a group's members adds to its score

Progress = Callable[[int, int], None]  # steps done, steps in all
Source = Callable[[int, int], Tensor]  # frames start, stop -> [stop - start, channels]


@dataclass(frozen=True)
class Reach:
    """How far the attention looks frame by frame, and how many groups stand for the rest."""

    near_frames: int = NEAR_FRAMES
    piece_frames: int = PIECE_FRAMES
    groups: int | None = None
    """None: as many as `GROUP_VALUES` allows."""

    def group_count(self, frames: int, channels: int) -> int:
        """Groups for so many frames of so many channels."""
        return min(frames, self.groups or GROUP_VALUES // channels)

    def pieces(self, frames: int) -> list[tuple[int, int]]:
        """First frame and end of every piece; one piece if all frames are near each other."""
        if frames <= self.near_frames:
            return [(0, frames)]
        return [(i, min(i + self.piece_frames, frames)) for i in range(0, frames, self.piece_frames)]


@dataclass(frozen=True)
class Totals:
    """Some frames of one layer's input, group by group; float32."""

    counts: Tensor  # [groups] members
    sums: Tensor  # [groups, channels] of the members
    moment: Tensor  # [channels, channels] sum of the outer products of all of them

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.counts + other.counts, self.sums + other.sums, self.moment + other.moment)

    def __sub__(self, other: Totals) -> Totals:
        return Totals(self.counts - other.counts, self.sums - other.sums, self.moment - other.moment)

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean `[G, channels]` and count `[G]` of the groups that have members."""
        filled = self.counts > 0.5  # counts are whole numbers
        return self.sums[filled] / self.counts[filled, None], self.counts[filled]

    def spread(self) -> Tensor:
        """Covariance of the members around the means of their groups, over all groups, `[channels, channels]`."""
        means, counts = self.means()
        return (self.moment - means.T @ (means * counts[:, None])) / counts.sum().clamp(min=1)


class KeysValues:
    """Keys and values of all that is attended to, in one place for the whole layer: a slot per near piece, and groups.

    The order of the rows does not matter. Pieces that come and go in memory of their own would leave holes in it, and
    attention over all of them would need a copy.

    Args:
        like: keys of any frames, `[1, heads, frames, channels per head]`.
        slots: pieces that are near at a time.
        piece_frames: rows of a slot.
        groups: rows for the groups, behind the slots.
    """

    def __init__(self, like: Tensor, slots: int, piece_frames: int, groups: int) -> None:
        self.width = like.shape[-1]
        self.slots = slots
        self.piece_frames = piece_frames
        shape = (1, like.shape[1], slots * piece_frames + groups, self.width + EXTRA_CHANNELS)
        self.k, self.v = like.new_zeros(shape), like.new_zeros(shape)
        self.k[..., self.width] = NOBODY

    def put(self, piece: int, k: Tensor, v: Tensor) -> None:
        """Fill a piece's slot with keys and values `[1, heads, frames, channels per head]`."""
        rows = self._rows(piece)
        self._fill(slice(rows.start, rows.start + k.shape[2]), k, v)
        self.k[:, :, rows.start + k.shape[2] : rows.stop, self.width] = NOBODY

    def remove(self, piece: int) -> None:
        """Empty a piece's slot."""
        self.k[:, :, self._rows(piece), self.width] = NOBODY

    def put_groups(self, k: Tensor, v: Tensor, log_counts: Tensor) -> None:
        """Fill the groups' rows; each counts `exp(log_counts)` times. A value channel shows how much they got."""
        first = self.slots * self.piece_frames
        rows = slice(first, first + k.shape[2])
        self._fill(rows, k, v)
        self.k[:, :, rows, self.width] = log_counts.to(self.k.dtype)
        self.k[:, :, rows, self.width + 1] = self.v[:, :, rows, self.width + 1] = 1
        self.k[:, :, rows.stop :, self.width] = NOBODY

    def _fill(self, rows: slice, k: Tensor, v: Tensor) -> None:
        self.k[:, :, rows, : self.width], self.v[:, :, rows, : self.width] = k, v
        self.k[:, :, rows, self.width] = 0

    def _rows(self, piece: int) -> slice:
        first = piece % self.slots * self.piece_frames
        return slice(first, first + self.piece_frames)


class LayerSweep:
    """Runs the layers of one encoder over the frames of one sound."""

    def __init__(self, encoder: Encoder, frames: int, device: torch.device, dtype: torch.dtype, reach: Reach) -> None:
        self.encoder = encoder
        self.frames = frames
        self.device = device
        self.dtype = dtype
        self.reach = reach
        self.pieces = self.reach.pieces(frames)

    def run(self, projected: Source, outputs: Spool, work: Spool, progress: Progress | None = None) -> None:
        """Append the output of every layer to `outputs`, layer after layer, `frames` rows each.

        Args:
            projected: gives projected features of any frames; asked for `position_kernel // 2` more on both sides.
            outputs: spool of `[channels]` rows.
            work: another one, for the input of the first layer.
            progress: called after every piece of every layer.

        Raises:
            OverflowError: a value leaves the range of `dtype`.
        """
        steps = len(self.pieces) * (len(self.encoder.layers) + 1)
        done = 0
        source = self._reader(work, 0)
        for piece in self._begun(projected):
            work.append(piece)
            give_back()
            done += 1
            if progress is not None:
                progress(done, steps)
        for index, layer in enumerate(self.encoder.layers):
            assert isinstance(layer, EncoderLayer)
            for piece in self._layer(layer, source):
                if not piece.isfinite().all():
                    raise OverflowError(f"layer {index} left the range of {self.dtype}")
                outputs.append(self.encoder.output(index, piece)[0])
                give_back()
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
        """The first layer's input, piece by piece: the positional convolution sees its real neighbors."""
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
        groups = self.reach.group_count(self.frames, layer.attention.k_proj.in_features)
        reach = math.ceil(self.reach.near_frames / self.reach.piece_frames)
        members = GroupedFrames(layer, source, self.pieces, groups, 2 * reach + 1, self.dtype)
        ready = 0
        for i, (start, stop) in enumerate(self.pieces):
            if i > reach:
                members.leave(i - reach - 1)
            while ready < min(i + reach + 1, len(self.pieces)):
                members.enter(ready)
                ready += 1
            x = source(start, stop)[None]
            q = layer.attention.queries(layer.attention_input(x))
            yield layer.after_attention(x, members.attend(q))


class GroupedFrames:
    """All frames of one layer's input, each assigned to the nearest of a fixed number of them.

    Attention needs two sums over the n members of a group, for each query q (scaled by 1 / sqrt(D) here): of `exp(q·k)`
    and of `exp(q·k) v`. With the mean key m and mean value u alone they would be `n exp(q·m)` and `n exp(q·m) u`, which
    is too little: exp is convex, so members on the query's side of the mean gain more than the others lose. The
    cumulant expansion of the mean of `exp(q·k)`, to the second order, is

        log E[exp(q·k)] = q·m + q·Cq / 2 + ...         C = cov(k, k), [D, D] per head
        E[exp(q·k) v] = E[exp(q·k)] (u + cov(v, k) q)  the derivative of the same expansion

    and both are exact where keys and values have a joint normal distribution (the moment-generating function of the
    normal distribution, and Stein's lemma). So a group is attended to as one key m with `log n + q·Cq / 2` added to its
    score, and its value is moved by `cov(v, k) q`.

    One C serves all far groups: the covariance S `[channels, channels]` of the frames around the means of their groups.
    Keys and values are linear in the frames, k = K x and v = V x up to a constant, hence `C = K S K'` and
    `cov(v, k) = V S K'`. The additions to the scores travel in two of the `EXTRA_CHANNELS` of keys and queries (1 times
    `log n`, and `q·Cq / 2` times 1): a mask of queries by keys would be the one thing here that needs much memory.
    """

    def __init__(
        self,
        layer: EncoderLayer,
        source: Source,
        pieces: list[tuple[int, int]],
        groups: int,
        slots: int,
        dtype: torch.dtype,
    ) -> None:
        self.layer = layer
        self.attention = layer.attention
        self.dtype = dtype
        self.source = source
        self.pieces = pieces
        frames = pieces[-1][1]
        picks = [round(i * (frames - 1) / (groups - 1)) for i in range(groups)]
        self.centers = torch.cat([self._seen(i, i + 1) for i in picks])  # [groups, channels] float32
        self.assignments: list[Tensor] = []
        self.key_rows, self.value_rows = self._projections()  # [heads, D, channels]
        self.far = functools.reduce(operator.add, map(self._assigned, range(len(pieces))))
        first, stop = pieces[0]
        keys, _ = self._keys_values(self.centers[:1])
        self.attended = KeysValues(keys, min(slots, len(pieces)), stop - first, groups)

    def enter(self, index: int) -> None:
        """Take a piece out of the summary and into sight, frame by frame."""
        x = self._seen(*self.pieces[index])
        self.far = self.far - self._totals(x, index)
        self.attended.put(index, *self._keys_values(x))

    def leave(self, index: int) -> None:
        """Put a piece back into the summary. Adding it up again is cheaper than the memory for all that are near."""
        self.attended.remove(index)
        self.far = self.far + self._totals(self._seen(*self.pieces[index]), index)

    def attend(self, q: Tensor) -> Tensor:
        """Queries `[1, heads, F, D]` over the near frames and the summary of all others -> `[1, F, channels]`."""
        means, counts = self.far.means()
        self.attended.put_groups(*self._keys_values(means), counts.log())
        width = q.shape[-1]
        q, moved = self._weighted(q, self.far.spread())
        attended = scaled_dot_product_attention(q, self.attended.k, self.attended.v)
        share = attended[..., width + 1, None]  # of the far groups in each query's attention
        return self.attention.join_heads(attended[..., :width] + share * moved)

    def _weighted(self, q: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Queries with `q·Cq / 2` beside them, and what the values of far groups are moved by; see the class.

        The attention divides scores by the root of the width, which is wider by `EXTRA_CHANNELS` here: the queries are
        multiplied by it in advance.

        Args:
            q: `[1, heads, F, D]`.
            spread: S, `[channels, channels]`.

        Returns:
            Queries `[1, heads, F, D + EXTRA_CHANNELS]`, and moves `[1, heads, F, D]`.
        """
        width = q.shape[-1]
        scaled = q.float() / math.sqrt(width)
        log_factor = ((scaled @ (self.key_rows @ spread @ self.key_rows.mT)) * scaled).sum(dim=-1) / 2
        # Far from the mean a normal distribution promises members that no sound has: there the query is taken to be
        # nearer, as far as the factor reaches exp(MAX_LOG_FACTOR).
        trust = (MAX_LOG_FACTOR / log_factor.clamp(min=MAX_LOG_FACTOR))[..., None]
        moved = (scaled * trust) @ (self.key_rows @ spread @ self.value_rows.mT)
        wide = pad(scaled, (0, EXTRA_CHANNELS))
        wide[..., width] = 1
        wide[..., width + 1] = log_factor * trust[..., 0]
        return (wide * math.sqrt(width + EXTRA_CHANNELS)).to(q.dtype), moved.to(q.dtype)

    def _seen(self, start: int, stop: int) -> Tensor:
        """What the attention sees of the frames, `[stop - start, channels]` float32."""
        return self.layer.attention_input(self.source(start, stop)[None])[0].float()

    def _keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of `x` [F, channels], `[1, heads, F, channels per head]` each."""
        return self.attention.keys_values(x.to(self.dtype)[None])

    def _projections(self) -> tuple[Tensor, Tensor]:
        """The matrices of keys and values, `[heads, D, channels]` float32, wherever their weights are kept."""
        unit = torch.eye(self.centers.shape[1], device=self.centers.device, dtype=self.dtype)[None]
        of_unit = self.attention.keys_values(unit)
        of_zero = self.attention.keys_values(torch.zeros_like(unit[:, :1]))
        key_rows, value_rows = ((a - b)[0].float().mT for a, b in zip(of_unit, of_zero, strict=True))
        return key_rows, value_rows

    def _assigned(self, index: int) -> Totals:
        """Assign the frames of the next piece to the nearest centers; what they add up to."""
        x = self._seen(*self.pieces[index])
        self.assignments.append((self.centers.square().sum(dim=1) - 2 * x @ self.centers.T).argmin(dim=1))
        return self._totals(x, index)

    def _totals(self, x: Tensor, index: int) -> Totals:
        """What the frames `x` of a piece add up to."""
        assignment = self.assignments[index]
        counts = torch.bincount(assignment, minlength=len(self.centers)).float()
        return Totals(counts, sums_of_groups(x, assignment, len(self.centers)), x.T @ x)


def sums_of_groups(x: Tensor, assignment: Tensor, groups: int) -> Tensor:
    """The rows of `x` `[F, channels]` added up by their group, `[groups, channels]`; the same bits every time.

    GPUs add by index in an order that changes from run to run, so there it is a product with ones and zeros.
    """
    if x.device.type == "cpu":
        return x.new_zeros(groups, x.shape[1]).index_add_(0, assignment, x)
    return torch.nn.functional.one_hot(assignment, groups).to(x.dtype).T @ x
