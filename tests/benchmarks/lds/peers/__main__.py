"""One peer on one problem, in the peers' environment: python -m lds.peers PEER PROBLEM ANSWER."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from ..exchange import Answer, read_problem, write_answer
from ..timing import timed
from .registry import PEERS


def main(name: str, problem_file: str, answer_file: str) -> None:
    torch.set_num_threads(1)
    peer = PEERS[name]
    adapter = importlib.import_module(f".{peer.adapter}", __package__)
    problem = read_problem(Path(problem_file))
    scores, seconds = timed(lambda: adapter.scores(problem, **peer.options))
    write_answer(Path(answer_file), Answer(scores, seconds, version(peer.package)))


if __name__ == "__main__":
    main(*sys.argv[1:])
