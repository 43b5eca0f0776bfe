"""The edits that a strategy proposes: which training examples to use for a fix, and what to do with each. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attribution.errors import UsageError
from attribution.explanation import Explanation
from attribution.fixing.settings import UNLEARNING_CAP, FixSettings, check_strategy
from attribution.projects import Edit, Project
from attribution.projects.records import Action

ACTIONS: dict[str, Action] = {
    "helpers": "upweight",
    "relabel": "relabel",
    "unlearn": "remove",
    "remove": "remove",
}
"""What a strategy does with each example that it takes."""


SHORT_LIST = 3
"""Times as many helpers as are wanted, to choose among.

Measured on digits with 20 % of the labels wrong, trained until it knows them by heart (60 mispredictions, ten helpers
by path, other predictions fixed / broken): 1 (the strongest) 4.0 / 6.2, 3 3.8 / 3.6, 10 and all 3.6 / 3.4.
"""


def suggested_edits(
    project: Project,
    explanation: Explanation,
    *,
    strategy: str,
    top: int = FixSettings.top,
    train_ids: Sequence[str] | None = None,
    relative: NDArray[np.floating] | None = None,
) -> list[Edit]:
    """The edits of a strategy, for the ``top`` best examples or for the given ones.

    Args:
        relative: scores (n_train,) relative to the size of what training on each example does (RelatIF, Barshan et al.
            2020). The ``top`` helpers are then chosen by them among the `SHORT_LIST` times as many strongest ones: what
            is large in the curvature moves much else.

    ``helpers`` takes the strongest helpers of the true class as they are labelled, leaving out those that look
    mislabelled (the model predicts another class for them); ``relabel`` the strongest culprits of any other class,
    relabelled to the true class; ``remove`` the strongest culprits; ``unlearn`` the strongest culprits whose label the
    model believes enough to unlearn it (`UNLEARNING_CAP`). ``test`` needs no training example.

    Where several test examples are explained together, helpers are of any of their true classes.

    Raises:
        NotFoundError: no such strategy or training example.
        UsageError: a given example cannot be relabelled, no example qualifies, or culprits are to be relabelled for
            test examples of different true classes.
    """
    check_strategy(strategy)
    if strategy == "test":
        return []
    if strategy not in ACTIONS:
        raise UsageError(f"The strategy '{strategy}' is not one ranking of examples: use Engine.propose.")
    trues = list(dict.fromkeys(str(example["true"]) for example in explanation.examples))
    if strategy == "relabel" and len(trues) > 1:
        raise UsageError(
            f"The test examples have {len(trues)} true classes, so there is no one class to relabel to: choose "
            "mispredictions of one true class, or another strategy."
        )
    of_true = np.isin(
        project.predictions("train")["label"].to_numpy(), [project.class_names.index(true) for true in trues]
    )
    labels = project.predictions("train")["label"].to_numpy()
    predicted = project.predictions("train")["predicted"].to_numpy()
    ids = project.predictions("train").index
    if train_ids is not None:
        positions = [project.position("train", train_id) for train_id in dict.fromkeys(train_ids)]
        _check_relabelling(strategy, [str(ids[p]) for p in positions if of_true[p]], trues[0])
    else:
        if strategy == "helpers":
            # More training on a wrong label does harm: on digits it costs a quarter more broken predictions.
            helping = of_true & (explanation.scores < 0)
            unsuspected = helping & (predicted == labels)
            qualifies = unsuspected if unsuspected.any() else helping
            order = np.argsort(explanation.scores, kind="stable")
            if relative is not None:
                short = order[qualifies[order]][: SHORT_LIST * top]
                order = short[np.argsort(relative[short], kind="stable")]
        else:
            qualifies = explanation.scores > 0
            if strategy == "relabel":
                qualifies &= ~of_true
            elif strategy == "unlearn":
                qualifies &= _believed(project, labels)
            order = np.argsort(-explanation.scores, kind="stable")
        positions = [int(p) for p in order if qualifies[p]][:top]
    if not positions:
        count = len(explanation.examples) - 1
        others = f" and {count} other{'s' if count > 1 else ''}" if count else ""
        raise UsageError(
            f"The strategy '{strategy}' finds no training example for '{explanation.example['id']}'{others}: "
            "try another strategy or method, or choose training examples yourself."
        )
    action = ACTIONS[strategy]
    label = trues[0] if action == "relabel" else None
    return [Edit(train_id=str(ids[p]), action=action, label=label) for p in positions]


def _believed(project: Project, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the model gives each training label a probability above that of the cap of unlearning (N,)."""
    table = project.predictions("train")
    classes = len(project.class_names)
    chances = table[[f"p_{number}" for number in range(classes)]].to_numpy()
    believed: NDArray[np.bool_] = chances[np.arange(len(labels)), labels] > classes**-UNLEARNING_CAP
    return believed


def _check_relabelling(strategy: str, already: list[str], true: str) -> None:
    if strategy == "relabel" and already:
        raise UsageError(
            f"The training example '{already[0]}' is labelled '{true}' already: leave it out, or use helpers."
        )
