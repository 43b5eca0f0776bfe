"""Choosing the device and the number type of forward passes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from attribution.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``mps`` as a device that exists here.

    Raises:
        UsageError: unknown name, or a device this machine lacks.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind = name.split(":")[0]
    if kind not in available:
        raise UsageError(f"There is no device '{name}': use auto, cpu, cuda or mps.")
    if not available[kind]:
        raise UsageError(f"This machine has no '{kind}' device that torch can use: use --device cpu.")
    return torch.device(name)


def check_precision(precision: str) -> None:
    """Raise `UsageError` unless the precision is known."""
    if precision not in ("fp32", "bf16"):
        raise UsageError(f"There is no precision '{precision}': use fp32 or bf16.")


def autocast(device: torch.device | str, precision: str) -> AbstractContextManager[object]:
    """Context in which forward passes run in the given precision; weights and sums stay in float32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
