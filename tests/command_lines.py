"""What the commands need to begin, for the tests that walk all of them, and what they end with."""

import json
from dataclasses import dataclass

NEEDED = {
    ("bench",): ["segment"],
    ("compare",): ["a", "b"],
    ("data", "check"): ["dir"],
    ("data", "convert"): ["dir", "--to", "coco", "--out", "x"],
    ("data", "show"): ["folder", "--out", "x"],
    ("data", "split"): ["folder", "--out", "x"],
    ("data", "stats"): ["folder"],
    ("samples",): ["dir"],
    ("tune",): ["segment"],
    ("weights", "average"): ["a", "b", "--out", "x"],
    ("weights", "import"): ["file", "--out", "x"],
    ("weights", "prove"): ["file", "--data", "x"],
}
"""Arguments and flags without which a command does not begin."""


@dataclass
class Outcome:
    """The end of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        lines = self.out.strip().splitlines()
        assert len(lines) == 1, f"stdout must be one object: {self.out!r}"
        return json.loads(lines[0])
