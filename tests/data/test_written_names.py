"""Every name that a writer accepts is the same when its format is read; others are refused."""

from dataclasses import replace

import numpy as np
import pytest
from test_conversion import COUNTS, SIZE_HW, WRITTEN, contents

from cvkit.commands.data_written import write_dataset, writer_of
from cvkit.console import Reporter
from cvkit.data.conversion import convert
from cvkit.data.synthetic.samples import WRITERS
from cvkit.data.writing.contract import require_class_names, require_file_names
from cvkit.errors import DataError
from cvkit.format_table import TRUTH_OF
from cvkit.options.tree import task_options
from cvkit.structures import ClassList
from cvkit.tasks.labelled import labelled_class

NAMES = [
    *("a\nb", "c\rd", "e\x01f", "\x7f", " g", "h ", "i\u2028j", "k\x85l", "m\x0bn", "\x1c", "o\tp"),
    *(
        'q"r',
        "s,t",
        "u;v",
        "w#1",
        "#x",
        "ünï 图",
        "ä",
        "a\u0308",
        "y&<z>",
        "'",
        "-1",
        "+",
        ":",
        "::",
    ),
    *(
        "%20",
        "A 1",
        "1",
        "07",
        "1.5",
        "null",
        "yes",
        "~",
        "*",
        "[b]",
        "{c}",
        "!",
        "@",
        "|",
        ">",
        "=",
    ),
    *("train", "images", "data", "é\udce9", "\U0001f600", "`", "\\", "$HOME", "a b c", "1 2 3"),
]
CLASS_NAMES = [
    *(name for name in NAMES if name.strip()),
    "a/b",
    ".",
    "..",
    ".d",
    "e 1 2 3",
    "1,2,3 f",
    "g:1,2,3",
]
STRIPPED = {" g", "h "}
BROKEN = {"a\nb", "c\rd"}
NOT_XML = {"e\x01f", "m\x0bn", "é\udce9"}
NO_COLORS = {*BROKEN, *STRIPPED, "#x", "é\udce9"}
NO_CLASS = {
    "lines": {*NO_COLORS, "e 1 2 3", "1,2,3 f", "g:1,2,3"},
    "colors": NO_COLORS,
    "folders": {"a/b", ".", "..", ".d", *(n for n in NAMES if n.strip() and not n.isprintable())},
    "text": {"é\udce9"},
    "xml": NOT_XML,
}
NO_FILE = {"listed": {*BROKEN, *STRIPPED, "\x1c"}, "xml": {*NOT_XML, "\x1c"}, "text": {"é\udce9"}}
"""Names that each limit refuses."""
PAIRS = [(task, to) for task, formats in WRITTEN.items() for to in formats]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    made = {}
    for task, write in WRITERS.items():
        root = made[task] = tmp_path_factory.mktemp(f"names-{task}")
        write(root, COUNTS, 3, SIZE_HW)
    return made


def accepted(names, require):
    """Return the names that a function does not refuse, and the others."""
    kept, refused = [], set()
    for name in names:
        try:
            require(name)
            kept.append(name)
        except DataError:
            refused.add(name)
    return kept, refused


def other(item):
    """Return an item of the other split."""
    return replace(item, split="val", name="in-val")


def class_list(names):
    return ClassList(
        tuple(names), tuple(range(1, len(names) + 1)), tuple((n, 0, 9) for n in range(len(names)))
    )


@pytest.mark.parametrize(("task", "to"), PAIRS)
def test_what_a_writer_accepts_its_reader_reads(sources, tmp_path, task, to):
    truth, _ = TRUTH_OF[task]
    writer = writer_of(truth, to)
    report = Reporter(quiet=True)
    options = task_options(task, "train")(data=sources[task])
    samples = labelled_class(task).read(options, ()).samples()
    content = convert(samples, writer.keeps, report).content
    first = content.items["train"][0]

    names, refused = accepted(CLASS_NAMES, lambda n: require_class_names(writer, class_list([n])))
    assert refused == set().union(*(NO_CLASS.get(limit, set()) for limit in writer.limits))
    classes = class_list(names if truth != "masks" else ["background", *names])
    require_class_names(writer, classes)

    def item(name, number=0):
        labels = first.labels
        if truth == "classes":
            labels = replace(labels, label=names[number])
        elif truth != "masks":
            one = labels.truth.pick(np.arange(1))
            one = replace(one, labels=np.full(1, number + 1), crowd=None, areas=None)
            labels = replace(labels, truth=one)
        return replace(first, name=name, labels=labels)

    def only(name):
        return replace(content, items={"train": [item(name)]})

    files, refused = accepted(NAMES, lambda name: require_file_names(writer, only(name)))
    assert refused == set().union(*(NO_FILE.get(limit, set()) for limit in writer.limits))
    files += [f"file-{number}" for number in range(len(names) - len(files))]
    items = [item(name, number % len(names)) for number, name in enumerate(files)]
    made = replace(content, classes=classes, items={"train": items, "val": [other(items[0])]})
    write_dataset(tmp_path / "new", made, writer, report, flag="--out", link=False)

    found = contents(task, tmp_path / "new", to)["train"]
    assert found.keys() == set(files)
    for number, name in enumerate(files):
        if truth == "classes":
            assert found[name] == names[number % len(names)]
        elif truth != "masks":
            assert [label for label, _ in found[name]] == [names[number % len(names)]]
    if truth == "masks":
        options = task_options(task, "train")(data=tmp_path / "new", format=to)
        read = labelled_class(task).read(options, ())
        assert read.classes.names == classes.names


@pytest.mark.parametrize("to", WRITTEN["detect"])
def test_boxes_of_less_than_a_pixel_are_the_same(sources, tmp_path, to):
    writer, report = writer_of("boxes", to), Reporter(quiet=True)
    options = task_options("detect", "train")(data=sources["detect"])
    content = convert(labelled_class("detect").read(options, ()).samples(), writer.keeps, report)
    first = content.content.items["train"][0]
    box = np.array([[10.25, 10.5, 10.5, 10.75]])
    one = replace(first.labels.truth.pick(np.arange(1)), boxes=box, xywh=None, areas=None)
    item = replace(first, labels=replace(first.labels, truth=one))
    made = replace(content.content, items={"train": [item], "val": [other(item)]})
    write_dataset(tmp_path / "new", made, writer, report, flag="--out", link=False)
    ((_, found),) = contents("detect", tmp_path / "new", to)["train"][first.name]
    assert np.allclose(found, [10.25, 10.5, 0.25, 0.25], atol=1e-4)
