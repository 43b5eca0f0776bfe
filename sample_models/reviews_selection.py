"""Choose the sentences of the `reviews` sample again, from the table (id, rating, text) of all rated sentences:

    python -m sample_models.reviews_selection FILE.csv.gz

Sentences that people rate near neutral are left out, because neither label would be right for them; of sentences
that differ in punctuation or case only, one is kept, so that none is in both splits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sample_models.reviews import SHIPPED
from sample_models.tables import write_table

TRAIN_SIZE = 6000
TEST_SIZE = 2000
NEAR_NEUTRAL = 0.5
"""Ratings nearer to 0 than this, on the scale -4..4, get no label."""
SEED = 0


def select(rated: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of both splits, in random order."""
    clear = rated[rated["rating"].abs() >= NEAR_NEUTRAL]
    clear = clear[~comparable(clear["text"]).duplicated()]
    order = np.random.default_rng(SEED).permutation(len(clear))
    return {
        "train": clear.iloc[order[:TRAIN_SIZE]],
        "test": clear.iloc[order[TRAIN_SIZE : TRAIN_SIZE + TEST_SIZE]],
    }


def comparable(texts: pd.Series) -> pd.Series:
    """The words of each text only: no case, no punctuation."""
    return texts.str.lower().str.replace(r"\W+", " ", regex=True).str.strip()


def main(source: Path) -> None:
    """Write the tables that are shipped."""
    for split, rows in select(pd.read_csv(source)).items():
        write_table(
            SHIPPED / f"{split}.parquet",
            {
                "id": [f"review-{number:05d}" for number in rows["id"]],
                "text": rows["text"].tolist(),
                "label": ["positive" if rating > 0 else "negative" for rating in rows["rating"]],
                "rating": rows["rating"].tolist(),
            },
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
