"""Similarity of representations: the control that every gradient method must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Representation(Method):
    """score_i = cos(h_f, h_i) · ∂f/∂z_{y_i}: near examples count, with the sign of their label.

    Similarity has no sign of its own. Training on an example raises the logit z of its label y_i, so the
    derivative of the measurement with respect to that logit says which way it pushes; for the margin that is +1
    for the predicted class, -1 for the true class and 0 for the others.
    """

    info = MethodInfo(
        name="representation",
        title="Nearest by representation",
        citation="Hanawa et al. 2021; captum SimilarityInfluence",
        needs=[],
        cost="one forward pass; stored representations",
        calibrated=False,
        family="baseline",
        one_line="Training examples that look alike to the model's last layer, signed by their label.",
    )
    from_gradients = False

    def missing(self, facts: ProjectFacts) -> str | None:
        return None if facts.head is not None else facts.head_problem

    def scores(self, query: Query) -> Tensor:
        signs = query.measurements_by_logit()[:, query.labels()]
        return similarities(query).double() * signs


def similarities(query: Query) -> Tensor:
    """Cosine similarities (Q, N) of the test examples' representations with the training examples', by captum."""
    import tempfile
    import warnings

    import torch
    from captum.influence import SimilarityInfluence
    from torch.utils.data import TensorDataset

    stored = query.representations(query.final)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # captum's note on all-zero representations, whose cosine is 0
        finder = SimilarityInfluence(
            torch.nn.Sequential(torch.nn.Identity()),
            layers="0",
            influence_src_dataset=TensorDataset(stored),
            activation_dir=scratch,
            model_id="representation",
            similarity_metric=_cosine,
            batch_size=len(stored),
        )
        found = finder.influence(query.test_representation(query.final), top_k=len(stored))
    order, values = found["0"]
    result = torch.empty(values.shape).scatter_(1, order, values.float())
    return torch.nan_to_num(result, nan=0.0)


def _cosine(test: Tensor | list[Tensor], train: Tensor) -> Tensor:
    """captum's cosine similarity; captum 0.9 hands the activations of a single layer over as a list of one."""
    from captum.influence._core.similarity_influence import cosine_similarity

    similarity: Tensor = cosine_similarity(test[0] if isinstance(test, list) else test, train)
    return similarity
