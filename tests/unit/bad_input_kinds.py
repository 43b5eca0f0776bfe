"""What people give to `tracefix new`, one kind of mistake after another, and what the refusal must say."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.unit.bad_input import (
    NONE_TASK,
    ROWS,
    TENSORS_TASK,
    WORDS_TASK,
    Kind,
    bomb,
    checkpoint,
    config,
    cut,
    empty_class,
    empty_folder,
    file_there,
    flat_folder,
    gzip_bomb,
    link_in_folder,
    link_out,
    of_pictures,
    of_task,
    of_texts,
    one_output,
    other_weights,
    own_code,
    parquet,
    pickled_checkpoint,
    pickled_weights,
    picture_file,
    picture_table,
    pictures_that_are_numbers,
    pipe,
    pipe_in_folder,
    project_there,
    table,
    text_rows,
    without,
    zipped,
)
from tests.unit.image_files import encoded, noise


def of_models() -> Iterator[Kind]:
    """The model folder."""
    yield Kind("missing model folder", "no folder '.*none': give", lambda p: of_texts(p, model="none"))
    yield Kind(
        "model folder is a file", "no folder '.*train.csv': give", lambda p: of_texts(p, model="train.csv")
    )
    yield Kind("no config", r"model' .*no config\.json.*: ", without("model/config.json"))
    yield Kind("broken config", r"model.*config.*: ", cut("model/config.json", 0.5, of_texts))
    yield Kind("unknown architecture", r"model'.*perceptron9000.*: ", config(model_type="perceptron9000"))
    yield Kind("code of its own", r"model'.*: ", own_code)
    yield Kind("no weights", r"model'.*safetensors|weights.*: ", without("model/model.safetensors"))
    yield Kind("weights in a harmful pickle", r"model.*: ", pickled_weights)
    yield Kind("weights of another architecture", r"model' has no weights for '.*: give", other_weights)
    yield Kind("cut weights", r"model.*: ", cut("model/model.safetensors", 0.6, of_texts))
    yield Kind("one output", r"model' has (1|one) output.*: ", one_output)
    yield Kind("no tokenizer", r"tokenizer in '.*model'.*: save it", without("model/token*"))
    yield Kind(
        "no image processor",
        r"image processor in '.*image-model'.*: save it",
        without("image-model/*processor*", of=of_pictures),
    )
    yield Kind(
        "a model of texts for pictures",
        r"model'.*: ",
        lambda p: of_pictures(p, "train-pictures", "--model", str(p / "model")),
    )
    yield Kind(
        "a model of pictures for texts", r"image-model'.*: ", lambda p: of_texts(p, model="image-model")
    )


def of_tables() -> Iterator[Kind]:
    """Tables of texts."""
    yield Kind("missing table", r"no file '.*none.csv': give", lambda p: of_texts(p, train="none.csv"))
    yield Kind("a pipe for a table", r"no file '.*bad.csv': give", pipe)
    yield Kind("another kind of file", r"bad.xlsx' is not a CSV.*: convert", table("x", "bad.xlsx"))
    yield Kind("empty table", r"bad.csv' .*: ", table(""))
    yield Kind("header only", r"bad.csv' has no rows: give", table("text,label\n"))
    yield Kind(
        "wrong text column",
        r"train.csv' has no column 'review': its columns",
        lambda p: of_texts(p, "--text", "review"),
    )
    yield Kind(
        "wrong label column",
        r"train.csv' has no column 'stars': its columns",
        lambda p: of_texts(p, "--label", "stars"),
    )
    yield Kind(
        "wrong id column",
        r"train.csv' has no column 'key': its columns",
        lambda p: of_texts(p, "--id", "key"),
    )
    yield Kind("unclear column", r"bad.csv'.*--text", table("words,label\ngood,0\n"), 2)
    yield Kind(
        "text and image",
        "--text and --image exclude each other: ",
        lambda p: of_texts(p, "--text", "text", "--image", "text"),
        2,
    )
    yield Kind(
        "missing label", r"bad.csv' row 2 has no label in column 'label': fill", table(text_rows("bad", ""))
    )
    yield Kind(
        "unknown label",
        r"bad.csv' row 2 has the label 'splendid' in column 'label'.*: ",
        table(text_rows("bad", "splendid")),
    )
    yield Kind(
        "label out of range",
        r"bad.csv' row 2 has the label '7' in column 'label'.*: ",
        table(text_rows("bad", "7")),
    )
    yield Kind(
        "a label that is a list",
        r"bad.parquet' row 1 .*'label'.*: name",
        parquet({"text": ["a", "b"], "label": [[0], [1]]}),
    )
    yield Kind(
        "an id twice",
        r"bad.csv'.*id 'a'.*rows? .*: ",
        table("id,text,label\na,good,0\na,bad,1\n", "bad.csv", "--id", "id"),
    )
    yield Kind(
        "missing id",
        r"bad.csv' row 2 has no id in column 'id': give",
        table("id,text,label\na,good,0\n,bad,1\n", "bad.csv", "--id", "id"),
    )
    yield Kind(
        "two columns of a name", r"bad.csv' has two columns 'text': rename", table("text,text,label\na,b,0\n")
    )
    yield Kind(
        "a row too long",
        r"bad.csv' row 2 \(line 3\) has 3 fields.*: put quotes",
        table("text,label\ngood,0\nbad, film,1\n"),
    )
    yield Kind("mixed separators", r"bad.csv' row 2 .*: ", table("text,label\ngood,0\nbad;1\n"))
    yield Kind("an open quote", r"bad.csv' row 2 .*quote.*: ", table('text,label\ngood,0\n"bad,1\nfilm,0\n'))
    yield Kind("NUL characters", r"bad.csv'.*NUL.*: ", table("text,label\ngood,0\nba\0d,1\n"))
    yield Kind(
        "a line of 1 MB", r"bad.csv' row 2 .*million characters.*: ", table(text_rows("good " * 250_000))
    )
    yield Kind("a binary file", r"bad.csv'.*: ", table(encoded(noise(1))))
    yield Kind("no encoding fits", r"bad.csv'.*line.*: ", table(b"text,label\n\x81\x8d good,0\n"))
    yield Kind("cut gzip", r"bad.csv.gz' cannot be read.*: mend", zipped(ROWS.encode() * 500, 0.5))
    yield Kind("gzip bomb", r"bad.csv.gz' unpacks to more than 100 times.*: check", gzip_bomb)
    yield Kind(
        "no Parquet", r"bad.parquet' cannot be read.*: mend", table("PAR1 but no Parquet", "bad.parquet")
    )
    yield Kind(
        "cut Parquet",
        r"bad.parquet' cannot be read.*: mend",
        cut("bad.parquet", 0.7, parquet({"text": ["a"] * 99, "label": [0] * 99})),
    )
    yield Kind(
        "nested column",
        r"bad.parquet' row 1 .*'text'.*: name",
        parquet({"text": [{"en": "good"}, {"en": "bad"}], "label": [0, 1]}),
    )
    yield Kind(
        "broken JSON line",
        r"bad.jsonl'.*(line|row) 2.*: ",
        table('{"text": "a", "label": 0}\n{"text": "b",\n', "bad.jsonl"),
    )
    yield Kind("JSON lines of arrays", r"bad.jsonl'.*: ", table('["a", 0]\n["b", 1]\n', "bad.jsonl"))
    yield Kind(
        "half a character",
        r"bad.jsonl' row 1 holds half a surrogate.*: ",
        table('{"text": "\\ud800", "label": 0}\n', "bad.jsonl"),
    )


def of_picture_data() -> Iterator[Kind]:
    """Pictures, in tables and in folders."""
    yield Kind(
        "missing picture",
        r"pictures.csv' row 3 names the picture 'none.png'.*: put",
        picture_table("none.png"),
    )
    yield Kind(
        "a picture outside",
        r"pictures.csv' row 3 names .*leads out of.*: copy",
        picture_table("../x/../../out.png"),
    )
    yield Kind(
        "an absolute path",
        r"pictures.csv' row 3 names .*absolute path: write",
        picture_table("{place}/picture.png"),
    )
    yield Kind(
        "a link that leads out",
        r"pictures.csv' row 3 names .*leads out of.*: copy",
        picture_table("link.png", link_out),
    )
    yield Kind("no path", r"pictures.csv' row 3 has no picture: give", picture_table('""'))
    yield Kind(
        "a file that is no picture",
        r"pictures.csv' row 3 holds no readable picture.*: mend",
        picture_table("train.csv"),
    )
    yield Kind(
        "a pipe for a picture",
        r"pictures.csv' row 3 names 'pipe'.*: name",
        picture_table("pipe", lambda p: os.mkfifo(p / "pipe")),
    )
    yield Kind(
        "no pictures in the column",
        r"numbers.parquet' row 1 holds a value of type int.*: give",
        pictures_that_are_numbers,
    )
    yield Kind(
        "a cut picture",
        r"cat/cut.png' holds no readable picture.*: mend",
        picture_file("cat/cut.png", encoded(noise(1))[:-100]),
    )
    yield Kind(
        "a picture bomb",
        r"cat/bomb.png' holds a picture .*67,108,864 pixels: make",
        picture_file("cat/bomb.png", bomb()),
    )
    yield Kind(
        "a text among pictures",
        r"cat/notes.txt' holds no readable picture.*: mend",
        picture_file("cat/notes.txt", b"notes"),
    )
    yield Kind("a pipe among pictures", r"cat/pipe.png' is a pipe.*: remove", pipe_in_folder)
    yield Kind(
        "a folder of an unknown class",
        r"train-pictures/wolf' is called 'wolf'.*'cat', 'dog', 'owl'",
        picture_file("wolf/a.png", encoded(noise(1))),
    )
    yield Kind("an empty class folder", r"train-pictures/wolf' holds no pictures: fill", empty_class)
    yield Kind("pictures without a class", r"flat/a.png' is in no class folder: move", flat_folder)
    yield Kind("an empty folder", r"empty' is neither a folder of pictures.*: make", empty_folder)
    yield Kind("a link out of a folder", r"cat/link.png' is a link that leads out.*: put", link_in_folder)
    yield Kind(
        "a text column of a folder",
        r"train-pictures' has no column 'text': its columns",
        lambda p: of_pictures(p, "train-pictures", "--text", "text"),
    )


def of_tasks() -> Iterator[Kind]:
    """Projects and task files."""
    yield Kind("a project that exists", r"p' already is a project: choose", project_there)
    yield Kind("a file where the project should be", r"p' is a file: choose", file_there)
    yield Kind("missing task file", r"no file '.*none.py': give", lambda p: ["--task", f"{p}/none.py:build"])
    yield Kind("no function named", r"FILE.py:FUNCTION", lambda p: ["--task", f"{p}/task.py"], 2)
    yield Kind(
        "missing function", r"task.py' has no function 'build'", lambda p: ["--task", f"{p}/task.py:build"]
    )
    yield Kind(
        "a syntax error", r"task.py' has a syntax error in line \d+.*: mend", lambda p: of_task(p, "((")
    )
    yield Kind(
        "a failing function",
        r"task.py:build fails \(.*no weights.*\): mend",
        lambda p: of_task(p, "1", "raise OSError('no weights')"),
    )
    yield Kind("a function that leaves", r"task.py:build .*: ", lambda p: of_task(p, "1", "sys.exit(3)"))
    yield Kind("another type", r"task.py:build returned int: it must return", lambda p: of_task(p, "1"))
    yield Kind("NaN logits", r"NaN or infinity.*: check", lambda p: of_task(p, "task(nan=True)"), 2)
    yield Kind(
        "inputs of another shape",
        r"does not take the train examples '0', '1'.*: the datasets",
        lambda p: of_task(p, "task(inputs=5)"),
        2,
    )
    yield Kind(
        "more logits than names",
        r"3 logits for 2 class names: give",
        lambda p: of_task(p, "task(logits=3)"),
        2,
    )
    yield Kind(
        "labels out of range",
        r"train example '2' has the label 2: labels must",
        lambda p: of_task(p, "task(labels=3)"),
        2,
    )
    yield Kind(
        "labels that are words",
        r"labels of the train data.*: its items",
        lambda p: of_task(p, "task_of_words()", WORDS_TASK),
        2,
    )
    yield Kind(
        "items that are no pairs",
        r"train examples .*items must be \(input, label\)",
        lambda p: of_task(p, "task_of_tensors()", TENSORS_TASK),
        2,
    )
    yield Kind(
        "no examples", r"train data is empty: give", lambda p: of_task(p, "task_of_none()", NONE_TASK), 2
    )
    yield Kind(
        "an id twice in a task",
        r"id 'a' occurs more than once: ids .*: mend",
        lambda p: of_task(p, "task(train_ids=['a'] * 8)"),
    )
    yield Kind(
        "too few ids in a task",
        r"There are 1 train ids for 8 .*: give",
        lambda p: of_task(p, "task(train_ids=['a'])"),
    )


def of_training() -> Iterator[Kind]:
    """Checkpoints, and what training started from."""
    yield Kind(
        "no checkpoints",
        r"matches --checkpoints '.*': ",
        lambda p: of_texts(p, "--checkpoints", f"{p}/steps-*"),
    )
    yield Kind("a checkpoint without a step", r"last' has no step.*: call", checkpoint("last"))
    yield Kind("a checkpoint by pickle", r"checkpoint-5.*: ", pickled_checkpoint)
    yield Kind(
        "no further models", r"matches --ensemble '.*': ", lambda p: of_texts(p, "--ensemble", f"{p}/seed-*")
    )
    yield Kind(
        "no pre-trained model", r"no folder '.*none': give", lambda p: of_texts(p, "--initial", f"{p}/none")
    )
    yield Kind(
        "no earlier stage", r"No project at '.*none': give", lambda p: of_texts(p, "--after", f"{p}/none")
    )


def kinds() -> Iterator[Kind]:
    """All of them."""
    for part in (of_models, of_tables, of_picture_data, of_tasks, of_training):
        yield from part()
