"""Which weights a transformers folder holds, found out without reading them or importing torch.

Safetensors hold numbers alone. ``pytorch_model.bin`` is a pickle: it is read as far as it holds tensors, and never
where it would run code.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from attribution.errors import ProjectError

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"

_OTHER = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax", "*.gguf": "llama.cpp", "*.onnx": "ONNX"}
"""Weights of other frameworks: file patterns."""

_LFS = b"version https://git-lfs"

_CONVERSION = (
    "import glob, torch; from safetensors.torch import save_file; "
    "files = sorted(glob.glob('pytorch_model*.bin')); "
    "loaded = [torch.load(f, map_location='cpu', weights_only=False) for f in files]; "
    "named = [(n, t) for m in loaded for n, t in (m if isinstance(m, dict) else m.state_dict()).items()]; "
    "save_file({n: t.detach().clone().contiguous() for n, t in named if torch.is_tensor(t)}, 'model.safetensors', "
    "metadata={'format': 'pt'})"
)
"""Python that writes ``model.safetensors`` from the pickles in the current folder. It runs whatever they hold."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights: safetensors where there are any, else pickles; several where they are sharded.

    Raises:
        ProjectError: there are none that can be read, or one is missing.
    """
    for name in (SAFE, PICKLED):
        whole, index = folder / name, folder / f"{name}.index.json"
        files = [whole] if whole.is_file() else _shards(index) if index.is_file() else []
        for file in files:
            _check_there(file)
        if files:
            return files
    other = next((kind for pattern, kind in _OTHER.items() if any(folder.glob(pattern))), None)
    found = f"those it has are {other}'s" if other else "neither model.safetensors nor pytorch_model.bin"
    raise ProjectError(
        f"'{folder}' holds no PyTorch weights ({found}): save the model with model.save_pretrained(folder)."
    )


def conversion_command(folder: Path) -> str:
    """The shell command that turns a folder's pickled weights into safetensors; it runs any code that is in them."""
    return f"cd {shlex.quote(str(folder))} && python -c {shlex.quote(_CONVERSION)}"


def _shards(index: Path) -> list[Path]:
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        names = sorted({str(name) for name in listed})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProjectError(
            f"'{index}' is damaged: save the model again with model.save_pretrained(folder)."
        ) from error
    outside = next((name for name in names if Path(name).name != name), None)
    if outside is not None:
        raise ProjectError(
            f"'{index}' names the file '{outside}' outside of its folder: save the model again."
        )
    return [index.parent / name for name in names]


def _check_there(file: Path) -> None:
    if not file.is_file():
        raise ProjectError(
            f"The weights '{file}' are missing: copy all files of the model, or save it again."
        )
    with file.open("rb") as content:
        if content.read(len(_LFS)) == _LFS:
            raise ProjectError(
                f"'{file}' holds no weights but a pointer to them: get them with git lfs pull in the model's folder."
            )
