"""HDR pictures (PQ and HLG, BT.2100) as an SDR screen shows them."""

from __future__ import annotations

import functools

import numpy as np

REFERENCE_WHITE_NITS = 203  # ITU-R BT.2408: what paper shows, and SDR's white
PEAK_NITS = 1000  # of the masters that are usual; brighter lights are white
KNEE = 0.6  # of SDR's range: below, brightness stays as it is
SDR_GAMMA = 2.4  # BT.1886
HLG_SYSTEM_GAMMA = 1.2  # BT.2100 for a screen of 1000 nits
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
# Linear light of BT.2020 primaries in BT.709's (ITU-R BT.2087).
BT2020_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
ROWS = 64  # worked on at a time
LEVELS = 65536


def to_sdr(pixels: np.ndarray, *, is_pq: bool) -> np.ndarray:
    """Bring an HDR picture to SDR.

    Args:
        pixels: `[H, W, 3 or 4]` uint16, BT.2020 primaries.
        is_pq: coded by PQ, else by HLG.

    Returns:
        The same shape and type, BT.709 primaries; transparency stays.
    """
    result = np.empty_like(pixels)
    table = _light_of_pq() if is_pq else _light_of_hlg()
    for start in range(0, len(pixels), ROWS):
        rows = pixels[start : start + ROWS]
        light = table[rows[..., :3]]
        if not is_pq:  # HLG codes the light of the scene
            light = light * np.maximum(light @ BT2020_LUMA, 1e-6)[..., None] ** (HLG_SYSTEM_GAMMA - 1)
            light *= PEAK_NITS / REFERENCE_WHITE_NITS
        light = _compress(np.maximum(light @ BT2020_TO_709.T, 0))
        result[start : start + ROWS, :, :3] = (light ** (1 / SDR_GAMMA) * (LEVELS - 1) + 0.5).astype(np.uint16)
        result[start : start + ROWS, :, 3:] = rows[..., 3:]
    return result


def _compress(light: np.ndarray) -> np.ndarray:
    """Light (1 is SDR's white) to 0 … 1: unchanged up to the knee, then ever flatter up to the peak.

    The brightest channel is compressed and the others keep their ratio to it, so that colors keep their hue.
    """
    brightest = light.max(axis=-1, keepdims=True)
    room, above = 1 - KNEE, np.clip(brightest - KNEE, 0, PEAK_NITS / REFERENCE_WHITE_NITS - KNEE)
    longest = PEAK_NITS / REFERENCE_WHITE_NITS - KNEE
    # A hyperbola that leaves the knee with slope 1 and reaches 1 at the peak.
    bent = KNEE + above / (1 + above * (longest / room - 1) / longest)
    scale = np.where(brightest > KNEE, bent / np.maximum(brightest, 1e-6), 1)
    return np.clip(light * scale, 0, 1)


@functools.cache
def _light_of_pq() -> np.ndarray:
    """Light of each code, 1 being SDR's white, `[65536]` float32 (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    code = np.linspace(0, 1, LEVELS) ** (1 / m2)
    nits = 10_000 * (np.maximum(code - c1, 0) / (c2 - c3 * code)) ** (1 / m1)
    return (nits / REFERENCE_WHITE_NITS).astype(np.float32)


@functools.cache
def _light_of_hlg() -> np.ndarray:
    """Light of the scene of each code, 0 … 1, `[65536]` float32 (ARIB STD-B67)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    code = np.linspace(0, 1, LEVELS)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
