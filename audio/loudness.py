"""Program loudness after ITU-R BS.1770-4, in one pass and flat memory.

The numbers are pyloudnorm's (its filters, blocks and gates), which the authors' `loudness_norm` rests on; only the
sound is read in chunks, where pyloudnorm holds several copies of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

TARGET_LUFS = -23.0  # EBU R 128, and the level at which the authors embed speech
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
QUIETEST_LUFS = -100.0  # what measures less is silence to the reference, and left as it is
BINS_PER_BLOCK = 4  # blocks of 400 ms overlap by three quarters: bins of 100 ms
BINS_PER_SECOND = 10


def integrated_loudness(chunks: Iterable[np.ndarray], sample_rate: int) -> float:
    """Integrated loudness in LUFS of a mono sound that comes in `chunks` `[n]`; -inf for silence.

    `sample_rate` in Hz must be a multiple of 10. A sound shorter than the meter's 400 ms block, which pyloudnorm
    refuses, is measured as the one block that it is, over its own length.
    """
    if sample_rate % BINS_PER_SECOND:
        raise ValueError(f"{sample_rate} Hz has no whole number of samples in 100 ms")
    bin_samples = sample_rate // BINS_PER_SECOND
    energy, samples = _bin_energies(chunks, sample_rate, bin_samples)
    if samples < BINS_PER_BLOCK * bin_samples:
        return _gated(energy.sum(keepdims=True) / max(samples, 1))
    # The last block is rounded to the nearest bin, so it may reach past the end (pyloudnorm's count).
    blocks = int(np.round((samples / sample_rate - 0.4) * BINS_PER_SECOND)) + 1
    energy = np.pad(energy, (0, max(0, blocks + BINS_PER_BLOCK - 1 - len(energy))))
    overlapping = np.stack([energy[i : i + blocks] for i in range(BINS_PER_BLOCK)])  # [4, blocks]
    power = overlapping.sum(axis=0) / (BINS_PER_BLOCK * bin_samples)
    return _gated(power)


def gain_to_target(loudness: float, target: float = TARGET_LUFS) -> float:
    """Factor that brings a sound of `loudness` LUFS to `target` LUFS; 1 for silence (beyond ±100 LUFS)."""
    if not np.isfinite(loudness) or abs(loudness) > -QUIETEST_LUFS:
        return 1.0
    return float(10.0 ** ((target - loudness) / 20.0))


def _bin_energies(chunks: Iterable[np.ndarray], sample_rate: int, bin_samples: int) -> tuple[np.ndarray, int]:
    """Sum of the weighted squares in each 100 ms (the last one may be short), and the number of samples."""
    energies: list[np.ndarray] = []
    rest = np.empty(0)
    samples = 0
    for weighted in _k_weighted(chunks, sample_rate):
        samples += len(weighted)
        squares = np.concatenate([rest, np.square(weighted)])
        whole = len(squares) // bin_samples * bin_samples
        energies.append(squares[:whole].reshape(-1, bin_samples).sum(axis=1))
        rest = squares[whole:]
    return np.concatenate([*energies, rest.sum(keepdims=True)]), samples


def _k_weighted(chunks: Iterable[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    """The chunks through the meter's two K-weighting filters, which go on from chunk to chunk."""
    from pyloudnorm import IIRfilter
    from scipy.signal import lfilter

    # pyloudnorm's K-weighting: gain in dB, Q, frequency in Hz
    stages = [
        IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, sample_rate, "high_shelf"),
        IIRfilter(0.0, 0.5, 38.0, sample_rate, "high_pass"),
    ]
    states = [np.zeros(2) for _ in stages]
    for chunk in chunks:
        weighted = np.asarray(chunk, dtype=np.float64)
        for i, stage in enumerate(stages):
            weighted, states[i] = lfilter(stage.b, stage.a, weighted, zi=states[i])
            weighted = weighted * stage.passband_gain
        yield weighted


def _gated(power: np.ndarray) -> float:
    """Loudness of the mean power of the blocks above both gates."""
    with np.errstate(divide="ignore"):
        block_lufs = -0.691 + 10.0 * np.log10(power)
    audible = block_lufs >= ABSOLUTE_GATE_LUFS
    if not audible.any():
        return float("-inf")
    relative_gate = _lufs(power[audible].mean()) + RELATIVE_GATE_LU
    kept = (block_lufs > relative_gate) & (block_lufs > ABSOLUTE_GATE_LUFS)
    return _lufs(power[kept].mean()) if kept.any() else float("-inf")


def _lufs(power: float) -> float:
    """Mean square of the weighted mono sound -> LUFS (BS.1770's offset of 0.691 LU)."""
    return -0.691 + 10.0 * float(np.log10(power)) if power > 0 else float("-inf")
