"""What is trained in each setting of the benchmark, down to the last number."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise

CHECKPOINTS = 6


@dataclass(frozen=True)
class Setting:
    """One data set, one way of training, and how much retraining measures the truth.

    Args:
        name, title: for files, and for people.
        data: "digits", "fashion", or "blobs" (three Gaussian clusters, for tests).
        train_size, test_size: examples drawn at random; ``queries`` of the test examples are explained,
            mispredictions first.
        relabelled: share of training labels changed to another class.
        randomized: share of training labels replaced by a class drawn at random, which may be the same one.
        widths: of the layers of the MLP, input and classes included.
        decaying: whether the learning rate falls linearly to 0 over the run; constant otherwise.
        subsets, seeds: random halves of the training examples, and models trained on each of them.
        chunk: models trained at once, and stored in one file.
    """

    name: str
    title: str
    data: str
    train_size: int
    test_size: int
    queries: int
    widths: tuple[int, ...]
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    seeds: int
    chunk: int
    relabelled: float = 0.0
    randomized: float = 0.0
    decaying: bool = False
    momentum: float = 0.9
    subsets: int = 100

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(pairwise(self.widths))

    @property
    def parameters(self) -> int:
        return sum((inputs + 1) * outputs for inputs, outputs in self.layers)

    def steps(self, size: int) -> int:
        """Optimizer steps of a run over that many training examples; an incomplete last batch is left out."""
        return self.epochs * (size // self.batch)

    def rates(self, size: int) -> list[float]:
        """The learning rate of each step."""
        total = self.steps(size)
        return [self.learning_rate * (1 - step / total if self.decaying else 1) for step in range(total)]

    @property
    def checkpoint_steps(self) -> list[int]:
        """Six evenly spaced steps of the run over all training examples, the last of them its end."""
        total = self.steps(self.train_size)
        return [round(total * number / CHECKPOINTS) for number in range(1, CHECKPOINTS + 1)]

    @property
    def truth_chunks(self) -> int:
        return -(-self.subsets * self.seeds // self.chunk)

    @property
    def fingerprint(self) -> str:
        """Changes with every number above, so that no cached result outlives its setting."""
        numbers = {name: value for name, value in vars(self).items() if name not in ("name", "title")}
        return hashlib.sha256(repr(sorted(numbers.items())).encode()).hexdigest()[:10]


_DIGITS = Setting(
    name="digits-noisy",
    title="digits, noisy",
    data="digits",
    train_size=1000,
    test_size=100,
    queries=20,
    relabelled=0.1,
    widths=(64, 64, 32, 10),
    epochs=40,
    batch=100,
    learning_rate=0.1,
    decaying=True,
    weight_decay=1e-3,
    seeds=10,
    chunk=250,
)


def _digits(name: str, title: str, relabelled: float) -> Setting:
    return Setting(**{**vars(_DIGITS), "name": name, "title": title, "relabelled": relabelled})


# Paper size (Bae et al. 2024). Momentum .9 at a constant rate is what 0.1/(ηK) = .0035 and .00017 imply.
def _fashion(
    name: str,
    title: str,
    *,
    randomized: float,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    seeds: int,
) -> Setting:
    return Setting(
        name=name,
        title=title,
        data="fashion",
        train_size=6144,
        test_size=100,
        queries=100,
        randomized=randomized,
        widths=(784, 512, 256, 128, 10),
        epochs=epochs,
        batch=64,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        seeds=seeds,
        chunk=10,
    )


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        _digits("digits-noisy", "digits, noisy", 0.1),
        _digits("digits-clean", "digits, clean", 0.0),
        _fashion(
            "fashion-noisy",
            "Fashion-MNIST, noisy",
            randomized=0.3,
            epochs=3,
            learning_rate=0.01,
            weight_decay=3e-5,
            seeds=5,
        ),
        _fashion(
            "fashion-full",
            "Fashion-MNIST, full",
            randomized=0.0,
            epochs=20,
            learning_rate=0.03,
            weight_decay=1e-3,
            seeds=3,
        ),
    )
}

TINY = Setting(
    name="tiny",
    title="three clusters, for tests",
    data="blobs",
    train_size=60,
    test_size=30,
    queries=6,
    relabelled=0.1,
    widths=(5, 6, 3),
    epochs=4,
    batch=10,
    learning_rate=0.1,
    decaying=True,
    weight_decay=1e-3,
    subsets=8,
    seeds=2,
    chunk=6,
)
