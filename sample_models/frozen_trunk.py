"""Fine-tune the last layers of a BERT quickly: what its frozen first layers compute is computed once.

With the first layers frozen and free of dropout, the states they hand on never change during training. Training
the last layers on stored states is therefore the same as training the whole model, at a fraction of the cost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel
from transformers.models.bert.modeling_bert import BertEmbeddings

from attribution.progress import Reporter

TRUNK_BATCH_SIZE = 32


def freeze_trunk(model: BertForSequenceClassification, layers: int) -> list[str]:
    """Freeze embeddings and the first ``layers`` layers; return the name prefixes of the parameters left to train."""
    trained = [f"bert.encoder.layer.{number}." for number in range(layers, model.config.num_hidden_layers)]
    trained += ["bert.pooler.", "classifier."]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(trained)))
    return trained


def trunk_of(model: BertForSequenceClassification, layers: int) -> BertModel:
    """Embeddings and the first ``layers`` layers of a model, sharing its weights; without dropout."""
    with torch.device("meta"):
        trunk = BertModel(_shallower(model, layers), add_pooling_layer=False)
    trunk.embeddings = model.bert.embeddings
    trunk.encoder.layer = model.bert.encoder.layer[:layers]
    return cast(BertModel, trunk.eval())


def head_of(model: BertForSequenceClassification, layers: int) -> BertForSequenceClassification:
    """The layers after the first ``layers``, the pooler and the classifier, sharing the weights of the model.

    It takes the trunk's states (B, T, H) as ``inputs_embeds`` together with their attention mask.
    """
    with torch.device("meta"):
        head = BertForSequenceClassification(_shallower(model, model.config.num_hidden_layers - layers))
    head.bert.embeddings = cast(BertEmbeddings, _PassThrough())
    head.bert.encoder.layer = model.bert.encoder.layer[layers:]
    head.bert.pooler = model.bert.pooler
    head.dropout = model.dropout
    head.classifier = model.classifier
    return head


class _PassThrough(nn.Module):
    """Stands where the embeddings were: the states that come in are what the first layer shall see."""

    def forward(self, inputs_embeds: Tensor, **unused: object) -> Tensor:
        return inputs_embeds


def _shallower(model: BertForSequenceClassification, layers: int) -> BertConfig:
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = layers
    return config


def trunk_states(
    trunk: BertModel, token_ids: Sequence[Tensor], reporter: Reporter, message: str
) -> list[Tensor]:
    """What the trunk makes of each sentence: token ids (T,) -> states (T, H), the padding cut off.

    Sentences of similar length share a batch, so that little is spent on padding.
    """
    by_length = sorted(range(len(token_ids)), key=lambda position: len(token_ids[position]))
    batches = [
        by_length[start : start + TRUNK_BATCH_SIZE] for start in range(0, len(by_length), TRUNK_BATCH_SIZE)
    ]
    states: dict[int, Tensor] = {}
    with torch.no_grad():
        for batch in reporter.track(batches, len(batches), message):
            ids, mask = padded([token_ids[position] for position in batch])
            output = trunk(input_ids=ids, attention_mask=mask).last_hidden_state
            for row, position in enumerate(batch):
                states[position] = output[row, : len(token_ids[position])].clone()
    return [states[position] for position in range(len(token_ids))]


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences (T_i, ...) as one tensor (B, T, ...) with zeros at the end, and the attention mask (B, T)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).long()
    return nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), mask


def similar_length_batches(
    lengths: Sequence[int], batch_size: int, seed: int, pool: int = 16
) -> Iterator[Tensor]:
    """Positions (B,) of one batch after another, every position once an epoch, without end.

    An epoch is shuffled, then cut into pools of ``pool`` batches; only within a pool are sentences sorted by
    length. Batches stay random, and nearly all of the padding goes, which would double the work.
    """
    generator = torch.Generator().manual_seed(seed)
    length = torch.tensor(lengths)
    while True:
        batches: list[Tensor] = []
        for positions in torch.randperm(len(length), generator=generator).split(pool * batch_size):
            ordered = positions[length[positions].argsort(stable=True)]
            batches += ordered.split(batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]
