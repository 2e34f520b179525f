"""Tables of the dataset formats: names, modules and facts.

A format is a row here and the module that the row names; see `cvkit.data.formats.contract`.
"""

import os
from dataclasses import dataclass
from typing import Literal

ROOTS_SEPARATOR = os.pathsep
"""Between the datasets that are read as one, in `--data`."""
LAYOUTS_SEPARATOR = "+"
"""Between the names of their formats."""

Truth = Literal["classes", "masks", "boxes", "instances"]
"""Kind of labels of an image or video: its class, the class of every pixel, or its objects, with or
without masks."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A dataset format.

    Attributes:
        module: that detects and reads it.
        about: the layout, for hints.
        needs: patterns of files and folders of every dataset in it, to say what is missing; may be
            empty.
        kinds: suffixes of the files that describe a dataset in it, for hints.
        files: suffixes of files that may be given instead of the folder.
        last: other formats may have its characteristics too, so they are tried first.
        json_files: the flags for annotation files and the folder of images apply to it.
        drawn: the masks are drawn from the objects that the module reads.
        vague: many folders that are not datasets look like it, so no hint mentions it.
        writer: module that writes it; "" if none does.
        divided: name of the format that it has with splits, if that is another one.
        task: the only one for its class labels; "" if the files decide between images and videos.
    """

    module: str
    about: str
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    last: bool = False
    json_files: bool = False
    drawn: bool = False
    vague: bool = False
    writer: str = ""
    divided: str = ""
    task: str = ""


