"""Curvature of the training objective: each kind is fitted once, then applies its damped inverse to a gradient."""

from attribution.curvature.damping import Damping, automatic_damping
from attribution.curvature.ekfac import EKFAC, fit_ekfac
from attribution.curvature.protocol import Curvature
from attribution.curvature.store import CurvatureStore

__all__ = ["EKFAC", "Curvature", "CurvatureStore", "Damping", "automatic_damping", "fit_ekfac"]
