"""A layout: the names and conventions of another project's complete network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cvkit.catalog import ARCHS, BACKBONES
from cvkit.errors import ModelFileError, UsageError
from cvkit.models.layouts.names import Rule, has_names
from cvkit.models.layouts.smp_settings import Possible


@dataclass(frozen=True)
class Layout:
    """A network of another project.

    Attributes:
        project: for messages.
        network: its name there, for messages.
        arch: of cvkit; "" if cvkit has no such network.
        marks: patterns, each of which matches a name in every such file and, together, in no other.
        rules: from its names to cvkit's.
        form: key of `Segmenter.forms`.
        scores: cvkit's name of the layer that scores the classes, of networks that label pixels.
        left: patterns of tensors that are not imported, and what they are.
        possible: settings of segmentation_models.pytorch that cvkit's network can have.
    """

    project: str
    network: str
    arch: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    form: str = ""
    scores: str = ""
    left: tuple[tuple[str, str], ...] = ()
    possible: Possible | None = None

    @property
    def title(self) -> str:
        """What a file was recognised as."""
        return f"{self.network} of {self.project}"


def recognise(layouts: Sequence[Layout], tensors: Mapping[str, Tensor]) -> Layout | None:
    """Return the first layout whose marks are in a file; None if there is none."""
    return next((each for each in layouts if has_names(tensors, each.marks)), None)


def require_fit(layout: Layout, task: str, arch: str, backbone: str | None) -> None:
    """Check that a recognised file is of the network that the flags name.

    Raises:
        ModelFileError: cvkit has no such network.
        UsageError: the flags name another one.
    """
    if not layout.arch:
        raise ModelFileError(
            f"the file has the names of {layout.title}, which cvkit does not have",
            code="import.unsupported",
            hint="its backbone can be used: --pretrained of train",
        )
    if layout.arch not in ARCHS[task]:
        raise UsageError(
            f"the file has the names of {layout.title}, which --task {task} does not have",
            code="import.arch",
            hint=f"--task {next(t for t, archs in ARCHS.items() if layout.arch in archs)}",
        )
    if layout.arch != arch:
        raise UsageError(
            f"the file has the names of {layout.title}, not of --arch {arch}",
            code="import.arch",
            hint=f"--arch {layout.arch}",
        )
    if backbone not in BACKBONES or BACKBONES[str(backbone)].single_map != "resnet":
        known = [name for name, entry in BACKBONES.items() if entry.single_map == "resnet"]
        raise UsageError(
            f"--backbone {backbone}: {layout.title} is imported with a ResNet only",
            code="import.backbone",
            hint=", ".join(known),
        )
