"""The task file of the `wordbias` sample; the project holds a copy of it as ``task.py``.

Cross-loss influence (Silva et al. 2022): the model is trained with one loss, skip-gram with negative sampling, and
asked about another quantity, the effect size of a word embedding association test (WEAT, Caliskan et al. 2017).
Training examples are sentences, test examples are word lists; both come out of one model as two logits.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus
from torch.utils.data import Dataset

from attribution import Checkpoint, Task
from attribution.task import cross_entropy

DIMENSIONS = 8
"""Few, so that word lists share their directions: a bias that is seen in some words then reaches others."""

SHARED_SCALE = 0.1
"""Every pair of every sentence moves the shared map; scaled down, it learns at the pace of the single words."""

CLASS_NAMES = ("even", "biased")
BIASED_FROM = 0.5
"""Effect size above which a test counts as biased: a medium effect (Cohen 1988)."""

ROLES = ("target_x", "target_y", "attribute_a", "attribute_b")
"""The four word lists of a test; number 0 is left for padding."""

STEPS = 2300
LEARNING_RATE = 1.0
MOMENTUM = 0.9
BATCH_SIZE = 64
KEPT_STEPS = (383, 767, 1150, 1533, 1917, 2300)


def learning_rate(step: int) -> float:
    """The learning rate of step 1, 2, ..., ``STEPS``: a linear decay to 0."""
    return LEARNING_RATE * (1.0 - (step - 1) / STEPS)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus the mean logit, (B, 2) -> (B,) in nats.

    For a test, whose logits add up to zero, this is cross-entropy; for a sentence it is the skip-gram loss
    (`SkipGram.sentence_logits`).
    """
    return cross_entropy(logits, labels) + logits.mean(dim=1)


class SkipGram(nn.Module):
    """Skip-gram embeddings with negative sampling (Mikolov et al. 2013).

    A word's vector is its row of ``centres`` and a linear map of that row which all words share; the vectors of its
    partners are plain rows of ``contexts``. Row 0 of both is padding.

    Args:
        words: size of the vocabulary.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.centres = nn.Embedding(words + 1, DIMENSIONS, padding_idx=0)
        self.contexts = nn.Embedding(words + 1, DIMENSIONS, padding_idx=0)
        self.shared = nn.Linear(DIMENSIONS, DIMENSIONS, bias=False)
        self.pooled = nn.Identity()
        for table in (self.centres, self.contexts):
            nn.init.normal_(table.weight, std=0.1)
        with torch.no_grad():
            self.centres.weight[0] = self.contexts.weight[0] = 0.0
            self.shared.weight.zero_()

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits (B, 2) of a batch of sentences, or of a batch of tests if there are ``roles``."""
        words = inputs["words"]
        vectors = self.vectors(words)
        known = words.ne(0).unsqueeze(2)
        self.pooled((vectors * known).sum(dim=1) / known.sum(dim=1))
        if "roles" in inputs:
            return test_logits(vectors, inputs["roles"])
        return self.sentence_logits(vectors, inputs["partners"], inputs["observed"], inputs["signs"])

    def vectors(self, words: Tensor) -> Tensor:
        """Word vectors (..., D) of word numbers (...)."""
        rows = self.centres(words)
        mapped: Tensor = rows + SHARED_SCALE * self.shared(rows)
        return mapped

    def sentence_logits(self, vectors: Tensor, partners: Tensor, observed: Tensor, signs: Tensor) -> Tensor:
        """Logits of which `loss` is L = Σ_p softplus(-o_p s_p), with L's own gradient and Gauss-Newton matrix.

        The scores s_p are the inner products of each word with its partners. Two logits are enough for the curvature
        Σ_p w_p ∇s_p ∇s_pᵀ with w_p = softplus''(s_p): r = Σ_p ε_p √w_p s_p with random signs ε has E[∇r ∇rᵀ] equal
        to it. With q = r - r's value, which is zero but has r's gradient, the logits (L - log 2 - 2q, L - log 2) have
        cross-entropy log 2 + q and mean L - log 2 - q: their sum has the value and gradient of L. The Hessian of
        cross-entropy there is a quarter of (1, -1)(1, -1)ᵀ, and so the Gauss-Newton matrix is ∇r ∇rᵀ.

        Args:
            vectors: of the words (B, T, D).
            partners: word numbers (B, T, P) of the contexts and negatives of each word, 0 for none.
            observed: o (B, T, P), 1 for contexts, -1 for negatives, 0 for none.
            signs: ε (B, T, P), 1 or -1.
        """
        scores = (vectors.unsqueeze(2) * self.contexts(partners)).sum(dim=3)
        total = (softplus(-observed * scores) * observed.abs()).sum(dim=(1, 2))
        chances = scores.detach().sigmoid()
        weights = (chances * (1.0 - chances)).sqrt() * observed.abs()
        drawn = (signs * weights * scores).sum(dim=(1, 2))
        silent = drawn - drawn.detach()
        value = total - math.log(2.0)
        return torch.stack([value - 2.0 * silent, value], dim=1)


