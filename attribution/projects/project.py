"""`Project`: a directory that holds a model, its data and everything computed about them.

    project.json       what it is made of (manifest.py)
    prepared/          predictions, examples as shown, the gradient index; prepared.json is written last
    history.sqlite     fixes (history.py)

This module reads tables and JSON only, so that the first pages of the dashboard need no torch.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attribution.errors import NotFoundError, ProjectError
from attribution.projects.files import expanded, write_text
from attribution.projects.history import History
from attribution.projects.manifest import FILE_NAME, Manifest, TaskSource, TransformersSource, read_manifest
from attribution.projects.stamps import unchanged

if TYPE_CHECKING:
    import pandas as pd

    from attribution.projects.held_out import HeldOut

PREPARED_FORMAT = 3
_BASIC_COLUMNS = {"position", "label", "text", "image"}


class Project:
    """A project directory. Construct it with `Project.open`."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self._held_out: HeldOut | None = None

    @classmethod
    def open(cls, directory: str | Path) -> Project:
        """Open an existing project.

        Raises:
            ProjectError: not a project, damaged, or unreadable.
        """
        path = expanded(directory).absolute()
        return cls(path, read_manifest(path))

    def __repr__(self) -> str:
        return f"Project({str(self.directory)!r})"

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def title(self) -> str:
        return self.manifest.title

    @property
    def summary(self) -> str:
        return self.manifest.summary

    @property
    def history(self) -> History:
        return History(self.directory)

    def resolve(self, path: str) -> Path:
        """A path of the manifest, relative ones starting at the project directory."""
        given = expanded(path)
        return given if given.is_absolute() else self.directory / given

    @property
    def prepared_directory(self) -> Path:
        return self.directory / "prepared"

    def source_files(self) -> dict[str, Path]:
        """The files that hold model, data and checkpoints, by the name they are recorded under.

        Raises:
            ProjectError: one of them is missing.
        """
        source = self.manifest.source
        if isinstance(source, TaskSource):
            files = [self.resolve(source.file)]
        else:
            model = self.resolve(source.model)
            weights = sorted(model.glob("*.safetensors")) + sorted(model.glob("*.json"))
            files = [
                *weights,
                *_data_files(self.resolve(source.train)),
                *_data_files(self.resolve(source.test)),
            ]
        files += [self.resolve(trained.path) for trained in self.manifest.ensemble]
        for checkpoint in self.manifest.every_checkpoint():
            files += [self.resolve(path) for path in (checkpoint.path, checkpoint.second_moments) if path]
        for file in files:
            if not file.exists():
                raise ProjectError(
                    f"'{file}' is missing, which project '{self.name}' needs: put it back, or make the project again."
                )
        return {self._recorded_name(file): file for file in files}

    def _recorded_name(self, file: Path) -> str:
        """Relative to the project where it lies inside, so that a project can be moved."""
        return str(file.relative_to(self.directory)) if file.is_relative_to(self.directory) else str(file)

    def recipe(self) -> str:
        """Digest of what the manifest says about source, checkpoints, training and ensemble (not its title).

        What training started from is left out: nothing that is prepared depends on it.
        """
        left_out = {"initial"}
        if isinstance(self.manifest.source, TransformersSource) and self.manifest.source.pair_column is None:
            left_out.add("pair_column")  # projects of before there were pairs stay prepared
        said = self.manifest.model_dump_json(
            include={"source", "checkpoints", "training", "ensemble"}, exclude={"source": left_out}
        )
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def earlier_stages(self) -> list[Project]:
        """The projects of the training stages before this one, the latest first.

        Raises:
            ProjectError: one of them is missing or damaged, or they follow one another in a circle.
        """
        found: list[Project] = [self]
        while found[-1].manifest.after is not None:
            before = Project.open(found[-1].resolve(found[-1].manifest.after))
            if any(before.directory.resolve() == project.directory.resolve() for project in found):
                raise ProjectError(
                    f"Project '{before.name}' would be a stage before itself: mend 'after' in the project.json of "
                    f"'{found[-1].directory}'."
                )
            found.append(before)
        return found[1:]

    # -- what was prepared --------------------------------------------------------------------------------------

    @property
    def preparation(self) -> dict[str, Any]:
        """What `prepare` recorded.

        Raises:
            ProjectError: not prepared, or its record is damaged.
        """
        file = self.prepared_directory / "prepared.json"
        try:
            record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ProjectError(
                f"Project '{self.name}' is not prepared yet: run tracefix prepare {self.directory}."
            ) from None
        except (OSError, ValueError) as error:
            raise ProjectError(
                f"'{file}' is damaged: run tracefix prepare {self.directory} to make it again."
            ) from error
        return record

    @property
    def prepared_from(self) -> str:
        """Digest of the model and the data that were prepared: what was measured of others says nothing of these.

        Raises:
            ProjectError: not prepared, or its record is damaged.
        """
        record = self.preparation
        said = [
            record["recipe"],
            sorted((name, found["sha256"]) for name, found in record["sources"].items()),
        ]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def prepared(self) -> bool:
        """Whether predictions and index are complete and belong to the model and data as they are now."""
        try:
            record = self.preparation
            complete = all(
                (self.prepared_directory / name).stat().st_size == size
                for name, size in record["files"].items()
            )
            files = self.source_files()
            return (
                complete
                and record["format"] == PREPARED_FORMAT
                and record["recipe"] == self.recipe()
                and record["sources"].keys() == files.keys()
                and all(unchanged(file, record["sources"][name]) for name, file in files.items())
            )
        except (ProjectError, OSError, KeyError, TypeError, AttributeError):
            return False

    @property
    def class_names(self) -> list[str]:
        return list(self.preparation["class_names"])

    @property
    def kind(self) -> str:
        """What a person sees of an example: "text", "image" or "other"."""
        return str(self.preparation["kind"])

    def examples(self, split: str) -> pd.DataFrame:
        """Examples of ``"train"`` or ``"test"`` as shown to people, by id."""
        return self._tables[f"{split}_examples"]

    def predictions(self, split: str) -> pd.DataFrame:
        """Label, predicted class, confidence, loss (nats) and probabilities p_0.. of each example, by id."""
        return self._tables[f"{split}_predictions"]

    @property
    def held_out(self) -> HeldOut | None:
        """How probable each training label is for a model that was not shown it; None until that is computed."""
        if self._held_out is None:
            from attribution.projects.held_out import stored_held_out

            labels = self.predictions("train")["label"].to_numpy()
            self._held_out = stored_held_out(self.prepared_directory / "index", labels)
        return self._held_out

    @cached_property
    def _tables(self) -> _Tables:
        return _Tables(self)

    # -- words for people and scripts ---------------------------------------------------------------------------

    def mispredictions(self) -> list[dict[str, Any]]:
        """Wrongly predicted test examples, worst loss first."""
        table = self.predictions("test")
        wrong = table[table["label"] != table["predicted"]].sort_values(
            "loss", ascending=False, kind="stable"
        )
        return self._described_predictions("test", wrong)

    def example(self, split: str, example_id: str) -> dict[str, Any]:
        """One example with the model's prediction.

        Raises:
            NotFoundError: no example of that id, with the nearest ids.
        """
        self.position(split, example_id)
        return self._described_predictions(split, self.predictions(split).loc[[str(example_id)]])[0]

    def position(self, split: str, example_id: str) -> int:
        """Row number of an id.

        Raises:
            NotFoundError: no example of that id.
        """
        table = self.predictions(split)
        try:
            return int(table.index.get_loc(str(example_id)))
        except KeyError:
            near = difflib.get_close_matches(str(example_id), list(table.index[:50_000]), n=3)
            hint = f"did you mean {', '.join(repr(n) for n in near)}?" if near else "ids look like"
            known = "" if near else " " + ", ".join(repr(i) for i in table.index[:3]) + "."
            raise NotFoundError(
                f"There is no {split} example '{example_id}' in project '{self.name}': {hint}{known}"
            ) from None

    def describe(self, split: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Id, label (class name), input and metadata of the given examples."""
        names = self.class_names
        table = self.examples(split).loc[list(ids)]
        metadata = [column for column in table.columns if column not in _BASIC_COLUMNS]
        return [
            {"id": example_id, "label": names[int(row["label"])], "input": shown_input(row)}
            | {column: row[column] for column in metadata}
            for example_id, row in zip(table.index, table.to_dict("records"), strict=True)
        ]

    def _described_predictions(self, split: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
        names = self.class_names
        shown = self.examples(split).loc[rows.index].to_dict("records")
        return [
            {
                "id": example_id,
                "true": names[int(row["label"])],
                "predicted": names[int(row["predicted"])],
                "confidence": float(row["confidence"]),
                "loss": float(row["loss"]),
                "input": shown_input(example),
            }
            for example_id, row, example in zip(rows.index, rows.to_dict("records"), shown, strict=True)
        ]


def _data_files(path: Path) -> list[Path]:
    """What holds a split: its table, a folder of pictures, or all files of the folder that a dataset was saved in."""
    if not (path / "state.json").is_file():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file())


class _Tables:
    """Parquet tables of a prepared project, read once each."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._loaded: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._loaded:
            import pandas as pd  # the landing page needs no table, and pandas takes a while to import

            expected = int(self._project.preparation[f"n_{name.split('_')[0]}"])
            file = self._project.prepared_directory / f"{name}.parquet"
            remedy = f"run tracefix prepare {self._project.directory} to make it again"
            try:
                table = pd.read_parquet(file)
            except Exception as error:  # pyarrow raises its own classes for each kind of damage
                raise ProjectError(f"'{file}' is missing or damaged: {remedy}.") from error
            if len(table) != expected:
                raise ProjectError(f"'{file}' has {len(table)} rows instead of {expected}: {remedy}.")
            self._loaded[name] = table
        return self._loaded[name]


def shown_input(row: dict[Any, Any]) -> str:
    """What a script gets of an input: its text, or the picture as a data URI."""
    if row.get("image") is not None:
        return "data:image/png;base64," + base64.b64encode(row["image"]).decode()
    return str(row.get("text", ""))


def create_project(directory: str | Path, manifest: Manifest) -> Project:
    """Write ``project.json`` into a directory and open the project.

    Raises:
        ProjectError: a file that the manifest names is missing, or the folder cannot be written.
    """
    path = expanded(directory).absolute()
    Project(path, manifest).source_files()
    write_text(path / FILE_NAME, manifest.model_dump_json(indent=2) + "\n")
    return Project.open(path)
