"""Every model family that has tests, tiny and of random weights, saved as its users have it on disk.

Model, configuration, tokenizer and image processor are of the family's own transformers classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from PIL import Image
from torch import nn
from transformers import PreTrainedModel

WORDS = ["good", "bad", "film", "very", "not", "plot", "dull", "great"]
"""What the texts are made of."""

TRAIN, TEST = 20, 6
"""Examples of each split."""

SIDE = 16
"""Height and width of the pictures, in pixels."""

_LETTERS = ["Ġ", *"abcdefghijklmnopqrstuvwxyz"]


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: number for number, piece in enumerate(pieces)}


def _scored(special: list[str]) -> list[tuple[str, float]]:
    """Pieces of a unigram tokenizer with their log-probabilities."""
    return [(piece, 0.0) for piece in special] + [("▁" + word, -float(n)) for n, word in enumerate(WORDS, 1)]


def word_pieces(name: str = "BertTokenizer") -> Any:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return getattr(transformers, name)(vocab=_numbered(special + WORDS))


def roberta_letters() -> Any:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return transformers.RobertaTokenizer(vocab=_numbered(special + _LETTERS), merges=[])


def gpt2_letters() -> Any:
    """Without a padding token, as OpenAI's."""
    return transformers.GPT2Tokenizer(vocab=_numbered(["<|endoftext|>", *_LETTERS]), merges=[])


def deberta_letters() -> Any:
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    return transformers.DebertaTokenizer(vocab=_numbered(special + _LETTERS), merges=[])


def unigrams(name: str, special: list[str], **more: Any) -> Any:
    pieces = _scored(special) + ([("<mask>", 0.0)] if name == "XLMRobertaTokenizer" else [])
    return getattr(transformers, name)(vocab=pieces, **more)


@dataclass(frozen=True)
class Family:
    """How a tiny model of a family is made.

    Args:
        model: name of its class in transformers.
        sizes: of its configuration.
        tokenizer: makes its tokenizer; None for images.
        last: prefixes of the parameters of its last layer and head, for partly frozen training.
        processor: class name and settings of its image processor.
        classes: number of classes.
    """

    model: str
    sizes: dict[str, Any]
    tokenizer: Callable[[], Any] | None = None
    last: tuple[str, ...] = ()
    processor: tuple[str, dict[str, Any]] = ("ViTImageProcessorPil", {})
    classes: int = 3

    @property
    def kind(self) -> str:
        return "image" if self.tokenizer is None else "text"

    def config(self, **changed: Any) -> Any:
        model_class = getattr(transformers, self.model)
        names = {number: f"class {number}" for number in range(self.classes)}
        labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
        return model_class.config_class(**(self.sizes | labels | changed))

    def network(self, **changed: Any) -> PreTrainedModel:
        """The model, in evaluation mode, with no parameter at a value where gradients vanish."""
        torch.manual_seed(0)
        model: PreTrainedModel = getattr(transformers, self.model)(self.config(**changed))
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
                elif "embed" in name or "token" in name:
                    parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
                else:
                    parameter.mul_(4)
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    assert module.running_mean is not None and module.running_var is not None
                    module.running_mean.copy_(0.3 * torch.randn(module.num_features, generator=generator))
                    module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
        return model.eval()

    def save(self, folder: Path, model: PreTrainedModel | None = None) -> PreTrainedModel:
        """Write model and tokenizer or image processor, as ``save_pretrained`` does; returns the model."""
        network = self.network() if model is None else model
        network.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer().save_pretrained(folder)
        else:
            name, settings = self.processor
            size = {"height": SIDE, "width": SIDE}
            getattr(transformers, name)(**({"size": size} | settings)).save_pretrained(folder)
        return network

    def tables(self, folder: Path) -> tuple[Path, Path]:
        """A training and a test table of random words or pictures of noise.

        The last test example is the first one with another label, so that one of them is mispredicted.
        """
        random = np.random.default_rng(5)
        files = []
        for split, size in (("train", TRAIN), ("test", TEST)):
            labels = [f"class {number}" for number in random.integers(self.classes, size=size)]
            if self.kind == "text":
                inputs = [" ".join(random.choice(WORDS, random.integers(1, 6))) for _ in range(size)]
            else:
                inputs = [f"{split}-{number}.png" for number in range(size)]
                for name in inputs:
                    pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / name)
            if split == "test":
                inputs[-1], labels[0], labels[-1] = inputs[0], "class 0", "class 1"
            table = pd.DataFrame({self.kind: inputs, "label": labels})
            table.to_csv(folder / f"{split}.csv", index=False)
            files.append(folder / f"{split}.csv")
        return files[0], files[1]


_BERT = {
    "vocab_size": 16,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 40,
}
_DECODER = {
    "vocab_size": 32,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 64,
}
_VIT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "image_size": SIDE,
    "patch_size": 8,
}
_RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["p2c", "c2p"]}

_ROBERTA_IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_BERT_LAST = (".layer.1.", "pooler", "classifier")

