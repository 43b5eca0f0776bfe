"""The weights that the training of a transformers model started from, by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attribution.errors import ProjectError
from attribution.sources.folder_weights import weight_files
from attribution.sources.python_function import describe
from attribution.sources.quiet import quiet_transformers


def initial_weights_from(
    auto: Any, folder: Path, pretrained: Path | None
) -> Callable[[int], Mapping[str, Tensor]]:
    """For `Task.initial`: what transformers draws after ``torch.manual_seed(seed)``.

    Args:
        auto: the class that loads the model (`AutoModelForSequenceClassification`, say).
        folder: of the fine-tuned model, whose architecture counts.
        pretrained: of the model that fine-tuning started from; what it lacks, a new head say, is drawn by the seed.
            None where everything is.
    """

    def weights(seed: int) -> Mapping[str, Tensor]:
        from transformers import AutoConfig

        source = folder if pretrained is None else pretrained
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            with quiet_transformers():
                torch.manual_seed(seed)
                if pretrained is None:
                    model = auto.from_config(config)
                else:
                    model = auto.from_pretrained(
                        pretrained,
                        config=config,
                        use_safetensors=weight_files(pretrained)[0].suffix == ".safetensors",
                        weights_only=True,
                        local_files_only=True,
                        trust_remote_code=False,
                        ignore_mismatched_sizes=True,  # a head for other classes is replaced by a new one
                        dtype=torch.float32,
                    )
        except Exception as error:
            raise ProjectError(
                f"The model that training started from cannot be made from '{source}' ({describe(error)}): mend "
                "'initial' in project.json: 'fresh', or the folder of the pre-trained model."
            ) from error
        found: dict[str, Tensor] = model.state_dict()
        return found

    return weights
