"""What a torch optimizer's ``state_dict`` says, as the transformers Trainer saves it in ``optimizer.pt``.

The state numbers the parameters through its groups and does not name them. The Trainer makes two groups, both in the
model's own order: the parameters that weight decay applies to, then biases and normalisation layers. Which name has
which number follows from the model, and is checked by the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from attribution.errors import ProjectError

WITHOUT_DECAY = (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")
"""Names that the Trainer of transformers 5 takes weight decay off (`Trainer.get_decay_parameter_names`)."""

WITHOUT_DECAY_BEFORE = (r"bias",)
"""The same of transformers 4."""

_SECOND_MOMENTS = ("max_exp_avg_sq", "exp_avg_sq")
"""Where Adam keeps them; with amsgrad it divides by their largest value so far."""


_PLACES = ("optimizer_states", "optimizer_state_dict", "optimizer")
"""Where a checkpoint that holds weights, too, keeps the state; Lightning has a list under the first."""


def optimizer_in(content: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """The optimizer's ``state_dict`` in a checkpoint that holds more; None where there is none, or several."""
    found: Any = next((content[place] for place in _PLACES if content.get(place)), None)
    if isinstance(found, list):
        found = found[0] if len(found) == 1 else None
    return found if isinstance(found, Mapping) and {"state", "param_groups"} <= found.keys() else None


@dataclass(frozen=True)
class OptimizerState:
    """A saved optimizer.

    Args:
        file: where it was read from.
        groups: its parameter groups.
        state: what it keeps of each parameter, by number.
    """

    file: Path
    groups: list[dict[str, Any]]
    state: dict[int, dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> OptimizerState:
        """Read tensors and numbers only, never code; tensors stay on disk until they are used.

        Raises:
            ProjectError: unreadable, not an optimizer's state, or with anything else in it.
        """
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            return cls.of(file, content if "param_groups" in content else optimizer_in(content))
        except Exception as error:  # pickle, zip files and torch raise their own classes
            raise ProjectError(
                f"'{file}' is not an optimizer's state of tensors and numbers ({type(error).__name__}): save it as the "
                "Trainer does, or move it away to go without."
            ) from error

    @classmethod
    def of(cls, file: Path, content: Any) -> OptimizerState:
        """An optimizer's ``state_dict`` that is read already."""
        groups, state = content["param_groups"], content["state"]
        if not groups or not all(isinstance(group["params"], list) for group in groups):
            raise ValueError("no parameter groups")
        return cls(file, list(groups), dict(state))

    @property
    def optimizer(self) -> Literal["sgd", "adam", "adamw", "unknown"]:
        """Which one, by the settings in its groups."""
        group = self.groups[0]
        if "betas" in group and "eps" in group:
            return "adamw" if group.get("decoupled_weight_decay", True) else "adam"
        return "sgd" if {"momentum", "dampening", "nesterov"} <= group.keys() else "unknown"

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's decay rates."""
        first, second = self.groups[0]["betas"]
        return float(first), float(second)

    @property
    def epsilon(self) -> float:
        """The constant in Adam's denominator."""
        return float(self.groups[0]["eps"])

    @property
    def momentum(self) -> float:
        """SGD's momentum; 0 for others."""
        return float(self.groups[0]["momentum"]) if self.optimizer == "sgd" else 0.0

    @property
    def weight_decay(self) -> float:
        """Of the parameters that it applies to."""
        return max(float(group.get("weight_decay", 0.0)) for group in self.groups)

    @property
    def next_rate(self) -> float:
        """The learning rate of the step after this state was saved."""
        return float(self.groups[0]["lr"])

    @property
    def peak_rate(self) -> float | None:
        """The learning rate that the schedule multiplies; None without a schedule."""
        peak = self.groups[0].get("initial_lr")
        return None if peak is None else float(peak)

    @property
    def parameters(self) -> int:
        """How many parameters it trains."""
        return sum(len(group["params"]) for group in self.groups)

    @cached_property
    def has_second_moments(self) -> bool:
        """Whether it keeps Adam's second moments as torch does."""
        return any(key in kept for kept in self.state.values() for key in _SECOND_MOMENTS)

    def second_moments(self, model: nn.Module) -> dict[str, Tensor]:
        """Second moments by name of the model's trained parameters; zeros where there never was a gradient.

        Raises:
            ProjectError: the state is not that of this model.
        """
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if self.parameters != len(trained):
            raise ProjectError(
                f"'{self.file}' is of an optimizer of {self.parameters} parameters, and the model has {len(trained)} "
                "trained ones: give the folder of the same model, or move that file away to go without."
            )
        numbers = [number for group in self.groups for number in group["params"]]
        for order in self._orders(model, list(trained)):
            found = dict(zip(order, map(self._moment, numbers), strict=True))
            if all(m is None or m.shape == trained[name].shape for name, m in found.items()):
                return {
                    name: torch.zeros(p.shape) if found[name] is None else found[name]  # type: ignore[misc]
                    for name, p in trained.items()
                }
        raise ProjectError(
            f"The shapes in '{self.file}' are not those of the model's parameters in the Trainer's order: give the "
            "second moments by name in a task file (Checkpoint(second_moments=...)), or move that file away to go "
            "without."
        )

    def _moment(self, number: int) -> Tensor | None:
        kept = self.state.get(number, {})
        return next((kept[key] for key in _SECOND_MOMENTS if key in kept), None)

    def _orders(self, model: nn.Module, trained: list[str]) -> Iterator[list[str]]:
        """Ways in which the parameters may have been numbered, that fit the sizes of the groups."""
        sizes = [len(group["params"]) for group in self.groups]
        if all("param_names" in group for group in self.groups):
            named = [str(name) for group in self.groups for name in group["param_names"]]
            if sorted(named) == sorted(trained):
                yield named
        if len(sizes) == 1:
            yield trained
        for patterns in (WITHOUT_DECAY, WITHOUT_DECAY_BEFORE):
            decayed = _decayed(model, patterns)
            first = [name for name in trained if decayed(name)]
            second = [name for name in trained if not decayed(name)]
            if sizes == [len(first), len(second)]:
                yield [*first, *second]


def _decayed(model: nn.Module, patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether the Trainer applies weight decay to a parameter of a name."""
    normalizing = {
        f"{name}.{own}" if name else own
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own, _ in module.named_parameters()
    }
    return lambda name: (
        name not in normalizing and not any(re.search(pattern, name.lower()) for pattern in patterns)
    )


def read_second_moments(file: Path, model: nn.Module) -> Mapping[str, Tensor] | Path:
    """What a checkpoint's second moments are given as: a safetensors file itself, an optimizer's state by name.

    Raises:
        ProjectError: as `OptimizerState.read` and `OptimizerState.second_moments`.
    """
    return file if file.suffix == ".safetensors" else OptimizerState.read(file).second_moments(model)
