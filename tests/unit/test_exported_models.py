"""An exported transformers model gives the previewed probabilities in a process that knows transformers alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from attribution import Engine, prepare
from attribution.fixing import export_fix
from attribution.projects import FixRecord, Manifest, Project, TransformersSource, create_project
from tests.unit.tiny_models import WORDS, settled, small_bert, word_tokenizer

IN_A_FRESH_PROCESS = """
import json, sys, torch
from PIL import Image
from transformers import (
    AutoImageProcessor, AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer
)
folder, kind, content = sys.argv[1:]
auto = AutoModelForImageClassification if kind == "image" else AutoModelForSequenceClassification
model = auto.from_pretrained(folder, local_files_only=True).eval()
if kind == "image":
    # torchvision, which the other kind of image processor wants, is not installed
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    inputs = processor(images=Image.open(content), return_tensors="pt")
else:
    inputs = AutoTokenizer.from_pretrained(folder, local_files_only=True)(content, return_tensors="pt")
with torch.no_grad():
    chances = model(**inputs).logits.softmax(dim=1)[0]
assert not any(name.split(".")[0] in ("attribution", "dashboard") for name in sys.modules)
print(json.dumps({model.config.id2label[n]: p for n, p in enumerate(chances.tolist())}))
"""

SIZE = 30


def of_texts(directory: Path) -> TransformersSource:
    """A small BERT with its tokenizer, and sentences of random words."""
    settled(small_bert()).save_pretrained(directory / "model")
    word_tokenizer().save_pretrained(directory / "model")
    random = torch.Generator().manual_seed(1)
    words = [
        " ".join(WORDS[int(n)] for n in torch.randint(2, len(WORDS), (5,), generator=random))
        for _ in range(SIZE)
    ]
    table = pd.DataFrame({"text": words, "label": [f"LABEL_{n % 3}" for n in range(SIZE)]})
    table.to_csv(directory / "texts.csv", index=False)
    return TransformersSource(model="model", train="texts.csv", test="texts.csv", text_column="text")


def of_images(directory: Path) -> TransformersSource:
    """A small ResNet with its image processor, and pictures of noise."""
    config = ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", num_labels=3
    )
    settled(ResNetForImageClassification(config)).save_pretrained(directory / "model")
    processor = ViTImageProcessorPil(
        size={"height": 12, "width": 12}, image_mean=[0.4] * 3, image_std=[0.3] * 3
    )
    processor.save_pretrained(directory / "model")
    random = np.random.default_rng(1)
    for number in range(SIZE):
        pixels = random.integers(0, 256, (9, 14, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(directory / f"{number}.png")
    names = [f"{number}.png" for number in range(SIZE)]
    table = pd.DataFrame({"picture": names, "label": [f"LABEL_{n % 3}" for n in range(SIZE)]})
    table.to_csv(directory / "pictures.csv", index=False)
    return TransformersSource(
        model="model", train="pictures.csv", test="pictures.csv", image_column="picture"
    )


def probabilities_of(folder: Path, project: Project, test_id: str) -> dict[str, float]:
    """What the exported model says about a test example, asked in a process of its own."""
    content = project.example("test", test_id)["input"]
    if project.kind == "image":
        picture = folder.parent / "picture.png"
        picture.write_bytes(base64.b64decode(content.split(",", 1)[1]))
        content = str(picture)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, folder, project.kind, content],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    chances: dict[str, float] = json.loads(done.stdout)
    return chances


@pytest.mark.parametrize(
    ("source_of", "inputs"), [(of_texts, "tokenizer.json"), (of_images, "preprocessor_config.json")]
)
def test_an_exported_model_gives_the_previewed_probabilities_with_transformers_alone(
    source_of: object, inputs: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source = source_of(tmp_path)  # type: ignore[operator]
    project = create_project(tmp_path, Manifest(name="small", title="Small", source=source))
    prepare(project, device="cpu")
    engine = Engine(project, device="cpu")
    fix: FixRecord = engine.fix(project.mispredictions()[0]["id"], top=5)
    project.history.save(fix)
    assert fix.after != fix.before
    exported = export_fix(engine, fix.fix_id, tmp_path / "out")
    assert exported.difference == 0
    assert {"config.json", inputs, "model.safetensors", "edits.csv", "README.txt"} <= set(exported.files)
    alone = probabilities_of(tmp_path / "out", project, fix.test_id)
    assert alone == pytest.approx(fix.after.probabilities, abs=1e-5)
