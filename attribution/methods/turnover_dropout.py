"""Turn-over dropout: the sub-network that never saw an example against the one that did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class TurnoverDropoutInfluence(Method):
    """score_i = f(θ ∘ m_i) - f(θ ∘ (1 - m_i)): the measurement with the units that saw example i, less without them.

    Kobayashi et al. 2020, with the measurement in place of the loss. Two forward passes per pair, no gradient.
    """

    info = MethodInfo(
        name="turnover_dropout",
        title="Turn-over dropout",
        citation="Kobayashi et al. 2020",
        needs=["a model trained with turn-over dropout"],
        cost="two forward passes of the test example per training example",
        calibrated=False,
        one_line="What the part of the network that never saw the example says instead.",
    )
    from_gradients = False

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.turnover:
            return None
        return (
            "It needs a model trained with turn-over dropout: build it with attribution.turnover.TurnoverDropout "
            "layers and train it within attribution.turnover.masked."
        )

    def scores(self, query: Query) -> Tensor:
        import torch

        from attribution.batches import batch_of
        from attribution.turnover import masked

        loaded, task = query.loaded, query.task
        model = loaded.trajectory.model_at(query.final)
        ids = task.ids("train")
        rows = []
        for target in query.targets:
            parts = []
            for start in range(0, len(ids), loaded.batch_size):
                query.reporter(start / len(ids), "Turn-over dropout")
                some = ids[start : start + loaded.batch_size]
                batch = batch_of(task, "test", [target.position] * len(some)).to(loaded.device)
                with torch.no_grad():
                    with masked(model, some):
                        seen = target.measurement.value(task.logits(model, batch.inputs), batch.labels)
                    with masked(model, some, flipped=True):
                        unseen = target.measurement.value(task.logits(model, batch.inputs), batch.labels)
                parts.append((seen - unseen).double().cpu())
            rows.append(torch.cat(parts))
        return query.asked(torch.stack(rows, dim=1)).T