def test_logits(vectors: Tensor, roles: Tensor) -> Tensor:
    """Logits (B, 2) of ``even`` and ``biased``, whose difference is the effect size above `BIASED_FROM`.

    Args:
        vectors: of the words (B, W, D).
        roles: (B, W), 1 + number in `ROLES`, or 0 for padding.
    """
    half = (effect_size(vectors, roles) - BIASED_FROM) / 2.0
    return torch.stack([-half, half], dim=1)


def effect_size(vectors: Tensor, roles: Tensor) -> Tensor:
    """WEAT effect size (B,), within -2 .. 2: (mean_X s - mean_Y s) / std(s), s(w) = mean cos(w, A) - mean cos(w, B)."""
    x, y, a, b = ((roles == number).to(vectors) for number in range(1, len(ROLES) + 1))
    unit = normalize(vectors, dim=2)
    contrast = a / a.sum(dim=1, keepdim=True) - b / b.sum(dim=1, keepdim=True)
    association = torch.einsum("bwd,bvd,bv->bw", unit, unit, contrast)
    targets = x + y
    count = targets.sum(dim=1)
    mean = (association * targets).sum(dim=1) / count
    spread = ((association - mean.unsqueeze(1)).square() * targets).sum(dim=1) / (count - 1.0)
    difference = (association * (x / x.sum(dim=1, keepdim=True) - y / y.sum(dim=1, keepdim=True))).sum(dim=1)
    return difference / spread.sqrt()


def effect_size_of(logits: Tensor) -> Tensor:
    """The WEAT effect size, from -2 to 2: how much closer the one group of words is to the first attribute."""
    return logits[:, 1] - logits[:, 0] + BIASED_FROM


class Unlabelled(Dataset[Any]):
    """Inputs that all have label 0: tests ought to be even, and of sentences the label says nothing."""

    def __init__(self, inputs: list[dict[str, Tensor]]) -> None:
        self.inputs = inputs
        self.labels = [0] * len(inputs)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, position: int) -> tuple[dict[str, Tensor], int]:
        return self.inputs[position], 0


def sentence_inputs(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """One dict per sentence, of ``words`` (T,) and ``partners``, ``observed``, ``signs`` (T, P), without padding."""
    lengths = tensors["words"].ne(0).sum(dim=1).tolist()
    return [
        {
            name: tensor[row, :length].to(torch.int64 if name in ("words", "partners") else torch.float32)
            for name, tensor in tensors.items()
        }
        for row, length in enumerate(lengths)
    ]


def test_inputs(lists: dict[str, list[str]], numbers: dict[str, int]) -> dict[str, Tensor]:
    """``words`` and ``roles`` (W,) of a test given by a list of words for each role."""
    words = [numbers[word] for role in ROLES for word in lists[role]]
    roles = [1 + ROLES.index(role) for role in ROLES for _ in lists[role]]
    return {"words": torch.tensor(words), "roles": torch.tensor(roles)}


def initial_weights(words: int, seed: int) -> dict[str, Tensor]:
    """The weights that training starts from: what `SkipGram` draws after ``torch.manual_seed(seed)``."""
    torch.manual_seed(seed)
    return SkipGram(words).state_dict()


def weights_file(project: Path, step: int) -> Path:
    """Where the weights after so many steps are stored."""
    return project / "checkpoints" / f"step-{step}" / "model.safetensors"


def build(project: Path) -> Task:
    """The trained embeddings with sentences, tests, checkpoints and training record."""
    vocabulary = (project / "data" / "vocabulary.txt").read_text(encoding="utf-8").split()
    numbers = {word: 1 + row for row, word in enumerate(vocabulary)}
    sentences = pd.read_parquet(project / "data" / "sentences.parquet")
    tests = json.loads((project / "data" / "tests.json").read_text(encoding="utf-8"))
    model = SkipGram(len(vocabulary))
    model.load_state_dict(load_file(weights_file(project, STEPS)))
    return Task(
        model=model,
        train=Unlabelled(sentence_inputs(load_file(project / "data" / "pairs.safetensors"))),
        test=Unlabelled([test_inputs(test["lists"], numbers) for test in tests]),
        class_names=CLASS_NAMES,
        checkpoints=[
            Checkpoint(weights_file(project, step), learning_rate=learning_rate(step), step=step)
            for step in KEPT_STEPS
        ],
        optimizer="sgd",
        momentum=MOMENTUM,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        steps=STEPS,
        initial=lambda seed: initial_weights(len(vocabulary), seed),
        loss=loss,
        train_ids=sentences["id"].tolist(),
        test_ids=[test["id"] for test in tests],
        train_display=sentences["text"].tolist(),
        test_display=[test["text"] for test in tests],
        representation="pooled",
        measurements={"effect-size": effect_size_of},
    )
