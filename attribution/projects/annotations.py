"""Notes and tags on examples, in the project's history file, so that a team shares them. Light: no torch."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

SCHEMA = """
CREATE TABLE IF NOT EXISTS annotations (
    split      TEXT NOT NULL,
    example_id TEXT NOT NULL,
    record     TEXT NOT NULL,
    PRIMARY KEY (split, example_id)
)
"""

LONGEST_TAG = 40
"""Characters of a tag."""

MOST_TAGS = 12


class Annotation(BaseModel):
    """What people wrote about an example."""

    note: str = ""
    tags: list[str] = Field(default_factory=list)
    changed: str = ""
    """When, in UTC."""

    @property
    def empty(self) -> bool:
        return not (self.note or self.tags)

    @classmethod
    def written(cls, note: str, tags: list[str]) -> Annotation:
        """One written now; tags lose spaces around them, repetitions and what is beyond their limits."""
        clean = dict.fromkeys(" ".join(tag.split())[:LONGEST_TAG].strip() for tag in tags)
        return cls(
            note=note.strip(),
            tags=[tag for tag in clean if tag][:MOST_TAGS],
            changed=datetime.now(UTC).isoformat(timespec="seconds"),
        )
