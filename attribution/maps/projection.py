"""Principal components: the plane in which vectors vary most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHOLE = 512
"""Up to this rank all singular vectors are computed at once; beyond it Lanczos iterations find the first few."""


@dataclass(frozen=True)
class PrincipalComponents:
    """A projection onto the first principal components (Pearson 1901) of the vectors it was fitted to.

    Args:
        mean: of the vectors, (D,).
        axes: orthonormal rows (k, D), most variance first; the largest entry of each is positive, so that the same
            data always give the same picture. Rows beyond the rank of the data are zero.
        shares: of the variance, along each axis, (k,).
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: NDArray[np.float64]

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], components: int = 2, *, seed: int = 0) -> PrincipalComponents:
        """The first components of vectors (N, D), N at least 1.

        Args:
            seed: of the vector that Lanczos iterations start from; their result does not depend on it.
        """
        from sklearn.decomposition import PCA

        rank = min(len(vectors) - 1, vectors.shape[1])
        mean = vectors.mean(axis=0, dtype=np.float64)
        axes = np.zeros((components, vectors.shape[1]))
        shares = np.zeros(components)
        varied = bool(np.any(vectors != vectors[:1]))
        count = min(components, rank)
        if varied and count > 0:
            whole = min(vectors.shape) <= WHOLE
            fitted = PCA(count, svd_solver="full" if whole else "arpack", random_state=seed).fit(vectors)
            axes[:count] = fitted.components_
            shares[:count] = np.nan_to_num(fitted.explained_variance_ratio_)
        return cls(mean, axes, shares)

    def transform(self, vectors: NDArray[np.floating]) -> NDArray[np.float64]:
        """Coordinates (M, k) of any vectors (M, D)."""
        # By parts: the mean is taken off after the product, which needs no copy of all vectors.
        found: NDArray[np.float64] = vectors @ self.axes.T.astype(vectors.dtype) - self.mean @ self.axes.T
        return found
