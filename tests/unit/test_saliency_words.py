"""Tokens find the words they are made of in the text as it is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from attribution import Engine, Saliency, prepare
from attribution.errors import MissingRequirementError
from attribution.projects import Manifest, TransformersSource, create_project
from attribution.saliency.tokenizer import FolderTokenizer
from attribution.saliency.words import parts_of_words, seen_of, tokens_of_spans, words_of

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "un",
    "##believ",
    "##able",
    "film",
    "good",
    ".",
    "'",
    "s",
    "bad",
]


def word_pieces() -> PreTrainedTokenizerFast:
    """A BERT-like tokenizer of a few pieces, with [CLS], [SEP] and [MASK]."""
    tokenizer = Tokenizer(
        WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        mask_token="[MASK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def saved(tokenizer: PreTrainedTokenizerFast, folder: Path) -> FolderTokenizer:
    tokenizer.save_pretrained(folder)
    return FolderTokenizer(folder)


def shown(text: str, tokenizer: FolderTokenizer, numbers: list[int]) -> list[str]:
    return [text[word.start : word.end] for word in words_of(text, tokenizer.tokenized(text, numbers))]


def test_pieces_of_a_word_are_one_word(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    text = "  Unbelievable,  GOOD film's"
    numbers = tokenizer(text)["input_ids"]
    assert numbers[1:4] == [5, 6, 7]
    assert shown(text, saved(tokenizer, tmp_path), numbers) == ["Unbelievable", ",", "GOOD", "film", "'", "s"]


def test_bytes_of_a_character_are_one_word(tmp_path: Path) -> None:
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    text = "naïve 🙂 film"
    assert shown(text, saved(fast, tmp_path), fast(text)["input_ids"]) == ["naïve", "🙂", "film"]


def test_what_was_cut_off_is_known(tmp_path: Path) -> None:
    tokenizer = word_pieces()
    text = "good film. bad film"
    numbers = tokenizer(text, truncation=True, max_length=5)["input_ids"]
    found = words_of(text, saved(tokenizer, tmp_path).tokenized(text, numbers))
    assert [text[word.start : word.end] for word in found] == ["good", "film", "."]
    assert seen_of(text, found) == len("good film.")
    assert seen_of("good film.  ", found) is None


def test_other_tokens_than_those_of_the_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingRequirementError, match="are not those of the text"):
        saved(word_pieces(), tmp_path).tokenized("good film", [2, 9, 9, 3])


@settings(max_examples=60, deadline=None)
@given(
    some.lists(some.tuples(some.sampled_from([0, 1, 1, 2]), some.integers(0, 4)), max_size=20), some.randoms()
)
def test_nothing_is_lost_between_tokens_and_words(gaps: list[tuple[int, int]], random: object) -> None:
    """Whatever the spans: words stand in order, do not overlap, and their parts add up to those of the tokens."""
    text, spans = "", []
    for gap, length in gaps:
        text += " " * gap
        spans.append((len(text), len(text) + length))
        text += "x" * length
    words = words_of(text, tokens_of_spans(spans, text))
    edges = [place for word in words for place in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(text[word.start : word.end] == "x" * (word.end - word.start) for word in words)
    assert "".join(text[word.start : word.end] for word in words) == text.replace(" ", "")
    tokens = np.arange(1.0, len(spans) + 1)
    if words:
        assert parts_of_words(words, tokens).sum() == tokens.sum()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A project of a tiny BERT that reads at most 8 tokens."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("pieces")
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=2,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    word_pieces().save_pretrained(folder / "model")
    texts = [
        "unbelievable film.",
        "good film",
        "bad film.",
        "good",
        "bad unbelievable good film. film. bad film",
    ]
    pd.DataFrame({"text": texts, "label": [0, 1, 0, 1, 0]}).to_csv(folder / "texts.csv", index=False)
    source = TransformersSource(
        model="model", train="texts.csv", test="texts.csv", text_column="text", max_tokens=8
    )
    project = create_project(folder, Manifest(name="pieces", title="Pieces", source=source))
    prepare(project, device="cpu")
    return Engine(project, device="cpu")


def words_and_parts(engine: Engine, found: Saliency) -> dict[str, float]:
    text = engine.project.example("test", found.example_id)["input"]
    return {text[start:end]: part for (start, end), part in zip(found.spans, found.parts, strict=True)}


def test_a_transformers_project_needs_nothing_more(engine: Engine) -> None:
    for example_id in ("0", "4"):
        found = engine.saliency(example_id, measurement="logit:LABEL_1")
        assert np.abs(found.parts).sum() > 0
        assert abs(found.error) <= 0.03
        assert found.parts.sum() == pytest.approx(
            found.value - found.neutral_value, abs=0.03 * np.abs(found.parts).sum()
        )
    assert list(words_and_parts(engine, engine.saliency("0"))) == ["unbelievable", "film", "."]
    assert engine.saliency("0").seen is None
    text = engine.project.example("test", "4")["input"]
    cut = engine.saliency("4").seen
    assert cut is not None and text[:cut] == "bad unbelievable good film"


def test_neutral_is_the_text_with_every_word_masked(engine: Engine) -> None:
    import torch

    found = engine.saliency("0", measurement="logit:LABEL_1")
    ids = engine.task.test[0][0]["input_ids"]
    masked = torch.where(ids > 3, torch.full_like(ids, PIECES.index("[MASK]")), ids)
    with torch.no_grad():
        expected = engine.task.model(input_ids=masked[None], attention_mask=torch.ones(1, len(ids))).logits[
            0, 1
        ]
    assert found.neutral_value == pytest.approx(float(expected), abs=1e-5)


def test_a_score_is_taken_apart_by_the_same_words(engine: Engine) -> None:
    found = engine.breakdown("0", "4", method="grad_dot")
    text = engine.project.example("train", "4")["input"]
    assert found.by_token is not None and found.by_word is not None
    assert [text[start:end] for start, end, _ in found.by_word] == ["bad", "unbelievable", "good", "film"]
    assert sum(part for _, _, part in found.by_word) == pytest.approx(sum(found.by_token))
    one = dict(
        zip(
            ["[CLS]", "bad", "un", "##believ", "##able", "good", "film", "[SEP]"], found.by_token, strict=True
        )
    )
    expected = one["un"] + one["##believ"] + one["##able"]
    assert found.by_word[1][2] == pytest.approx(expected)
