"""Files as somebody brings them: a tiny BERT of random weights, saved as the Trainer does, and a table per split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from tests.unit.tiny_models import small_bert, word_tokenizer

CLASSES = ["negative", "neutral", "positive"]
STEPS = (5, 10)
_WORDS = ["good", "bad", "film", "very", "not"]


@dataclass(frozen=True)
class OwnFiles:
    """Paths of the output folder, and of the tables."""

    model: Path
    train: Path
    test: Path

    @property
    def fields(self) -> dict[str, str]:
        """What the page's form needs, as parameters of a link."""
        return {"model": str(self.model), "train": str(self.train), "test": str(self.test)}


def own_files(folder: Path) -> OwnFiles:
    """Write them: columns id, review and sentiment, 24 and 12 rows; checkpoints of two steps with a logged rate."""
    folder.mkdir(parents=True, exist_ok=True)
    names = dict(enumerate(CLASSES))
    for step in STEPS:
        torch.manual_seed(step)
        model = small_bert(layers=1)
        model.config.id2label, model.config.label2id = names, {name: n for n, name in names.items()}
        checkpoint = folder / "output" / f"checkpoint-{step}"
        model.save_pretrained(checkpoint)
        word_tokenizer().save_pretrained(checkpoint)
        log = [{"step": known, "learning_rate": 0.1 / known} for known in STEPS if known <= step]
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step, "log_history": log}))
    for split, count in (("train", 24), ("test", 12)):
        rows = [
            {
                "id": f"{split}-{number}",
                "review": " ".join(_WORDS[(number * k + k) % 5] for k in range(1, 3 + number % 5)),
                "sentiment": CLASSES[number % 3],
            }
            for number in range(count)
        ]
        pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
    return OwnFiles(folder / "output", folder / "train.csv", folder / "test.csv")
