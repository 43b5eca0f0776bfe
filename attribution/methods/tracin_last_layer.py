"""TracIn restricted to the last layer: captum's TracInCPFast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import Method, MethodInfo, ProjectFacts, register
from attribution.methods.tracin import missing_checkpoints

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class TracInLastLayer(Method):
    """The TracIn sum with the gradients of the last linear layer only.

    captum's TracInCPFast runs on that layer alone, with the stored representations of each checkpoint as its
    inputs: the same numbers as on the whole model, without passing the training data through it again.
    """

    info = MethodInfo(
        name="tracin_last_layer",
        title="TracIn, last layer",
        citation="Pruthi et al. 2020; captum TracInCPFast",
        needs=["checkpoints", "a linear last layer"],
        cost="one forward pass per checkpoint; stored representations",
        calibrated=True,
        one_line="TracIn as seen by the classification layer alone.",
    )
    compressible = False

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.head is None or not facts.head_is_linear:
            return facts.head_problem or "It needs a model whose logits come out of a Linear layer."
        return missing_checkpoints(facts)

    def scores(self, query: Query) -> Tensor:
        return self.parts(query).sum(dim=0)

    def parts(self, query: Query) -> Tensor:
        import torch
        from captum.influence import TracInCPFast
        from torch.utils.data import DataLoader, TensorDataset

        def training_loss(logits: Tensor, labels: Tensor) -> Tensor:
            return query.task.loss(logits, labels).sum()

        def measured(logits: Tensor, labels: Tensor) -> Tensor:
            return query.measurement.value(logits, labels).sum()

        # captum asks how the losses reduce over examples.
        training_loss.reduction = measured.reduction = "sum"  # type: ignore[attr-defined]
        parts = []
        for point in query.checkpoints:
            if point.learning_rate <= 0:
                continue
            head = query.head_module(point)
            data = TensorDataset(
                query.representations(point).to(query.device), query.labels().to(query.device)
            )
            tracer = TracInCPFast(
                model=torch.nn.Sequential(head),
                final_fc_layer="0",
                train_dataset=DataLoader(data, batch_size=4096, shuffle=False),
                checkpoints=[str(point.step)],
                checkpoints_load_func=_learning_rate(point.learning_rate),
                loss_fn=training_loss,
                test_loss_fn=measured,
            )
            inputs = query.test_representation(point).to(query.device)
            influence = tracer.influence((inputs, query.test_label().to(query.device)))
            parts.append(-influence[0].detach().cpu().double())
        return torch.stack(parts)


def _learning_rate(rate: float):  # type: ignore[no-untyped-def]
    """captum asks a function to load a checkpoint and return its step size; here it is loaded already."""

    def load(model: object, checkpoint: object) -> float:
        return rate

    return load
