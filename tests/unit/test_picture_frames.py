"""Which part of a picture the model reads, as its image processor's own settings say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from attribution.saliency.frame import PictureFrames

PLAIN = {
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.2],
    "rescale_factor": 1 / 255,
    "resample": 2,
}


def frames(folder: Path, **settings: Any) -> PictureFrames:
    content = PLAIN | {"image_processor_type": "ViTImageProcessor", "do_normalize": True} | settings
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return PictureFrames(folder)


@pytest.mark.parametrize(
    ("settings", "size", "expected"),
    [
        ({"do_resize": False}, (60, 90), (0, 0, 1, 1)),
        ({"do_resize": True, "size": {"height": 32, "width": 32}}, (60, 90), (0, 0, 1, 1)),
        (  # to 64 at the shorter edge, then the middle 56: CLIP's way
            {
                "image_processor_type": "CLIPImageProcessor",
                "size": {"shortest_edge": 64},
                "crop_size": {"height": 56, "width": 56},
            },
            (60, 90),
            (4 / 64, 20 / 96, 60 / 64, 76 / 96),
        ),
        (  # a crop larger than the picture pads it with black
            {
                "image_processor_type": "CLIPImageProcessor",
                "do_resize": False,
                "crop_size": {"height": 80, "width": 80},
            },
            (60, 90),
            (-10 / 60, 5 / 90, 70 / 60, 85 / 90),
        ),
    ],
)
def test_a_frame_is_what_the_processor_reads(
    settings: dict[str, Any], size: tuple[int, int], expected: tuple[float, ...], tmp_path: Path
) -> None:
    found = frames(tmp_path, **settings).frame(*size, 3)
    assert found == pytest.approx(expected, abs=0.02)
