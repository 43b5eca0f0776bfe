"""Training in stages: what the data of an earlier stage, of its own loss, did to the final model.

A pipeline (pre-training, then fine-tuning) is one long run whose segments have their own loss and data (Bae et al.
2024). Each stage is a project of its own, with its own index. SOURCE follows the measurement's gradient backwards over
the later stage and hands what is left over to the earlier one, parameter by parameter: one that the later stage did not
train passes through unchanged, one that it added (a new head) ends there. As everywhere in SOURCE, layers are followed
each on its own: that a new head settles anew when the layers below it change is left out.
"""

from __future__ import annotations

import copy

from torch import Tensor

from attribution.capture import GradientCapture
from attribution.errors import UsageError
from attribution.methods.source import Source
from attribution.query import Loaded, Query, Vectors


def before(query: Query, source: Source, earlier: Loaded) -> Query:
    """The same question, asked of the stage that ended where the query's run began.

    Args:
        query: of the later stage.
        source: follows the later run backwards.
        earlier: the stage before it.

    Raises:
        UsageError: the two models have no trained parameter of the same name in common, or of different shapes.
    """
    capture = GradientCapture(earlier.task, earlier.trajectory.model_at(earlier.trajectory.final))
    names = {name: p for name, p in capture.model.named_parameters() if p.requires_grad}
    arrived = _by_parameter(query, source, set(names))
    if not arrived:
        raise UsageError(
            "The two stages have no parameter of the same name in common: name the layers that they share alike."
        )
    count = len(query.targets)
    for name, vectors in arrived.items():
        arrived[name] = vectors.to(names[name])  # the stages may lie on different devices
        if vectors.shape[1:] != names[name].shape:
            raise UsageError(
                f"The parameter '{name}' has the shape {tuple(vectors.shape[1:])} here and "
                f"{tuple(names[name].shape)} in the stage before: name layers alike only where the later stage goes on "
                "with them."
            )
    whole = {
        name: arrived[name] if name in arrived else p.new_zeros(count, *p.shape) for name, p in names.items()
    }
    gradients: dict[int, Vectors] = {earlier.trajectory.final.number: capture.from_parameters(whole)}
    return Query(earlier, query.targets, None, query.use_index, reporter=query.reporter, _gradients=gradients)


def _by_parameter(query: Query, source: Source, wanted: set[str]) -> dict[str, Tensor]:
    """The gradient at the start of the run, (Q, *shape) for each wanted parameter that the model has."""
    trajectory = query.loaded.trajectory
    left = GradientCapture(query.task, trajectory.model_at(query.final)).to_parameters(
        dict(source.at_the_start(query))
    )
    found = {name: vectors for name, vectors in left.items() if name in wanted}
    present = {name for name, _ in trajectory.model_at(query.final).named_parameters()}
    return found | _untrained(query, (wanted & present) - left.keys())


def _untrained(query: Query, wanted: set[str]) -> dict[str, Tensor]:
    """Gradients at the final model of parameters that the run did not train."""
    if not wanted:
        return {}
    model = copy.deepcopy(query.loaded.trajectory.model_at(query.final))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in wanted)
    return query.gradients_of(model)