FAMILIES: dict[str, Family] = {
    "bert": Family("BertForSequenceClassification", _BERT, word_pieces, _BERT_LAST),
    "distilbert": Family(
        "DistilBertForSequenceClassification",
        {"vocab_size": 16, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "max_position_embeddings": 40},
        lambda: word_pieces("DistilBertTokenizer"),
        (".layer.1.", "classifier"),
        classes=2,
    ),
    "roberta": Family(
        "RobertaForSequenceClassification",
        _BERT | _ROBERTA_IDS | {"vocab_size": 32, "type_vocab_size": 1, "max_position_embeddings": 42},
        roberta_letters,
        (".layer.1.", "classifier"),
    ),
    "xlm-roberta": Family(
        "XLMRobertaForSequenceClassification",
        _BERT | _ROBERTA_IDS | {"type_vocab_size": 1, "max_position_embeddings": 42},
        lambda: unigrams("XLMRobertaTokenizer", ["<s>", "<pad>", "</s>", "<unk>"]),
        (".layer.1.", "classifier"),
    ),
    "electra": Family(
        "ElectraForSequenceClassification",
        _BERT | {"embedding_size": 6},
        word_pieces,
        (".layer.1.", "classifier"),
        classes=2,
    ),
    "minilm": Family(
        "BertForSequenceClassification",
        _BERT | {"hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 24},
        word_pieces,
        _BERT_LAST,
        classes=2,
    ),
    "albert": Family(
        "AlbertForSequenceClassification",
        _BERT | {"embedding_size": 6},
        lambda: unigrams("AlbertTokenizer", ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
        ("pooler", "classifier"),
    ),
    "deberta": Family(
        "DebertaForSequenceClassification",
        _BERT | _RELATIVE | {"vocab_size": 32, "type_vocab_size": 0},
        deberta_letters,
        _BERT_LAST,
    ),
    "deberta-v2": Family(
        "DebertaV2ForSequenceClassification",
        _BERT
        | _RELATIVE
        | {"type_vocab_size": 0, "position_buckets": 4, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
        lambda: unigrams("DebertaV2Tokenizer", ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]),
        _BERT_LAST,
    ),
    "gpt2": Family(
        "GPT2ForSequenceClassification",
        {"vocab_size": 32, "n_positions": 64, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_inner": 12,
         "bos_token_id": 0, "eos_token_id": 0},
        gpt2_letters,
        (".h.1.", "ln_f", "score"),
    ),
    "qwen2": Family(
        "Qwen2ForSequenceClassification",
        _DECODER | {"num_key_value_heads": 1, "eos_token_id": 0},
        gpt2_letters,
        (".layers.1.", "model.norm", "score"),
        classes=2,
    ),
    "t5": Family(
        "T5ForSequenceClassification",
        {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_decoder_layers": 1,
         "num_heads": 2, "relative_attention_num_buckets": 6, "decoder_start_token_id": 0},
        lambda: unigrams("T5Tokenizer", ["<pad>", "</s>", "<unk>"], extra_ids=0),
        ("decoder.block", "classification_head"),
    ),
    "bart": Family(
        "BartForSequenceClassification",
        {"vocab_size": 32, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12, "max_position_embeddings": 64},
        roberta_letters,
        ("model.decoder", "classification_head"),
    ),
    "resnet": Family(
        "ResNetForImageClassification",
        {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "bottleneck"},
        last=("classifier",),
        processor=("ConvNextImageProcessorPil", {"size": {"shortest_edge": SIDE}, "crop_pct": 1.0}),
    ),
    "vit": Family("ViTForImageClassification", _VIT, last=("layers.1.", "vit.layernorm", "classifier")),
    "deit": Family(
        "DeiTForImageClassification",
        _VIT,
        last=("layers.1.", "deit.layernorm", "classifier"),
        processor=("DeiTImageProcessorPil", {"do_center_crop": False}),
        classes=2,
    ),
    "convnext": Family(
        "ConvNextForImageClassification",
        {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 4, "drop_path_rate": 0.3,
         "layer_scale_init_value": 0.5},
        last=("classifier",),
        processor=("ConvNextImageProcessorPil", {"size": {"shortest_edge": SIDE}, "crop_pct": 1.0}),
    ),
    "mobilenet-v2": Family(
        "MobileNetV2ForImageClassification",
        {"depth_multiplier": 0.1, "depth_divisible_by": 4, "min_depth": 4, "image_size": SIDE},
        last=("classifier",),
        processor=("MobileNetV2ImageProcessorPil", {"do_center_crop": False}),
        classes=2,
    ),
    "efficientnet": Family(
        "EfficientNetForImageClassification",
        {"image_size": SIDE, "width_coefficient": 0.1, "depth_coefficient": 0.1, "depth_divisor": 4,
         "in_channels": [8, 4], "out_channels": [4, 8], "kernel_sizes": [3, 5], "strides": [1, 2],
         "num_block_repeats": [1, 1], "expand_ratios": [1, 2], "hidden_dim": 128, "depthwise_padding": []},
        last=("classifier",),
        processor=("EfficientNetImageProcessorPil", {"do_center_crop": False}),
    ),
    "swin": Family(
        "SwinForImageClassification",
        {"image_size": SIDE, "patch_size": 2, "embed_dim": 4, "depths": [2, 1], "num_heads": [1, 2], "window_size": 4},
        last=("swin.layernorm", "classifier"),
    ),
}  # fmt: skip
