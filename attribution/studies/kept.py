"""What parts of a study gave, kept on disk one by one, so that a study that was stopped goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.projects.files import replacing
from attribution.projects.ledger import Ledger


def keep_arrays(ledger: Ledger, name: str, **arrays: NDArray[Any]) -> None:
    """Store arrays as the file ``name`` of the ledger's folder, and enter it.

    Raises:
        ProjectError: the folder cannot be written.
    """
    with replacing(ledger.directory / name) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    ledger.reload()  # the same study may be under way in another process
    ledger.add(name)


def kept_arrays(ledger: Ledger, name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file, by name."""
    with np.load(ledger.directory / name, allow_pickle=False) as stored:
        return dict(stored)
