"""A model of pictures and one's own data, from a folder with class sub-folders or a table: all the way to an export."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from attribution import Project
from attribution.batches import batches
from attribution.display import THUMBNAIL_SIDE, example_table
from attribution.errors import Cancelled, ProjectError
from attribution.progress import CancelToken, Reporter
from attribution.projects import Manifest, TransformersSource
from attribution.projects.stamps import stamp, unchanged
from attribution.sources import image_data, load_task
from attribution.sources.image_data import ImageDataset
from attribution.sources.tables import open_table
from tests.command_line import CommandLine
from tests.unit.image_files import CLASSES, SIDE, encoded, noise, save_class_folders, save_classifier


def class_folders(place: Path) -> list[str]:
    save_classifier(place / "model", "resnet")
    save_class_folders(place / "train", 8)
    save_class_folders(place / "test", 4)
    return ["--train", str(place / "train"), "--test", str(place / "test")]


def tables_of_paths(place: Path) -> list[str]:
    save_classifier(place / "model", "vit")
    for split, each in (("train", 8), ("test", 4)):
        paths = save_class_folders(place / "data" / split, each)
        rows = [(f"{split}/{path}", path.split("/")[0], f"key {n}") for n, path in enumerate(paths)]
        table = pd.DataFrame(rows, columns=["picture", "animal", "key"])
        table.to_csv(place / "data" / f"{split}.csv", index=False)
    files = ["--train", str(place / "data" / "train.csv"), "--test", str(place / "data" / "test.csv")]
    return [*files, "--image", "picture", "--label", "animal", "--id", "key"]


@pytest.mark.parametrize("data_of", [class_folders, tables_of_paths])
def test_from_new_to_export(tracefix: CommandLine, data_of: object, tmp_path: Path) -> None:
    options = data_of(tmp_path)  # type: ignore[operator]
    project = tmp_path / "project"
    made = tracefix("new", project, "--model", tmp_path / "model", *options)
    assert made.status == 0, made.err
    assert tracefix("prepare", project, "--device", "cpu").status == 0
    rows = json.loads(tracefix("mispredictions", project, "--json").out)
    expected_ids = {f"{name}/{'deep/' if n % 2 else ''}{n}.png" for name in CLASSES for n in range(4)}
    if data_of is tables_of_paths:
        expected_ids = {f"key {n}" for n in range(12)}
    assert {row["id"] for row in rows} <= expected_ids and rows
    wrong = rows[0]
    assert wrong["input"].startswith("data:image/png;base64,")
    assert wrong["true"] in CLASSES and wrong["true"] != wrong["predicted"]

    explained = json.loads(tracefix("explain", project, wrong["id"], "--json").out)
    assert explained["culprits"] and explained["culprits"][0]["score"] > 0
    fixed = json.loads(tracefix("fix", project, wrong["id"], "--top", "3", "--steps", "5", "--json").out)
    exported = tracefix("export", project, fixed["fix_id"], "--output", tmp_path / "out", "--json")
    assert exported.status == 0, exported.err
    assert json.loads(exported.out)["difference"] == 0
    assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= set(
        json.loads(exported.out)["files"]
    )
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "out"))
    assert before.keys() == after.keys() and any(not torch.equal(before[k], after[k]) for k in before)
    if data_of is class_folders:
        check_what_is_shown(Project.open(project), tmp_path / "test")
        noise(77).save(tmp_path / "train" / "cat" / "0.png")
        assert not Project.open(project).prepared, "a picture has changed since"


def check_what_is_shown(project: Project, folder: Path) -> None:
    """People see the picture of the id."""
    assert project.prepared
    for path in ("cat/0.png", "owl/deep/3.png"):
        content = base64.b64decode(project.example("test", path)["input"].split(",", 1)[1])
        with Image.open(io.BytesIO(content)) as shown, Image.open(folder / path) as file:
            assert np.array_equal(np.asarray(shown), np.asarray(file))


def loaded(place: Path, train: str = "train", **columns: str) -> ImageDataset:
    source = TransformersSource(
        model="model", train=train, test=train, **{"image_column": "image", **columns}
    )
    dataset = load_task(Project(place, Manifest(name="p", title="P", source=source))).train
    assert isinstance(dataset, ImageDataset)
    return dataset


def test_pixels_are_those_of_the_processor_in_order_of_the_paths(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model")
    paths = save_class_folders(tmp_path / "train", 3)
    dataset = loaded(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model", backend="pil")
    assert len(dataset) == len(paths) == 9
    for twice in range(2):  # from the file, then from memory
        for position, path in enumerate(paths):
            inputs, label = dataset[position]
            with Image.open(tmp_path / "train" / path) as picture:
                expected = processor(images=picture, return_tensors="pt")["pixel_values"][0]
            assert torch.equal(inputs["pixel_values"], expected), (twice, path)
            assert CLASSES[label] == path.split("/")[0]


def test_a_grey_model_and_a_coloured_one_read_the_same_files(tmp_path: Path) -> None:
    save_class_folders(tmp_path / "train", 1)
    Image.new("L", (5, 6), 77).save(tmp_path / "train" / "cat" / "grey.png")
    for channels in (1, 3):
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        save_classifier(tmp_path / "model", channels=channels)
        dataset = loaded(tmp_path)
        assert {tuple(dataset[n][0]["pixel_values"].shape) for n in range(len(dataset))} == {
            (channels, SIDE, SIDE)
        }
    save_classifier(tmp_path / "model", channels=5)
    with pytest.raises(ProjectError, match=r"reads pictures of 5 channels.*--task"):
        loaded(tmp_path)


def stored_parquet(place: Path, values: list[object]) -> ImageDataset:
    save_classifier(place / "model")
    table = pd.DataFrame({"image": values, "label": [n % 3 for n in range(len(values))]})
    table.to_parquet(place / "train.parquet")
    return loaded(place, "train.parquet")


def test_parquet_may_hold_contents_paths_or_the_structs_of_datasets(tmp_path: Path) -> None:
    pictures = [noise(number) for number in range(3)]
    contents = [encoded(picture) for picture in pictures]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
    plain = stored_parquet(tmp_path, list(contents))
    paths = stored_parquet(tmp_path, [f"{number}.png" for number in range(3)])
    structs = stored_parquet(
        tmp_path,
        [
            {"bytes": contents[0], "path": None},
            {"bytes": contents[1], "path": "of another machine.png"},
            {"bytes": None, "path": "2.png"},
        ],
    )
    for position in range(3):
        expected = plain[position][0]["pixel_values"]
        assert torch.equal(paths[position][0]["pixel_values"], expected)
        assert torch.equal(structs[position][0]["pixel_values"], expected)


def test_pictures_of_several_sizes_need_a_processor_that_resizes(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model")
    config = tmp_path / "model" / "preprocessor_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "do_resize": False}))
    save_class_folders(tmp_path / "train", 1)
    noise(9, 20, 20).save(tmp_path / "train" / "owl" / "large.png")
    dataset = loaded(tmp_path)
    with pytest.raises(ProjectError, match=r"owl/large\.png' has the size 20 × 20 .*others have 14 × 9"):
        dataset.check()


@pytest.mark.parametrize("fits", [True, False])
def test_pixels_are_kept_only_as_far_as_they_fit(
    fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_classifier(tmp_path / "model")
    save_class_folders(tmp_path / "train", 4)
    bytes_of_all = 12 * 3 * SIDE * SIDE * 4
    monkeypatch.setattr(image_data, "PIXELS_IN_MEMORY", bytes_of_all if fits else bytes_of_all - 1)
    source = TransformersSource(model="model", train="train", test="train", image_column="image")
    task = load_task(Project(tmp_path, Manifest(name="p", title="P", source=source)))
    read: list[str] = []
    reading = image_data.read_picture
    monkeypatch.setattr(
        image_data, "read_picture", lambda c, m, name: read.append(name) or reading(c, m, name)
    )
    assert read == [], "loading reads no picture"
    first = [batch.inputs["pixel_values"] for batch in batches(task, "train", 5)]  # type: ignore[index]
    assert len(read) - 1 <= 12, "no picture is read for its length alone"
    read.clear()
    again = [batch.inputs["pixel_values"] for batch in batches(task, "train", 5)]  # type: ignore[index]
    assert (read == []) == fits
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_checking_stops_when_asked_to(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model")
    save_class_folders(tmp_path / "train", 1)
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        loaded(tmp_path).check(Reporter(cancel=token))


def test_equal_pictures_have_equal_digests(tmp_path: Path) -> None:
    save_classifier(tmp_path / "model")
    save_class_folders(tmp_path / "train", 2)
    with Image.open(tmp_path / "train" / "cat" / "0.png") as picture:
        picture.save(tmp_path / "train" / "owl" / "the same.bmp")
    dataset = loaded(tmp_path)
    dataset.check()
    assert dataset.digests is not None
    values, counts = np.unique(dataset.digests, return_counts=True)
    assert len(values) == 6 and sorted(counts) == [1, 1, 1, 1, 1, 2]
    assert dataset.digests[0] == dataset.digests[-1]


def test_people_see_small_pictures(tmp_path: Path) -> None:
    large, small = noise(1, 1000, 500), encoded(noise(2), compress_level=1)
    grey16 = encoded(Image.fromarray(np.full((9, 9), 32896, dtype=np.uint16)))
    heavy = encoded(noise(3, 20, 20)) + b"\0" * 100_000
    stored_parquet(tmp_path, [encoded(large, "JPEG"), small, grey16, heavy])
    source = TransformersSource(
        model="model", train="train.parquet", test="train.parquet", image_column="image"
    )
    project = Project(tmp_path, Manifest(name="p", title="P", source=source))
    table, kind = example_table(load_task(project), "train", Reporter())
    assert kind == "image"
    shown = [Image.open(io.BytesIO(content)) for content in table["image"]]
    assert [picture.format for picture in shown] == ["PNG"] * 4
    assert shown[0].size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2)
    assert table["image"].iloc[1] == small, "a small PNG is kept byte for byte"
    assert np.asarray(shown[2].convert("L")).tolist() == [[128] * 9] * 9, "as the model sees it"
    assert len(table["image"].iloc[3]) < 5_000


def test_class_folders_as_a_table(tmp_path: Path) -> None:
    paths = save_class_folders(tmp_path / "train", 3)
    for clutter in (
        ".DS_Store",
        "cat/.hidden.png",
        ".git/x.png",
        "cat/Thumbs.db",
        "README.md",
        "owl/__MACOSX/a.png",
    ):
        (tmp_path / "train" / clutter).parent.mkdir(exist_ok=True)
        (tmp_path / "train" / clutter).write_text("nothing")
    table = open_table(tmp_path / "train")
    found = list(table.batches(size=4))
    assert [len(part["id"]) for part in found] == [4, 4, 1] and table.count() == 9
    assert [one for part in found for one in part["id"]] == paths == [p for q in found for p in q["image"]]
    assert [one for part in found for one in part["label"]] == [path.split("/")[0] for path in paths]


def test_a_folder_counts_as_changed_where_its_pictures_are(tmp_path: Path) -> None:
    paths = save_class_folders(tmp_path / "train", 2)
    folder = tmp_path / "train"
    before = stamp(folder)
    assert unchanged(folder, before)
    (folder / "cat" / ".DS_Store").write_text("nothing of ours")
    assert unchanged(folder, before)
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied, copy_function=shutil.copyfile)
    assert unchanged(copied, before), "a copy holds the same"
    picture = copied / paths[0]
    content = bytearray(picture.read_bytes())
    content[-20] ^= 1
    picture.write_bytes(content)
    assert not unchanged(copied, before), "of the same size, with another content"
    shutil.move(folder / paths[0], folder / paths[0].replace("cat", "dog").replace("0", "9"))
    assert not unchanged(folder, before), "the same picture in another class"
    shutil.rmtree(folder)
    assert not unchanged(folder, before)
