"""What the tests of tasks share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_starts(known_batches):
    """Begin trainings without working out again what is known of their networks."""
