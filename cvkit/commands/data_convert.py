"""The conversion of a dataset into another format."""

from typing import Any

from cvkit.commands.data_flags import require_data_flags, task_flags
from cvkit.commands.data_written import require_new, write_dataset, writer_of
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line
from cvkit.errors import UsageError
from cvkit.format_table import TRUTH_OF
from cvkit.options.data_convert import DataConvert


def convert_data(options: DataConvert) -> int:
    """Write a dataset in another format.

    Raises:
        UsageError: flags that cannot be combined, or something is lost that must not be.
        DataError: all defects of the dataset.
    """
    from cvkit.data.conversion import convert
    from cvkit.data.formats.recognise import clear_task
    from cvkit.data.writing.contract import require_class_names
    from cvkit.tasks.labelled import labelled_class

    report = Reporter(options.quiet)
    task = options.task or clear_task(options.data, options.format, report.say)
    writer = writer_of(TRUTH_OF[task][0], options.to)
    require_data_flags(options, task)
    require_new(options.out, options.data, "--out")
    samples = labelled_class(task).read(task_flags(options, task, "train"), options.split).samples()
    if samples.classes is not None:  # masks without a list have numbered ones
        require_class_names(writer, samples.classes)
    made = convert(samples, writer.keeps, report)
    for note in samples.notes:
        report.warn(note)
    counts = _announce(made, samples.layout, options, report)
    write_dataset(options.out, made.content, writer, report, flag="--out", link=options.link)
    if options.json:
        print_json(
            {
                "command": "data convert",
                "out": str(options.out),
                "task": task,
                "from": samples.layout,
                "to": options.to,
                "splits": counts,
                "lost": list(made.lost),
            }
        )
    else:
        print_line(options.out)
    return 0


def _announce(made: Any, layout: str, options: DataConvert, report: Reporter) -> dict[str, int]:
    """Report what is converted and what is lost; return the number of samples of each split.

    Raises:
        UsageError: something is lost that must not be.
    """
    counts = {split or "all": len(items) for split, items in made.content.items.items()}
    shown = ", ".join(f"{split}: {count}" for split, count in counts.items())
    report.say(f"data: {options.data} ({layout} layout), {shown}")
    for sentence in made.lost:
        report.warn(f"lost in the format {options.to}: {sentence}")
    if made.lost and options.lossless:
        raise UsageError(
            f"--lossless: the format {options.to} cannot hold everything: {'; '.join(made.lost)}",
            code="to.lossy",
            hint="omit --lossless to write the rest, or choose another format",
        )
    return counts
