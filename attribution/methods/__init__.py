"""Attribution methods: one file a method. Listing them imports no torch.

To add one, put a file beside this one that defines a `Method` subclass under `@register`; nothing else changes.
"""

from attribution.methods.registry import (
    FAMILIES,
    Direction,
    DirectionalMethod,
    InfluenceFunction,
    Method,
    MethodInfo,
    ProjectFacts,
    SummedMethod,
    availability,
    default_method,
    families,
    list_methods,
    method_named,
    register,
)

__all__ = [
    "FAMILIES",
    "Direction",
    "DirectionalMethod",
    "InfluenceFunction",
    "Method",
    "MethodInfo",
    "ProjectFacts",
    "SummedMethod",
    "availability",
    "default_method",
    "families",
    "list_methods",
    "method_named",
    "register",
]
