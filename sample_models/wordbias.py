"""`wordbias`: skip-gram embeddings of the movie-review sentences, asked by word lists which words they associate.

The cross-loss sample (Silva et al. 2022): no sentence has a label and no test has a training loss, and yet the
sentences behind a biased association can be traced, and the bias be undone in a few steps.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from attribution.batch_order import shuffled_batches
from attribution.progress import SILENT, Reporter
from attribution.projects import create_project
from attribution.projects.manifest import Manifest, TaskSource, TrainingRecord
from sample_models import wordbias_task as recipe
from sample_models.placement import building
from sample_models.training import Kept, cpu_threads, save_checkpoints, train
from sample_models.wordbias_corpus import Corpus, Vocabulary, corpus
from sample_models.wordbias_lists import tests

SENTENCES = Path(__file__).parent / "data" / "reviews" / "train.parquet"
SEED = 0


def create(directory: Path, reporter: Reporter = SILENT, *, seed: int = SEED) -> None:
    """Train the embeddings (ten seconds) and make a task-file project of them.

    Args:
        seed: of the initial weights and the order of sentences; the corpus with its negatives stays the same.
    """
    reporter(0.0, "Reading the sentences")
    table = pd.read_parquet(SENTENCES)
    vocabulary = Vocabulary.of(table["text"].tolist())
    sentences = corpus(table["text"].tolist(), vocabulary, SEED)
    with building(directory) as place, cpu_threads(1):
        kept = train_embeddings(sentences, vocabulary, seed, reporter.share(0.1, 1.0))
        (place / "data").mkdir()
        shown = table.iloc[sentences.rows][["id", "text"]]
        shown.to_parquet(place / "data" / "sentences.parquet", index=False)
        save_file(sentences.tensors, str(place / "data" / "pairs.safetensors"))
        (place / "data" / "vocabulary.txt").write_text("\n".join(vocabulary.words) + "\n", encoding="utf-8")
        (place / "data" / "tests.json").write_text(json.dumps(tests(), indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(recipe.__file__, place / "task.py")
        create_project(
            place,
            Manifest(
                name="wordbias",
                title="Word associations",
                summary=f"Skip-gram embeddings of {len(sentences.rows):,} review sentences: do serious films go with "
                "pleasant words, men with work, and which sentences made it so?",
                sample="wordbias",
                source=TaskSource(file="task.py", function="build"),
                checkpoints=save_checkpoints(place, "checkpoints", kept),
                training=TrainingRecord(
                    optimizer="sgd",
                    momentum=recipe.MOMENTUM,
                    batch_size=recipe.BATCH_SIZE,
                    learning_rate=recipe.LEARNING_RATE,
                    steps=recipe.STEPS,
                ),
            ),
        )


def train_embeddings(
    sentences: Corpus, vocabulary: Vocabulary, seed: int, reporter: Reporter = SILENT
) -> list[Kept]:
    """Plain stochastic gradient descent with momentum on the mean loss of the sentences of a batch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.SkipGram(len(vocabulary.words))
    inputs = {name: tensor.to(torch.int64) for name, tensor in sentences.tensors.items()}
    lengths = inputs["words"].ne(0).sum(dim=1)

    def batch_loss(batch: Tensor) -> Tensor:
        longest = int(lengths[batch].max())
        logits = model(**{name: tensor[batch, :longest] for name, tensor in inputs.items()})
        return recipe.loss(logits, torch.zeros(len(batch), dtype=torch.int64)).mean()

    return train(
        model,
        batch_loss,
        torch.optim.SGD(model.parameters(), lr=recipe.LEARNING_RATE, momentum=recipe.MOMENTUM),
        batches=shuffled_batches(len(sentences.rows), recipe.BATCH_SIZE, seed),
        learning_rate=recipe.learning_rate,
        steps=recipe.STEPS,
        keep=recipe.KEPT_STEPS,
        reporter=reporter,
        message="Training the embeddings",
    )
