"""`Saliency`: the parts that words, pixels or numbers of one input have in a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attribution.saliency.frame import WHOLE

ROBUST = 99.0
"""Percentile of the absolute parts of a picture that counts as full strength: one hot pixel must not pale the rest."""

SMOOTH = 1 / 28
"""Width of the Gaussian that pixels are averaged with before they are shown, in edges of the picture: a single pixel
of an integrated gradient is noisy, a patch is not. Pictures of fewer than 28 pixels stay as they are."""


@dataclass(frozen=True)
class Saliency:
    """What of one input moved a measurement, and which way, in comparison with a neutral input.

    Args:
        split, example_id: the example.
        measurement: name of the measurement.
        measurement_words: what it is, in words.
        kind: what ``parts`` are of.
        parts: (W,) of words, (H, W) of the pixels that the model reads, (F,) of numbers. Positive pushed the
            measurement up: of the margin, towards the wrong class.
        value: the measurement of the example.
        neutral_value: the measurement of the neutral input.
        neutral: what that is, in words.
        error: (value - neutral_value - sum of parts) / sum of their sizes: how far the integral is from complete.
        steps: points of the path at which gradients were taken.
        seconds: how long it took.
        spans: start and end (characters of the text as shown) of each of the W words.
        seen: characters of the text up to the last one that the model reads; None where it reads all.
        numbers: the input itself (F,), where it is one of numbers.
        picture: height and width of the picture as shown, where it is one.
        frame: of it what the model reads: top, left, bottom and right in shares of height and width.
    """

    split: str
    example_id: str
    measurement: str
    measurement_words: str
    kind: Literal["words", "pixels", "numbers"]
    parts: NDArray[np.float64]
    value: float
    neutral_value: float
    neutral: str
    error: float
    steps: int
    seconds: float
    spans: tuple[tuple[int, int], ...] = ()
    seen: int | None = None
    numbers: NDArray[np.float64] | None = None
    picture: tuple[int, int] | None = None
    frame: tuple[float, float, float, float] = WHOLE

    @property
    def strengths(self) -> NDArray[np.float64]:
        """The parts as -1..1: of words and numbers by the strongest one, of pixels smoothed and by a percentile."""
        if self.kind == "pixels":
            smooth = smoothed(self.parts, SMOOTH * max(self.parts.shape))
            sizes = np.abs(smooth)
            # Of a picture that is empty but for a few pixels, the percentile may be nothing.
            largest = float(np.percentile(sizes, ROBUST)) or float(sizes.max(initial=0.0))
            return np.clip(smooth / (largest or 1.0), -1.0, 1.0)
        largest = float(np.abs(self.parts).max(initial=0.0))
        scaled: NDArray[np.float64] = self.parts / (largest or 1.0)
        return scaled


def smoothed(pixels: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Pixels (H, W) averaged with a Gaussian of this standard deviation in pixels; unchanged below one pixel."""
    if width < 1.0:
        return pixels
    from scipy.ndimage import gaussian_filter

    result: NDArray[np.float64] = gaussian_filter(pixels, width, mode="constant")
    return result
