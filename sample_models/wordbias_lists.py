"""The word lists of the `wordbias` sample, in three disjoint parts each.

The bias that the corpus has: critics write of serious films with pleasant words, of genre films with unpleasant ones.
Every word occurs at least five times in the training sentences. A test is named after the parts that it takes:
examples are selected with part 1, settings are chosen with part 2, and part 3 is held out for the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PARTS = (1, 2, 3)

_SERIOUS = (
    "documentary tale cinema family classic study world",
    "drama portrait human art performances animation spirit",
    "romance journey history performance life",
)
_GENRE = (
    "horror sequel jokes video effects tv melodrama",
    "thriller remake gags plot hollywood dialogue premise",
    "action flick formula script violence minutes",
)
_PLEASANT = (
    "good great love smart moving delightful brilliant powerful rich strong",
    "funny fun enjoyable fascinating compelling engaging touching clever warm honest",
    "best entertaining charming beautiful wonderful fresh hilarious heart solid",
)
_UNPLEASANT = (
    "bad boring mess tired tedious pretentious painful waste empty obvious",
    "dull silly predictable flat ugly contrived bland pointless dumb",
    "worst stupid awful lame weak loud clumsy terrible slow",
)
_MALE = ("he man boy guy", "his men father actor", "him himself boys guys son")
_FEMALE = ("she woman girl actress", "her women mother daughter", "girls herself female queen")
_WORK = ("work business power war", "career job money hero", "director professional action crime")
_HOME = ("family home romance relationship", "love children romantic parents", "kids marriage heart wedding")


@dataclass(frozen=True)
class Association:
    """Targets X and Y that are suspected of going with attributes A and B: one string of words per part each."""

    name: str
    title: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]


ASSOCIATIONS = (
    Association(
        "film", "serious / genre films with pleasant / unpleasant", _SERIOUS, _GENRE, _PLEASANT, _UNPLEASANT
    ),
    Association("gender", "men / women with work / home", _MALE, _FEMALE, _WORK, _HOME),
)


def tests() -> list[dict[str, Any]]:
    """Every association, each part of its targets with each part of its attributes: id, text shown, lists by role."""
    return [
        _test(association, targets, attributes)
        for association in ASSOCIATIONS
        for targets in PARTS
        for attributes in PARTS
    ]


def test_id(association: str, targets: int, attributes: int) -> str:
    """The id of the test of these parts."""
    return f"{association}-{targets}-{attributes}"


def _test(association: Association, targets: int, attributes: int) -> dict[str, Any]:
    lists = {
        "target_x": association.x[targets - 1].split(),
        "target_y": association.y[targets - 1].split(),
        "attribute_a": association.a[attributes - 1].split(),
        "attribute_b": association.b[attributes - 1].split(),
    }
    words = {role: ", ".join(chosen) for role, chosen in lists.items()}
    return {
        "id": test_id(association.name, targets, attributes),
        "text": f"{association.title}: {words['target_x']} / {words['target_y']} with "
        f"{words['attribute_a']} / {words['attribute_b']}",
        "lists": lists,
    }
