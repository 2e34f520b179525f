"""What the commands need to begin, for the tests that walk all of them."""

NEEDED = {
    ("bench",): ["segment"],
    ("compare",): ["a", "b"],
    ("data", "check"): ["dir"],
    ("data", "show"): ["folder", "--out", "x"],
    ("data", "split"): ["folder", "--out", "x"],
    ("data", "stats"): ["folder"],
    ("samples",): ["dir"],
    ("tune",): ["segment"],
    ("weights", "import"): ["file", "--out", "x"],
    ("weights", "prove"): ["file", "--data", "x"],
}
"""Arguments and flags without which a command does not begin."""
