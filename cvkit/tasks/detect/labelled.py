"""Labelled images with objects, to count and to show; shared by detect and instance."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Self, TypeVar, overload

import numpy as np

from cvkit.data.annotated import AnnotatedImage, upright
from cvkit.data.boxes import read_boxes
from cvkit.data.dataset_splits import dataset_splits
from cvkit.data.decode import read_image
from cvkit.data.exclusion import read_exclusion
from cvkit.data.formats.contract import DataFlags, Query
from cvkit.data.formats.recognise import detect_format
from cvkit.data.known import Known
from cvkit.data.statistics import Facts, Measured
from cvkit.errors import UsageError
from cvkit.format_table import Truth
from cvkit.options.detect import DetectTrain, TwoStageTrain
from cvkit.output.draw import draw_boxes
from cvkit.structures import Instances
from cvkit.tasks.common import data_place, required
from cvkit.tasks.detect import setup
from cvkit.tasks.detect.inputs import Preprocessing, input_sizes, object_sides
from cvkit.tasks.detect.network import check_flags, with_anchors
from cvkit.tasks.labelled import FLAGS, Advice, Labelled, View, imbalance, known_header, sizes
from cvkit.texts import counted

B = TypeVar("B", bound=TwoStageTrain)
LONG = 3
"""Aspect ratio beyond which an object overlaps anchors of ratios 1:2 to 2:1 badly."""


@dataclass(frozen=True, kw_only=True)
class LabelledObjects(Labelled[AnnotatedImage, B], Generic[B]):
    """Images with objects."""

    truths: ClassVar[Truth]

    @classmethod
    def read(cls, options: B, splits: Sequence[str]) -> Self:
        """Return the samples of splits; see `Labelled.read`."""
        place, masks = data_place(options.data, cls.task), cls.truths == "instances"
        flags = DataFlags(FLAGS, "choose with --set train_json=FILE and --set val_json=FILE")
        root, files = cls._files(place, options)
        layout, names = options.format, list(splits) or [split for split in files if split]
        if not files:
            layout = detect_format(cls.truths, root, layout, splits, FLAGS)
        if not names:
            query = Query(
                root=root, json_files=files, images=options.images, masks=masks, flags=flags
            )
            names = dataset_splits(cls.truths, "coco" if files else layout, query)
        data = read_boxes(
            root,
            layout,
            names,
            json_files=files,
            images=options.images,
            masks=masks,
            flags=flags,
            exclude=read_exclusion(options.exclude),
        )
        return cls(
            options=options,
            root=root,
            layout=data.layout,
            classes=data.classes,
            splits=data.splits,
            notes=data.notes,
            defects=data.defects,
        )

    @staticmethod
    def _files(place: Path, options: TwoStageTrain) -> tuple[Path, dict[str, Path]]:
        """Return the folder of a dataset, and its COCO files by split; that of "" is divided.

        Raises:
            UsageError: the dataset is such a file, and files of splits are given too.
        """
        given = {options.train_split: options.train_json, options.val_split: options.val_json}
        files = {split: file for split, file in given.items() if file}
        if not (place.is_file() and place.suffix.lower() == ".json"):
            return place, files
        if files:
            raise UsageError(
                f"{place} and {next(iter(files.values()))} are both COCO files",
                code="data.files",
                hint="give the folder of the dataset, or only one of them",
            )
        return place.parent, {"": place}

    def key(self, item: AnnotatedImage) -> str:
        """Return the path of an image, relative to the dataset."""
        return item.key

    def path(self, item: AnnotatedImage) -> Path:
        """Return the location of an image."""
        return item.path

    def picture(self, item: AnnotatedImage) -> np.ndarray:
        """Return the pixels of an image."""
        return read_image(item.path, None)

    def class_names(self, item: AnnotatedImage) -> Collection[str]:
        """Return the names of the classes of an image's objects."""
        return {self.classes.names[label - 1] for label in item.truth.labels.tolist()}

    def truth(self, item: AnnotatedImage) -> View:
        """Return an image with its objects; crowds and difficult objects are counted in words."""
        found = upright(item).truth
        words = [counted(len(found), "object")]
        for name, marks in (("crowd", found.crowd), ("difficult", found.difficult)):
            if marks is not None and marks.any():
                words.append(f"{int(marks.sum())} {name}")
        return View(self.draw(self.picture(item), found), ", ".join(words))

    def augmented(self, split: str, place: int, seed: int) -> View:
        """Return a training sample as it is passed to the network, which then resizes it."""
        transform = setup.transform_for(self.options)
        data = setup.training_set(_Upright(self.splits[split]), transform, None, None)
        sample = data.read(place, seed)
        objects = required(sample.boxes)
        return View(self.draw(sample.image, objects), counted(len(objects), "object"))

    def draw(self, image: np.ndarray, objects: Instances) -> np.ndarray:
        """Return an image with its objects drawn on it."""
        return draw_boxes(image, objects, self.classes)

    def measure(self, item: AnnotatedImage, known: Known) -> Measured[AnnotatedImage]:
        """Return the size of an image and what its objects are; only its header is read."""
        made = upright(item, known_header(item.path, known))
        if made.size_wh == item.size_wh:
            made = item  # so that a split is in memory once
        truth = made.truth.pick(made.truth.counted)
        width, height = required(made.size_wh)
        wide, high = truth.corner_and_size()[:, 2:].T
        solid = (wide > 0) & (high > 0)
        values = {
            "objects_per_image": len(truth),
            "object_width": wide,
            "object_height": high,
            "object_side": np.sqrt(wide * high),
            "object_aspect": wide[solid] / high[solid],
            "object_share": wide * high / (width * height),
            **self.of_masks(truth),
        }
        labels, counts = np.unique(truth.labels, return_counts=True)
        objects = dict(zip((labels - 1).tolist(), counts.tolist(), strict=True))
        left_out = {
            name: int(marks.sum())
            for name, marks in (("crowd", made.truth.crowd), ("difficult", made.truth.difficult))
            if marks is not None
        }
        beyond = (made.truth.boxes < -0.5) | (
            made.truth.boxes > np.array([width, height] * 2) + 0.5
        )
        further = {
            "images_without_objects": int(not len(made.truth)),
            "boxes_beyond_image": int(beyond.any(1).sum()),
            "boxes_without_area": int((~solid).sum()),
        }
        per_class = {"objects": objects, "images": dict.fromkeys(objects, 1)}
        return Measured(made, sizes((height, width)) | values, per_class, left_out | further)

    def of_masks(self, truth: Instances) -> dict[str, np.ndarray]:
        """Return further quantities of objects that have masks."""
        return {}

    def _input(self, facts: Facts[AnnotatedImage]) -> Preprocessing:
        sizes_hw = [required(image.size_wh)[::-1] for image in facts.items]
        return input_sizes(self.options, facts.items, [(h, w) for h, w in sizes_hw])

    def normalisation(
        self, facts: Facts[AnnotatedImage]
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation that training subtracts."""
        return Preprocessing.mean, Preprocessing.std

    def advice(self, facts: Facts[AnnotatedImage]) -> list[Advice]:
        """Return what the numbers imply for the flags of train."""
        network = check_flags(self.options, self.task)
        if not len(facts.values["object_side"]):
            return [Advice("", "no image has an object: nothing can be learned")]
        made = self._input(facts)
        asked = f"--min-size {self.options.min_size}"
        if self.options.image_size != "auto":
            asked = f"--image-size {self.options.image_size}"
        sides = object_sides(facts.items, made)
        low, median, high = np.percentile(sides, (5, 50, 95))
        text = (
            f"the median object is {median:.0f} pixels large at the network's scale (5 % are below "
            f"{low:.0f}, 5 % above {high:.0f}; the side of a square of the same area)"
        )
        found = [Advice(f"{asked} gives {made.describe()}", text)]
        if not network.facts.fixed_anchors:
            chosen = with_anchors(network, self.options, made, facts.items)
            found += self._of_anchors(sides, chosen.smallest)
        found += self._of_shapes(facts, network.max_detections)
        counts = facts.per_class["objects"]
        return found + imbalance(counts, self.classes.names, "objects", weighted=False)

    def _of_anchors(self, sides: np.ndarray, smallest: int) -> list[Advice]:
        """Return advice about the sides of the anchors, each of which is twice the one before."""
        small = float((sides < smallest / 2).mean())
        flag = f"--anchor-size {self.options.anchor_size} gives {smallest}"
        text = (
            f"the smallest fifth of the objects is below {np.percentile(sides, 20):.0f} pixels; "
            f"the smallest anchors have {smallest}"
        )
        if small > 0.05:
            text += f", and {small:.0%} of the objects are not even half as large"
        found = [Advice(flag, text)]
        if small > 0.05 and smallest <= 8:
            factor = smallest / 2 / max(1.0, float(np.percentile(sides, 5)))
            found.append(
                Advice(
                    "--min-size",
                    f"a {factor:.1f} times larger input would bring all but 5 % of the objects to "
                    f"{smallest / 2:.0f} pixels",
                )
            )
        return found

    def _of_shapes(self, facts: Facts[AnnotatedImage], limit: int | None) -> list[Advice]:
        """Return advice about long objects, and about many objects in an image."""
        found = []
        aspects, most = facts.values["object_aspect"], facts.values["objects_per_image"].max()
        narrow = float(((aspects > LONG) | (aspects < 1 / LONG)).mean()) if len(aspects) else 0.0
        if narrow > 0.05:
            found.append(
                Advice(
                    "",
                    f"{narrow:.0%} of the objects are over {LONG} times as long as wide; anchors "
                    "have aspect ratios from 1:2 to 2:1, which match them badly",
                )
            )
        allowed = limit or 100
        if most > allowed:
            share = float((facts.values["objects_per_image"] > allowed).mean())
            found.append(
                Advice(
                    f"--max-detections {round(most * 1.2)}",
                    f"{share:.0%} of the images have more than {allowed} objects (up to "
                    f"{most:.0f}); eval and predict keep {allowed} detections per image",
                )
            )
        return found


class _Upright(Sequence[AnnotatedImage]):
    """The images of a split with upright boxes, made when they are needed."""

    def __init__(self, images: Sequence[AnnotatedImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, place: int) -> AnnotatedImage: ...
    @overload
    def __getitem__(self, place: slice) -> list[AnnotatedImage]: ...
    def __getitem__(self, place: int | slice) -> AnnotatedImage | list[AnnotatedImage]:
        if isinstance(place, slice):
            return [upright(image) for image in self.images[place]]
        return upright(self.images[place])


@dataclass(frozen=True, kw_only=True)
class LabelledSamples(LabelledObjects[DetectTrain]):
    """Images with boxes."""

    task, truths = "detect", "boxes"
