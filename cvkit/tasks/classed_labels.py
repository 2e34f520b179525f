"""What the labelled samples of image and video classification share."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from cvkit.data.classes import make_classes
from cvkit.data.classified import ClassifiedImage, read_collection
from cvkit.data.dataset_splits import dataset_splits
from cvkit.data.exclusion import read_exclusion
from cvkit.data.files import Walk
from cvkit.data.formats.contract import DataFlags, Query
from cvkit.data.formats.recognise import detect_format
from cvkit.tasks.common import data_place
from cvkit.tasks.labelled import FLAGS, Labelled, T


@dataclass(frozen=True, kw_only=True)
class LabelledFiles(Labelled[ClassifiedImage, T]):
    """Images or videos with one class each."""

    walk: ClassVar[Walk]

    @classmethod
    def read(cls, options: T, splits: Sequence[str]) -> Self:
        """Return the samples of splits; see `Labelled.read`."""
        root = data_place(options.data, cls.task)
        wanted: str = vars(options)["format"]
        layout = detect_format("classes", root, wanted, splits, FLAGS)
        query = Query(root=root, walk=cls.walk, flags=DataFlags(FLAGS))
        names = list(splits) or dataset_splits("classes", layout, query)
        data = read_collection(
            *(root, layout, names, None, cls.walk),
            flag=FLAGS,
            exclude=read_exclusion(options.exclude),
        )
        classes = make_classes(list(data.names))
        return cls(
            options=options,
            root=root,
            layout=layout,
            classes=classes,
            splits=data.splits,
            notes=data.notes,
        )

    def key(self, item: ClassifiedImage) -> str:
        """Return the path of a sample, relative to the dataset."""
        return item.key

    def path(self, item: ClassifiedImage) -> Path:
        """Return the location of a sample."""
        return item.path

    def class_names(self, item: ClassifiedImage) -> Collection[str]:
        """Return the class of a sample."""
        return [item.label]

    def label(self, item: ClassifiedImage) -> int:
        """Return the class index of a sample."""
        return self.classes.names.index(item.label)

    @abstractmethod
    def preprocessing(self, sizes_hw: Sequence[tuple[int, int]]) -> Any:
        """Return the preprocessing of a training on images or frames of these sizes."""
