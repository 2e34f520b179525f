"""Exported files in the place of the networks that they were made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cvkit.errors import UsageError
from cvkit.export.formats import FORMATS, Run
from cvkit.export.signature import Signature


@dataclass(frozen=True)
class ServedFile:
    """An exported file that is ready to run.

    Attributes:
        path: of the file.
        signature: what its inputs and outputs are.
        compute: takes inputs as the file wants them.
    """

    path: Path
    signature: Signature
    compute: Run

    @classmethod
    def load(cls, path: Path, signature: Signature) -> "ServedFile":
        """Return the file, opened by the program that runs it."""
        return cls(path, signature, FORMATS[signature.format].run(path, signature))

    @torch.inference_mode()
    def run(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name.

        A file for a fixed number of samples gets them in parts; the last one is filled up by
        repeating a sample.

        Raises:
            UsageError: the file is for inputs of another size.
        """
        self._require_sizes(inputs)
        fixed = self._fixed_batch()
        if fixed is None or len(inputs[0]) == fixed:
            return self._named(self.compute(inputs))
        (samples,) = inputs  # a form with several inputs is for one image
        parts = []
        for part in samples.split(fixed):
            missing = fixed - len(part)
            filled = torch.cat((part, part[-1:].expand(missing, *part.shape[1:])))
            parts.append([each[: len(part)] for each in self.compute((filled,))])
        return self._named([torch.cat(each) for each in zip(*parts, strict=True)])

    def _named(self, outputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(zip(self.signature.outputs, outputs, strict=True))

    def _fixed_batch(self) -> int | None:
        """Return the number of samples that the file is for; None if it is open."""
        (first, *_) = self.signature.inputs.values()
        return first[0] if isinstance(first[0], int) and len(first) > 3 else None

    def _require_sizes(self, inputs: Sequence[Tensor]) -> None:
        for (name, axes), value in zip(self.signature.inputs.items(), inputs, strict=True):
            first = 1 if len(axes) > 3 else 0  # after the axis of the samples
            pairs = zip(axes[first:], value.shape[first:], strict=True)
            if any(isinstance(want, int) and want != have for want, have in pairs):
                wanted, had = ("x".join(map(str, each[first:])) for each in (axes, value.shape))
                raise UsageError(
                    f"{self.path} takes {name} of {wanted}, and got {had}",
                    code="export.size",
                    hint="export it with --dynamic size",
                )
