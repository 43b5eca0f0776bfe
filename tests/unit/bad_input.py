"""Ways in which what people give to `tracefix new` is wrong, each made from data that are right.

A kind changes the folder it is given (`save_good`) and returns the arguments of the command.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification

from tests.unit.image_files import noise, save_class_folders, save_classifier
from tests.unit.tiny_models import settled, small_bert, word_tokenizer

Arguments = list[str]
ROWS = "id,text,label\na,good film,0\nb,very bad film,1\nc,not bad,2\n"
TASK = """
import sys, torch
from torch.utils.data import TensorDataset
from attribution import Checkpoint, Task

def task(inputs=3, labels=2, logits=2, nan=False, **more):
    x = torch.zeros(8, inputs) if not nan else torch.full((8, inputs), float("nan"))
    data = TensorDataset(x, torch.arange(8) % labels)
    return Task(torch.nn.Linear(3, logits), data, data, class_names=["no", "yes"], **more)
"""


@dataclass(frozen=True)
class Kind:
    """A kind of bad input.

    Args:
        name: what is wrong.
        said: what the sentence must hold: which file, row or column, and what to do (a regular expression).
        make: see above.
        status: exit status.
    """

    name: str
    said: str
    make: Callable[[Path], Arguments]
    status: int = 1


def save_good(place: Path) -> None:
    """Models and data that `tracefix new` takes, to be spoilt."""
    settled(small_bert()).save_pretrained(place / "model")
    word_tokenizer().save_pretrained(place / "model")
    save_classifier(place / "image-model")
    for split in ("train", "test"):
        (place / f"{split}.csv").write_text(ROWS)
        save_class_folders(place / f"{split}-pictures", 1)
    noise(1).save(place / "picture.png")
    (place / "pictures.csv").write_text("image,label\npicture.png,cat\npicture.png,dog\n")
    (place / "task.py").write_text(TASK)


def of_texts(place: Path, *more: str, train: str = "train.csv", model: str = "model") -> Arguments:
    given = {"--model": model, "--train": train, "--test": "test.csv"}
    return [*(part for option, name in given.items() for part in (option, str(place / name))), *more]


def of_pictures(place: Path, train: str = "train-pictures", *more: str) -> Arguments:
    given = {"--model": "image-model", "--train": train, "--test": train}
    return [*(part for option, name in given.items() for part in (option, str(place / name))), *more]


def of_task(place: Path, returned: str, before: str = "") -> Arguments:
    with (place / "task.py").open("a") as stream:
        stream.write(f"\ndef build():\n    {before or 'pass'}\n    return {returned}\n")
    return ["--task", f"{place}/task.py:build"]


def table(content: str | bytes, name: str = "bad.csv", *more: str) -> Callable[[Path], Arguments]:
    """The training table holds something else."""

    def make(place: Path) -> Arguments:
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return of_texts(place, *more, train=name)

    return make


def parquet(columns: dict[str, object], *more: str) -> Callable[[Path], Arguments]:
    def make(place: Path) -> Arguments:
        pd.DataFrame(columns).to_parquet(place / "bad.parquet")
        return of_texts(place, *more, train="bad.parquet")

    return make


def cut(name: str, keep: float, then: Callable[[Path], Arguments]) -> Callable[[Path], Arguments]:
    """A file lacks its end."""

    def make(place: Path) -> Arguments:
        arguments = then(place)
        content = (place / name).read_bytes()
        (place / name).write_bytes(content[: int(len(content) * keep)])
        return arguments

    return make


def without(*names: str, of: Callable[[Path], Arguments] = of_texts) -> Callable[[Path], Arguments]:
    """Files are missing (patterns)."""

    def make(place: Path) -> Arguments:
        for name in names:
            for file in place.glob(name):
                if file.is_dir():
                    shutil.rmtree(file)
                else:
                    file.unlink()
        return of(place)

    return make


def text_rows(text: str, label: str = "0") -> str:
    return f"text,label\ngood film,0\n{text},{label}\n"


def config(**changes: object) -> Callable[[Path], Arguments]:
    def make(place: Path) -> Arguments:
        file = place / "model" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
        return of_texts(place)

    return make


def harmful_pickle(file: Path) -> None:
    """A pickle that would make the file ``harmed`` on being read."""
    file.write_bytes(f"cos\nsystem\n(S'touch {file.parent}/harmed'\ntR.".encode())


def pickled_weights(place: Path) -> Arguments:
    (place / "model" / "model.safetensors").unlink()
    harmful_pickle(place / "model" / "pytorch_model.bin")
    return of_texts(place)


def own_code(place: Path) -> Arguments:
    code = f"import pathlib\npathlib.Path({str(place / 'harmed')!r}).touch()\n"
    for name in ("model", "config"):
        (place / "model" / f"{name}_of_mine.py").write_text(code)
    classes = {"AutoConfig": "config_of_mine.C", "AutoModelForSequenceClassification": "model_of_mine.M"}
    return config(model_type="mine", auto_map=classes)(place)


def other_weights(place: Path) -> Arguments:
    save_file({"weight": torch.zeros(2)}, place / "model" / "model.safetensors", metadata={"format": "pt"})
    return of_texts(place)


def one_output(place: Path) -> Arguments:
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=1
        )
    )  # fmt: skip
    model.save_pretrained(place / "model")
    return of_texts(place)


def gzip_bomb(place: Path) -> Arguments:
    rows = gzip.compress(b"good film,0\n" * 100_000)
    with (place / "bad.csv.gz").open("wb") as stream:
        stream.write(gzip.compress(b"text,label\n"))
        stream.writelines(rows for _ in range(260))  # a gzip file may be several in a row
    return of_texts(place, train="bad.csv.gz")


def zipped(content: bytes, keep: float) -> Callable[[Path], Arguments]:
    packed = gzip.compress(content)
    return table(packed[: int(len(packed) * keep)], "bad.csv.gz")


def pipe(place: Path) -> Arguments:
    os.mkfifo(place / "bad.csv")
    return of_texts(place, train="bad.csv")


def picture_table(
    cell: str, prepare: Callable[[Path], object] = lambda _: None
) -> Callable[[Path], Arguments]:
    """A table whose third row names another picture."""

    def make(place: Path) -> Arguments:
        prepare(place)
        with (place / "pictures.csv").open("a") as stream:
            stream.write(f"{cell.format(place=place)},owl\n")
        return of_pictures(place, "pictures.csv")

    return make


def picture_file(name: str, content: bytes) -> Callable[[Path], Arguments]:
    """A file in a class folder holds something else."""

    def make(place: Path) -> Arguments:
        (place / "train-pictures" / name).parent.mkdir(exist_ok=True)
        (place / "train-pictures" / name).write_bytes(content)
        return of_pictures(place)

    return make


def bomb() -> bytes:
    from tests.unit.test_pictures import claiming

    return claiming(100_000, 100_000)


def link_out(place: Path) -> None:
    noise(3).save(place.parent / f"{place.name}-out.png")
    (place / "link.png").symlink_to(place.parent / f"{place.name}-out.png")


def flat_folder(place: Path) -> Arguments:
    (place / "flat").mkdir()
    noise(1).save(place / "flat" / "a.png")
    return of_pictures(place, "flat")


def empty_folder(place: Path) -> Arguments:
    (place / "empty").mkdir()
    return of_pictures(place, "empty")


def empty_class(place: Path) -> Arguments:
    (place / "train-pictures" / "wolf").mkdir()
    return of_pictures(place)


def pipe_in_folder(place: Path) -> Arguments:
    os.mkfifo(place / "train-pictures" / "cat" / "pipe.png")
    return of_pictures(place)


def link_in_folder(place: Path) -> Arguments:
    link_out(place)
    (place / "link.png").rename(place / "train-pictures" / "cat" / "link.png")
    return of_pictures(place)


def project_there(place: Path) -> Arguments:
    (place.parent / "p").mkdir()
    (place.parent / "p" / "project.json").write_text("{}")
    return of_texts(place)


def file_there(place: Path) -> Arguments:
    (place.parent / "p").write_text("mine")
    return of_texts(place)


def checkpoint(name: str, **tensors: torch.Tensor) -> Callable[[Path], Arguments]:
    def make(place: Path) -> Arguments:
        (place / name).mkdir()
        save_file(
            tensors or load_file(place / "model" / "model.safetensors"), place / name / "model.safetensors"
        )
        return of_texts(place, "--checkpoints", str(place / name))

    return make


def pickled_checkpoint(place: Path) -> Arguments:
    (place / "checkpoint-5").mkdir()
    harmful_pickle(place / "checkpoint-5" / "pytorch_model.bin")
    return of_texts(place, "--checkpoints", str(place / "checkpoint-5"))


def pictures_that_are_numbers(place: Path) -> Arguments:
    pd.DataFrame({"image": [1, 2], "label": ["cat", "dog"]}).to_parquet(place / "numbers.parquet")
    return of_pictures(place, "numbers.parquet")


_OTHER_TASK = """{name} = lambda: Task(torch.nn.Linear(3, 2), {data}, {data}, class_names=["no", "yes"])"""
WORDS_TASK = _OTHER_TASK.format(name="task_of_words", data="[(torch.zeros(3), 'no')]")
TENSORS_TASK = _OTHER_TASK.format(name="task_of_tensors", data="torch.zeros(4, 3)")
NONE_TASK = _OTHER_TASK.format(name="task_of_none", data="[]")
