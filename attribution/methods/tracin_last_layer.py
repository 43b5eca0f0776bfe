"""TracIn restricted to the last layer: captum's TracInCPFast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attribution.methods.registry import MethodInfo, ProjectFacts, SummedMethod, register

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.query import Query


@register
class TracInLastLayer(SummedMethod):
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
        family="run",
        one_line="TracIn as seen by the classification layer alone.",
    )
    along_the_run = True
    from_gradients = False

    def missing(self, facts: ProjectFacts) -> str | None:
        if facts.head is None or not facts.head_is_linear:
            return facts.head_problem or "It needs a model whose logits come out of a Linear layer."
        return super().missing(facts)

    def parts(self, query: Query) -> Tensor:
        import torch
        from captum.influence import TracInCPFast
        from torch.utils.data import DataLoader, TensorDataset

        from attribution.measurements import row_by_row

        device = query.loaded.device
        value = row_by_row([target.measurement for target in query.targets])

        def training_loss(logits: Tensor, labels: Tensor) -> Tensor:
            return query.task.loss(logits, labels).sum()

        def measured(logits: Tensor, labels: Tensor) -> Tensor:
            return value(logits, labels).sum()

        # captum asks how the losses reduce over examples.
        training_loss.reduction = measured.reduction = "sum"  # type: ignore[attr-defined]
        parts = []
        for point in query.followed:
            if point.learning_rate <= 0:
                continue
            head = query.head_module(point)
            data = TensorDataset(query.representations(point).to(device), query.labels().to(device))
            tracer = TracInCPFast(
                model=torch.nn.Sequential(head),
                final_fc_layer="0",
                train_dataset=DataLoader(data, batch_size=4096, shuffle=False),
                checkpoints=[str(point.step)],
                checkpoints_load_func=_learning_rate(point.learning_rate),
                loss_fn=training_loss,
                test_loss_fn=measured,
            )
            inputs = query.test_representation(point).to(device)
            influence = tracer.influence((inputs, query.test_labels().to(device)))
            parts.append(-influence.detach().cpu().double())
        return torch.stack(parts)


def _learning_rate(rate: float):  # type: ignore[no-untyped-def]
    """captum asks a function to load a checkpoint and return its step size; here it is loaded already."""

    def load(model: object, checkpoint: object) -> float:
        return rate

    return load
