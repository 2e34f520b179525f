"""List models, and write samples."""

from cvkit import catalog, storage
from cvkit.commands.printing import print_json, print_models
from cvkit.console import Reporter, print_line
from cvkit.options.tools import Models, Samples


def models(options: Models) -> int:
    """List architectures and backbones, with sizes computed from the networks themselves."""
    from cvkit.models.listing import list_archs, list_backbones

    tasks = [options.task] if options.task else list(catalog.ARCHS)
    archs, backbones = list_archs(tasks), list_backbones()
    if options.json:
        print_json({"command": "models", "archs": archs, "backbones": backbones})
        return 0
    print_models(archs, backbones)
    return 0


def samples(options: Samples) -> int:
    """Write synthetic scenes as a dataset."""
    from cvkit.data.synthetic.samples import writer_of

    write = writer_of(options.task)
    val = max(1, options.count // 5)
    counts = {"train": options.count - val, "val": val}
    size_hw = (options.size, options.size)
    say = Reporter(options.quiet).warn
    hint = "choose another folder"
    with storage.output_folder(options.folder, reuse=False, say=say, hint=hint):
        try:
            write(options.folder, counts, options.seed, size_hw)
        except BaseException:  # an incomplete dataset would block the next attempt
            storage.empty_folder(options.folder)
            raise
    if options.json:
        print_json({"command": "samples", "folder": str(options.folder), "counts": counts})
    else:
        print_line(options.folder)
    return 0
