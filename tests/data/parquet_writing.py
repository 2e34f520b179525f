"""Parquet files as the package datasets writes them, for tests."""

import importlib.util
import io
import json

import pytest

INSTALLED = importlib.util.find_spec("pyarrow") is not None
REASON = "pyarrow is not installed: pip install 'cvkit[parquet]'"
needs_pyarrow = pytest.mark.skipif(not INSTALLED, reason=REASON)


def names_of(*names):
    """Return the description of a column of classes."""
    return {"names": [*names], "_type": "ClassLabel"}


def parquet(images, group=2, features=None, image="image", **columns):
    """Return the content of a parquet file.

    Args:
        images: the content of each image file; None, or a path without content.
        group: number of rows in a row group.
        features: the description of the other columns.
        image: name of the column of images.
        columns: the values of the others.
    """
    pyarrow = pytest.importorskip("pyarrow", reason=REASON)
    writer = pytest.importorskip("pyarrow.parquet", reason=REASON)
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    structs = [
        each if each is None else {"path" if isinstance(each, str) else "bytes": each}
        for each in images
    ]
    table = pyarrow.table({image: pyarrow.array(structs, kind), **columns})
    described = {"info": {"features": {image: {"_type": "Image"}, **(features or {})}}}
    stream = io.BytesIO()
    made = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    writer.write_table(made, stream, row_group_size=group)
    return stream.getvalue()


def labelled(images, labels, names=("cat", "dog"), **more):
    """Return a file of images with numbers of classes."""
    features = {"label": names_of(*names)} if names else {}
    return parquet(images, features=features, label=labels, **more)


def boxed(images, objects, names=("cat", "dog"), **more):
    """Return a file of images with objects."""
    described = {"feature": {"category": names_of(*names)}, "_type": "Sequence"} if names else {}
    return parquet(images, features={"objects": described}, objects=objects, **more)


def one(*box, category=0):
    """Return the objects of an image with one, or with none."""
    return {"bbox": [[*map(float, box)]] * bool(box), "category": [category] * bool(box)}


def renamed(content, old, new):
    """Return a file whose schema has other names of classes."""
    writer = pytest.importorskip("pyarrow.parquet", reason=REASON)
    table = writer.read_table(io.BytesIO(content))
    stored = table.schema.metadata[b"huggingface"].decode()
    assert json.dumps([*old]) in stored
    described = stored.replace(json.dumps([*old]), json.dumps([*new]))
    stream = io.BytesIO()
    writer.write_table(table.replace_schema_metadata({"huggingface": described}), stream)
    return stream.getvalue()
