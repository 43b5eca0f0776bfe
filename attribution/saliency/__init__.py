"""What the model looked at: which words, pixels or numbers of one input moved a measurement.

`InputAttributor` integrates gradients from a neutral input to the example (Sundararajan et al. 2017) and gives a
`Saliency`. Names are imported on first use: torch and captum take their time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.lazy import lazily

if TYPE_CHECKING:
    from attribution.saliency.attributor import InputAttributor
    from attribution.saliency.result import Saliency

_HOME = {
    "InputAttributor": "attribution.saliency.attributor",
    "Saliency": "attribution.saliency.result",
}

__all__ = ["InputAttributor", "Saliency"]

__getattr__ = lazily(__name__, _HOME)