_PLACE = "cvkit.data.formats"
_WRITERS = "cvkit.data.writing"
FORMATS: dict[Truth, dict[str, Format]] = {
    "classes": {
        "folders": Format(
            module=f"{_PLACE}.split_folders",
            about="SPLIT/CLASS/images",
            last=True,
            writer=f"{_WRITERS}.class_folders",
        ),
        "classes": Format(
            module=f"{_PLACE}.class_folders",
            about="CLASS/images",
            last=True,
            vague=True,
            divided="folders",
        ),
        "csv": Format(
            module=f"{_PLACE}.csv_table",
            kinds=(".csv",),
            about="a table labels.csv with path,label[,split], or SPLIT.csv",
            files=(".csv",),
            writer=f"{_WRITERS}.csv_table",
        ),
        "lists": Format(
            module=f"{_PLACE}.lists",
            kinds=(".txt",),
            about="SPLIT.txt, or UCF101's lists, with a path and perhaps a label in each line",
        ),
        "hmdb51": Format(
            module=f"{_PLACE}.hmdb51",
            kinds=(".txt",),
            about="HMDB51's lists CLASS_test_split1.txt, and CLASS/videos",
        ),
        "kinetics": Format(
            module=f"{_PLACE}.kinetics",
            kinds=(".csv",),
            about="tables with label,youtube_id,time_start,time_end[,split], and videos "
            "ID_000001_000011 or ID",
        ),
        "something": Format(
            module=f"{_PLACE}.something",
            kinds=(".json",),
            about="Something-Something v2's labels.json, train.json, validation.json, and videos",
        ),
        "open-images": Format(
            module=f"{_PLACE}.open_images_labels",
            kinds=(".csv",),
            about="Open Images' SPLIT-annotations-human-imagelabels.csv, class-descriptions.csv, "
            "and images",
        ),
        "imagefolder": Format(
            module=f"{_PLACE}.image_folder",
            kinds=(".jsonl",),
            about="Hugging Face's metadata.csv or metadata.jsonl with file_name,label, beside the "
            "images, also in SPLIT/",
        ),
        "imagenet": Format(
            module=f"{_PLACE}.imagenet",
            kinds=(".csv",),
            about="train/CLASS/images, and val/ with LOC_val_solution.csv, val_annotations.txt or "
            "ILSVRC2012_validation_ground_truth.txt",
        ),
        "parquet": Format(
            module=f"{_PLACE}.parquet_classes",
            about="Hugging Face's parquet files with image and label: "
            "SPLIT-00000-of-0000N.parquet, also in data/, or SPLIT/*.parquet",
            task="classify",
        ),
    },
    "masks": {
        "voc": Format(
            module=f"{_PLACE}.voc_masks",
            needs=("JPEGImages", "SegmentationClass"),
            about="JPEGImages/, SegmentationClass/, and ImageSets/Segmentation/SPLIT.txt if "
            "there are splits",
            writer=f"{_WRITERS}.voc_masks",
        ),
        "stacks": Format(
            module=f"{_PLACE}.stacks",
            kinds=(".tif", ".tiff"),
            needs=("*volume.tif*", "*labels.tif*"),
            about="TIFF files of many pages: NAME-volume.tif and NAME-labels.tif, images.tif and "
            "masks.tif, or images/ and masks/ with equal file names",
        ),
        "pairs": Format(
            module=f"{_PLACE}.pairs",
            needs=("images", "masks"),
            about="images/SPLIT/ and masks/SPLIT/ with equal file names, or images/ and masks/",
            writer=f"{_WRITERS}.mask_pairs",
        ),
        "cityscapes": Format(
            module=f"{_PLACE}.cityscapes",
            needs=("leftImg8bit", "gtFine"),
            about="leftImg8bit/SPLIT/CITY/ and gtFine/SPLIT/CITY/",
        ),
        "camvid": Format(
            module=f"{_PLACE}.camvid", needs=("train", "trainannot"), about="SPLIT/ and SPLITannot/"
        ),
        "ade20k": Format(
            module=f"{_PLACE}.ade20k",
            needs=("images", "annotations", "objectInfo150.txt"),
            about="images/SPLIT/, annotations/SPLIT/ and objectInfo150.txt",
        ),
        "panoptic": Format(
            module=f"{_PLACE}.panoptic",
            kinds=(".json",),
            about="COCO's annotations/panoptic_SPLIT.json, the folder of its PNGs, and images",
        ),
        "coco": Format(
            module=f"{_PLACE}.coco",
            kinds=(".json",),
            about="annotations/instances_SPLIT.json with polygons, and images",
            last=True,
            drawn=True,
        ),
        "labelme": Format(
            module=f"{_PLACE}.labelme",
            kinds=(".json",),
            about="LabelMe's JSON files with polygons, beside the images",
            drawn=True,
        ),
        "cvat": Format(
            module=f"{_PLACE}.cvat",
            kinds=(".xml",),
            about="annotations.xml of 'CVAT for images' with polygons, and images/",
            drawn=True,
        ),
        "label-studio": Format(
            module=f"{_PLACE}.label_studio",
            kinds=(".json",),
            about="Label Studio's JSON export with polygons, and the images",
            drawn=True,
        ),
        "supervisely": Format(
            module=f"{_PLACE}.supervisely",
            kinds=(".json",),
            about="Supervisely's meta.json, DATASET/img/ and DATASET/ann/",
            drawn=True,
        ),
        "rle": Format(
            module=f"{_PLACE}.rle_table",
            kinds=(".csv",),
            about="Kaggle's table of ImageId,EncodedPixels[,ClassId], or SPLIT.csv, and images",
            drawn=True,
            writer=f"{_WRITERS}.rle_masks",
        ),
        "yolo": Format(
            module=f"{_PLACE}.yolo",
            kinds=(".yaml", ".yml", ".txt"),
            needs=("labels", "images"),
            about="data.yaml, images/, and labels/ with a polygon in each line",
            last=True,
            drawn=True,
        ),
    },
    "boxes": {
        "coco": Format(
            module=f"{_PLACE}.coco",
            kinds=(".json",),
            about="annotations/instances_SPLIT.json and images",
            last=True,
            json_files=True,
            writer=f"{_WRITERS}.coco",
        ),
        "voc": Format(
            module=f"{_PLACE}.voc",
            needs=("JPEGImages", "Annotations"),
            about="Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt",
            writer=f"{_WRITERS}.voc",
        ),
        "xml": Format(
            module=f"{_PLACE}.voc_beside",
            kinds=(".xml",),
            needs=("images", "annotations"),
            about="VOC's XML files beside the images, also in SPLIT/; or annotations/ and images/",
        ),
        "labelme": Format(
            module=f"{_PLACE}.labelme",
            kinds=(".json",),
            about="LabelMe's JSON files, beside the images",
            writer=f"{_WRITERS}.labelme",
        ),
        "cvat": Format(
            module=f"{_PLACE}.cvat",
            kinds=(".xml",),
            about="annotations.xml of 'CVAT for images', and images/",
            files=(".xml",),
            writer=f"{_WRITERS}.cvat",
        ),
        "label-studio": Format(
            module=f"{_PLACE}.label_studio",
            kinds=(".json",),
            about="Label Studio's JSON export, and the images",
        ),
        "supervisely": Format(
            module=f"{_PLACE}.supervisely",
            kinds=(".json",),
            about="Supervisely's meta.json, DATASET/img/ and DATASET/ann/",
        ),
        "darknet": Format(
            module=f"{_PLACE}.darknet",
            kinds=(".data", ".names"),
            about="Darknet's obj.data, obj.names and train.txt, and labels beside the images",
        ),
        "open-images": Format(
            module=f"{_PLACE}.open_images",
            kinds=(".csv",),
            about="Open Images' SPLIT-annotations-bbox.csv, class-descriptions-boxable.csv, and "
            "images",
        ),
        "imagefolder": Format(
            module=f"{_PLACE}.image_folder_objects",
            kinds=(".jsonl",),
            about="Hugging Face's metadata.jsonl with file_name and objects, beside the images, "
            "also in SPLIT/",
        ),
        "yolo": Format(
            module=f"{_PLACE}.yolo",
            kinds=(".yaml", ".yml", ".txt"),
            needs=("labels", "images"),
            about="data.yaml, images/, labels/, in each split or with a folder for each in them",
            files=(".yaml", ".yml"),
            writer=f"{_WRITERS}.yolo",
        ),
        "parquet": Format(
            module=f"{_PLACE}.parquet_objects",
            about="Hugging Face's parquet files with image and objects: "
            "SPLIT-00000-of-0000N.parquet, also in data/, or SPLIT/*.parquet",
        ),
    },
    "instances": {
        "coco": Format(
            module=f"{_PLACE}.coco",
            kinds=(".json",),
            about="annotations/instances_SPLIT.json and images",
            last=True,
            json_files=True,
            writer=f"{_WRITERS}.coco",
        ),
        "index": Format(
            module=f"{_PLACE}.index_maps",
            needs=("images", "masks"),
            about="images/SPLIT/ and masks/SPLIT/ with equal file names",
            last=True,
            writer=f"{_WRITERS}.index_maps",
        ),
        "labelme": Format(
            module=f"{_PLACE}.labelme",
            kinds=(".json",),
            about="LabelMe's JSON files, beside the images",
            writer=f"{_WRITERS}.labelme",
        ),
        "cvat": Format(
            module=f"{_PLACE}.cvat",
            kinds=(".xml",),
            about="annotations.xml of 'CVAT for images', and images/",
            files=(".xml",),
            writer=f"{_WRITERS}.cvat",
        ),
        "label-studio": Format(
            module=f"{_PLACE}.label_studio",
            kinds=(".json",),
            about="Label Studio's JSON export, and the images",
        ),
        "supervisely": Format(
            module=f"{_PLACE}.supervisely",
            kinds=(".json",),
            about="Supervisely's meta.json, DATASET/img/ and DATASET/ann/",
        ),
        "rle": Format(
            module=f"{_PLACE}.rle_table",
            kinds=(".csv",),
            about="Kaggle's table of ImageId,EncodedPixels[,ClassId], or SPLIT.csv, and images",
            writer=f"{_WRITERS}.rle_table",
        ),
        "yolo": Format(
            module=f"{_PLACE}.yolo",
            kinds=(".yaml", ".yml", ".txt"),
            needs=("labels", "images"),
            about="as for boxes, with a polygon in each line of labels/",
            files=(".yaml", ".yml"),
            last=True,
            writer=f"{_WRITERS}.yolo",
        ),
    },
}
"""Formats by name, in the order of help and hints."""


TASK_OF: dict[Truth, str] = {
    "classes": "classify",
    "masks": "segment",
    "boxes": "detect",
    "instances": "instance",
}
"""The task for each kind of labels; classes may also be those of videos."""


TRUTH_OF: dict[str, tuple[Truth, bool]] = {
    **{task: (truth, False) for truth, task in TASK_OF.items()},
    "video": ("classes", True),
}
"""The kind of labels of each task, and whether its samples are videos."""


def format_choices(truth: Truth) -> tuple[str, ...]:
    """Return the choices of `--format`."""
    return ("auto", *FORMATS[truth])
