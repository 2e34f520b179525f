"""The splits that a dataset has, by its own names."""

from cvkit.data.division import ALL, splits_of
from cvkit.data.formats.contract import Query
from cvkit.data.formats.recognise import reader_of
from cvkit.errors import DataError
from cvkit.format_table import Truth


def dataset_splits(truth: Truth, layout: str, query: Query) -> list[str]:
    """Return the names of a dataset's splits in the usual order; `all` for data without splits.

    Args:
        truth: the kind of labels that it has.
        layout: the name of its format.
        query: the dataset.

    Raises:
        DataError: it has neither splits nor a part that could be divided.
    """
    contents = reader_of(truth, layout).read(query)
    names = splits_of(contents.known, contents.heap)
    if not names:
        raise DataError(f"{query.root} has no samples", code="split.missing", hint=contents.hint)
    return [name or ALL for name in names]
