"""Weights in a file: safetensors, or a state dict saved with ``torch.save``, read as tensors and numbers only.

What people save differs: the state dict itself, or a dict with it under ``state_dict`` (Lightning) or ``model``, beside
the step, the learning rate and the optimizer's state. Code in a pickle never runs: such a file is refused.
"""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from attribution.errors import ProjectError
from attribution.sources.checkpoint_list import PICKLED
from attribution.sources.optimizer_state import optimizer_in

NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where a dict keeps the state dict, the first that is there."""

_STEPS = ("step", "global_step", "steps", "iteration")
_RATES = ("learning_rate", "lr")

_CONVERSION = (
    "import sys, torch; found = torch.load(sys.argv[1], weights_only=False); "
    "found = found.state_dict() if hasattr(found, 'state_dict') else found.get('state_dict', found); "
    "torch.save(dict(found), sys.argv[2])"
)


@dataclass(frozen=True)
class WeightFile:
    """What a file holds.

    Args:
        tensors: by name, as they are stored.
        step: optimizer steps taken, where the file says so.
        learning_rate: where the file, or the optimizer's state in it, says so.
        optimizer: the optimizer's ``state_dict``, where it is in the file.
    """

    tensors: Mapping[str, Tensor]
    step: int | None = None
    learning_rate: float | None = None
    optimizer: Mapping[str, Any] | None = None


def read_weight_file(file: str | Path) -> WeightFile:
    """Read a file; tensors of a ``torch.save`` file stay on disk until they are used.

    Raises:
        ProjectError: missing, damaged, without weights, or a pickle that would have to run code.
    """
    path = Path(file)
    if path.suffix.lower() not in PICKLED:
        return WeightFile(_safetensors(path))
    content = _unpickled(path)
    if not isinstance(content, Mapping):
        raise ProjectError(
            f"'{path}' holds {type(content).__name__} instead of a model's state dict: save model.state_dict()."
        )
    tensors = _state_dict(content)
    if not tensors:
        raise ProjectError(
            f"'{path}' holds no state dict, neither itself nor under {', '.join(map(repr, NESTED))}: save "
            "model.state_dict()."
        )
    return WeightFile(tensors, *_progress(content))


def read_tensors(file: str | Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file whose names start with ``prefix``, without it.

    Raises:
        ProjectError: as `read_weight_file`, or no name starts so.
    """
    stored = read_weight_file(file).tensors
    found = {name.removeprefix(prefix): t for name, t in stored.items() if name.startswith(prefix)}
    if not found:
        raise ProjectError(
            f"No weight in '{file}' begins with '{prefix}': they are called {_some(stored)}; give the first part of "
            "those that belong to the model as prefix."
        )
    return found


def prefix_before(names: Iterable[str], model: nn.Module) -> str:
    """What comes before the model's own names in a file; empty where nothing fits better.

    Lightning puts ``model.`` there (the attribute's name), DataParallel ``module.``, torch.compile ``_orig_mod.``.
    """
    stored, own = set(names), list(model.state_dict())
    best, most = "", sum(name in stored for name in own)
    for prefix in sorted({name.removesuffix(own[0]) for name in stored if name.endswith(own[0])}):
        found = sum(prefix + name in stored for name in own)
        if found > most:
            best, most = prefix, found
    return best


def shapes_in(file: str | Path, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Shapes by name of the tensors in a file whose names start with ``prefix``, without it; no tensor is loaded.

    Raises:
        ProjectError: as `read_tensors`.
    """
    path = Path(file)
    if path.suffix.lower() in PICKLED:
        return shapes_of(read_tensors(path, prefix))
    try:
        with safe_open(path, framework="pt") as opened:
            names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118 - it is no dict
            return {name.removeprefix(prefix): tuple(opened.get_slice(name).get_shape()) for name in names}
    except Exception as error:  # safetensors raises a class of its own
        raise _unreadable(path, error) from error


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Their shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_fits(shapes: Mapping[str, tuple[int, ...]], model: nn.Module, name: str) -> None:
    """Check names and shapes of weights that are to be put into the model; ``name`` begins the sentences.

    Raises:
        ProjectError: a name that the model lacks, another shape, or no trained parameter among them.
    """
    own = model.state_dict()
    for weight, shape in shapes.items():
        if weight not in own:
            raise ProjectError(
                f"{name} has a weight '{weight}' that the model lacks: its weights are called {_some(own)}; give "
                "weights of the same architecture, or the part of the names that comes before them as prefix."
            )
        if shape != tuple(own[weight].shape):
            raise ProjectError(
                f"{name} has '{weight}' in shape {shape}, and the model has it in {tuple(own[weight].shape)}: give "
                "weights of the same architecture and the same classes."
            )
    trained = [key for key, parameter in model.named_parameters() if parameter.requires_grad]
    if not any(key in shapes for key in trained):
        raise ProjectError(
            f"{name} has none of the model's trained parameters ({_some(trained)}): give weights of the same model."
        )


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(str(path))
    except Exception as error:  # safetensors raises a class of its own
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ProjectError:
    reason = str(error) if path.is_file() else "there is no such file"
    return ProjectError(
        f"'{path}' is not a readable safetensors file ({reason}): put it back, or save the weights again."
    )


def _unpickled(path: Path) -> Any:
    if not path.is_file():
        raise ProjectError(f"'{path}' is not a readable weight file (there is no such file): put it back.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # pickle, zip files and torch raise their own classes
        if "Weights only" not in str(error) or not _is_pickle(path):
            raise ProjectError(
                f"'{path}' is damaged or not written by torch.save ({type(error).__name__}): save the weights again."
            ) from error
        converted = path.with_name(f"{path.stem}-weights.pt")
        command = shlex.join(["python", "-c", _CONVERSION, str(path), str(converted)])
        raise ProjectError(
            f"'{path}' holds more than tensors and numbers, and reading the rest would run code from it: if you trust "
            f"the file, convert it with {command}"
        ) from error


def _is_pickle(path: Path) -> bool:
    """Whether it begins as a pickle, or as the zip file around one."""
    with path.open("rb") as opened:
        return opened.read(2)[:1] == b"\x80" or zipfile.is_zipfile(path)


def _state_dict(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    for key in NESTED:
        inside = content.get(key)
        if isinstance(inside, Mapping) and inside and _tensors_of(inside):
            return _tensors_of(inside)
    return _tensors_of(content)


def _tensors_of(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _progress(content: Mapping[Any, Any]) -> tuple[int | None, float | None, Mapping[str, Any] | None]:
    """Step, learning rate and optimizer's state, as far as they are there."""
    step = next((int(content[key]) for key in _STEPS if isinstance(content.get(key), int)), None)
    rate = next((float(content[key]) for key in _RATES if isinstance(content.get(key), int | float)), None)
    optimizer = optimizer_in(content)
    if rate is None and optimizer is not None and optimizer["param_groups"]:
        known = optimizer["param_groups"][0].get("lr")
        rate = float(known) if isinstance(known, int | float | Tensor) else None
    return step, rate, optimizer


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(f"'{name}'" for name in listed[:3]) + (", …" if len(listed) > 3 else "")
