"""Loading a function named ``FILE.py:FUNCTION``."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attribution.errors import NotFoundError, ProjectError, UsageError
from attribution.projects.files import expanded, is_file


def split_name(name: str) -> tuple[str, str]:
    """``FILE.py:FUNCTION`` as its two parts.

    Raises:
        UsageError: not of that form.
    """
    file, separator, function = name.rpartition(":")
    if not separator or not file.endswith(".py") or not function.isidentifier():
        raise UsageError(f"'{name}' is not of the form FILE.py:FUNCTION, for example task.py:build.")
    return file, function


def load_function(name: str, directory: Path | None = None) -> Callable[..., Any]:
    """Run the file and return the function; a relative file starts at ``directory`` or the current one.

    Raises:
        NotFoundError: no such file or function.
        ProjectError: the file fails when it is run.
    """
    file, function = split_name(name)
    path = expanded(file)
    if not path.is_absolute():
        path = (directory or Path.cwd()) / path
    if not is_file(path):
        raise NotFoundError(f"There is no file '{path}': give an existing Python file as FILE.py:FUNCTION.")
    module_name = "tracefix_user_" + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickling look modules up by name
    try:
        with importing_beside(path):
            spec.loader.exec_module(module)
    # A file that leaves the process must not end ours without a word.
    except (Exception, SystemExit) as error:
        raise ProjectError(
            f"'{path}' fails when run ({describe(error)}): mend the file and try again."
        ) from error
    found = getattr(module, function, None)
    if not callable(found):
        raise NotFoundError(f"'{path}' has no function '{function}': name one that it defines.")
    return found  # type: ignore[no-any-return]


@contextmanager
def importing_beside(file: Path) -> Iterator[None]:
    """Let modules that lie beside a file be imported, as if it were run as a script."""
    folder = str(file.parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def describe(error: BaseException) -> str:
    """An exception in a few words."""
    if isinstance(error, SyntaxError):
        return f"syntax error in line {error.lineno}: {error.msg}"
    text = first_sentence(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def first_sentence(text: str) -> str:
    """How a message of a library begins, without its full stop: it becomes part of a sentence of ours."""
    line = text.strip().partition("\n")[0]
    return re.split(r"\. (?=[A-Z])", line, maxsplit=1)[0].strip().rstrip(".")
