"""`fashion`: a small convolutional network from transformers on a part of Fashion-MNIST.

The project is shipped ready made, six checkpoints of the training run included, so that opening it takes
seconds; `fashion_training` made it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from attribution.progress import SILENT, Reporter
from attribution.projects import create_project, read_manifest
from attribution.projects.manifest import FILE_NAME
from sample_models.placement import building

SHIPPED = Path(__file__).parent / "data" / "fashion"


def create(directory: Path, reporter: Reporter = SILENT) -> None:
    """Copy the shipped project."""
    files = sorted(file.relative_to(SHIPPED) for file in SHIPPED.rglob("*") if file.is_file())
    with building(directory) as place:
        for file in reporter.track(files, len(files), "Copying the model and its data"):
            if file.name != FILE_NAME:
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(SHIPPED / file, place / file)
        create_project(place, read_manifest(SHIPPED))
