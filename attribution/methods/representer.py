"""Representer points: the prediction as a sum over training examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class Representer(Method):
    """score_i = -(1/λN) (h_i · h_f) Σ_c ∂f/∂z_c ∂ℓ_i/∂z_c (Yeh et al. 2018, theorem 3.1).

    The last layer is refitted on the stored representations h with an L2 penalty; at its optimum every logit of a test
    example is exactly the sum of such terms over the training examples.
    """

    info = MethodInfo(
        name="representer",
        title="Representer points",
        citation="Yeh et al. 2018",
        needs=["a linear last layer"],
        cost="the last layer is refitted per query, in seconds; stored representations",
        calibrated=False,
        family="baseline",
        one_line="Each training example's part in the logits of the refitted last layer.",
    )
    from_gradients = False

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.head is None or not facts.head_is_linear:
            return facts.head_problem or "It needs a model whose logits come out of a Linear layer."
        return None

    def scores(self, query: Query) -> Tensor:
        from attribution.linear_head import HEAD_PENALTY, fit_head, with_ones
        from attribution.measurements import logit_gradient, row_by_row

        inputs = with_ones(query.loaded.index.representations(query.final.number))
        labels, loss = query.loaded.train_labels, query.task.loss
        head = fit_head(inputs, labels, len(query.task.class_names), loss, HEAD_PENALTY)
        mine = with_ones(query.test_representation(query.final))
        pulls = logit_gradient(loss, inputs @ head.T, labels)  # (N, C)
        value = row_by_row([target.measurement for target in query.targets])
        wanted = logit_gradient(value, mine @ head.T, query.test_labels())  # (Q, C)
        scores = -(mine @ inputs.T) * (wanted @ pulls.T) / (HEAD_PENALTY * len(inputs))
        return query.asked(scores.T).T
