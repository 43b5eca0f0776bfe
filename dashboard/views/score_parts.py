"""The parts of a training example's score in words and bars: through which layers it comes, and at which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.views.saliency import signed

if TYPE_CHECKING:
    from attribution.breakdown import Breakdown

LAYERS, WORDS = 4, 5
"""Groups of layers that get a bar, and words that are named: the strongest."""

WORTH_NAMING = 0.05
"""Part of a word, in parts of the strongest, above which it is named."""


def score_parts(found: Breakdown, text: str) -> dict[str, Any]:
    """What a card says.

    Args:
        text: the training example as shown, if it is a text.
    """
    groups = by_block(found.by_layer)
    ranked = sorted(groups, key=lambda name: -abs(groups[name]))
    largest = abs(groups[ranked[0]]) if ranked else 0.0
    titles = short_names(ranked)
    rows = [
        {
            "name": titles[name],
            "title": name,
            "part": signed(groups[name]),
            "strength": round(groups[name] / (largest or 1.0), 3),
        }
        for name in ranked[:LAYERS]
    ]
    rest = sum(groups[name] for name in ranked[LAYERS:])
    if len(ranked) > LAYERS:
        name = f"{len(ranked) - LAYERS} others"
        rows.append({"name": name, "part": signed(rest), "strength": round(rest / (largest or 1.0), 3)})
    return {
        "sentences": [*_layer_words(found.score, groups, ranked, titles), *_word_words(found, text)],
        "layers": rows,
    }


def by_block(layers: dict[str, float]) -> dict[str, float]:
    """Sums over the layers of a block: names are taken up to their first number, those without one as they are.

    >>> by_block({"encoder.layer.4.query": 1.0, "encoder.layer.4.key": 2.0, "head": 3.0})
    {'encoder.layer.4': 3.0, 'head': 3.0}
    """
    sums: dict[str, float] = {}
    for name, part in layers.items():
        pieces = name.split(".")
        first = next((place for place, piece in enumerate(pieces) if piece.isdigit()), len(pieces) - 1)
        block = ".".join(pieces[: first + 1])
        sums[block] = sums.get(block, 0.0) + part
    return sums


def short_names(names: list[str]) -> dict[str, str]:
    """What blocks are called where there is little room: their last two pieces, unless two would be called the same.

    >>> short_names(["bert.encoder.layer.4", "classifier", "2"])
    {'bert.encoder.layer.4': 'layer 4', 'classifier': 'classifier', '2': 'layer 2'}
    """
    short = {}
    for name in names:
        pieces = name.split(".")[-2:]
        if pieces[-1].isdigit():
            pieces = [f"{pieces[0] if len(pieces) > 1 else 'layer'} {pieces[-1]}"]
        short[name] = ".".join(pieces) or "the model"
    taken = list(short.values())
    return {name: title if taken.count(title) == 1 else name for name, title in short.items()}


def _layer_words(
    score: float, groups: dict[str, float], ranked: list[str], titles: dict[str, str]
) -> list[str]:
    if not ranked:
        return []
    if len(ranked) == 1:
        return [
            f"All of {signed(score)} comes through “{titles[ranked[0]]}”, the only layer that was trained."
        ]
    first = ranked[0]
    sentence = f"Of {signed(score)}, {signed(groups[first])} comes through “{titles[first]}”"
    against = next((name for name in ranked if groups[name] * score < 0), None)
    if against is not None and abs(groups[against]) >= 0.1 * abs(score):
        sentence += f"; “{titles[against]}” holds against it with {signed(groups[against])}"
    return [sentence + "."]


def _word_words(found: Breakdown, text: str) -> list[str]:
    if not found.by_word:
        return []
    strongest = sorted(found.by_word, key=lambda word: -abs(word[2]))[:WORDS]
    least = WORTH_NAMING * abs(strongest[0][2])
    named = ", ".join(
        f"“{text[start:end]}” {signed(part)}" for start, end, part in strongest if abs(part) > least
    )
    if not named:
        return []
    whole = sum(part for _, _, part in found.by_word)
    return [f"{signed(whole)} of it arises at single words, most at {named}."]
