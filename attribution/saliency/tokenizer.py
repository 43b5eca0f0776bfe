"""The tokenizer of a project, asked where its tokens stand in a text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from attribution.errors import MissingRequirementError, ProjectError
from attribution.projects import Project, TransformersSource
from attribution.saliency.words import TokenizedText
from attribution.sources.python_function import describe


class FolderTokenizer:
    """The fast tokenizer beside a transformers model.

    Args:
        folder: of the model.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, project: Project) -> FolderTokenizer | None:
        """That of a project of texts; None where its inputs come from elsewhere."""
        source = project.manifest.source
        if isinstance(source, TransformersSource) and source.text_column:
            return cls(project.resolve(source.model))
        return None

    def tokenized(self, text: str, numbers: Sequence[int]) -> TokenizedText:
        """Where the tokens with these numbers stand in a text.

        Raises:
            MissingRequirementError: the tokenizer does not tell, or it makes other tokens of the text.
            ProjectError: it cannot be loaded.
        """
        tokenizer = self._tokenizer
        if not getattr(tokenizer, "is_fast", False):
            raise MissingRequirementError(
                "The tokenizer of this model does not tell where its tokens stand in a text: save a fast one beside "
                "the model."
            )
        encoded = tokenizer(text, truncation=True, max_length=len(numbers), return_offsets_mapping=True)
        if list(encoded["input_ids"]) != list(numbers):
            raise MissingRequirementError(
                "The tokens that the model reads are not those of the text as it is shown, so they cannot be told "
                "apart in it."
            )
        nothing = tokenizer.mask_token_id
        return TokenizedText(
            [(int(start), int(end)) for start, end in encoded["offset_mapping"]],
            encoded.word_ids(0),
            tokenizer.pad_token_id if nothing is None else nothing,
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:
            raise ProjectError(
                f"The tokenizer in '{self._folder}' cannot be loaded ({describe(error)}): save it beside the model "
                "with tokenizer.save_pretrained(folder)."
            ) from error
