"""The rules of `cvkit data check`: every defect of a dataset and every oddity, by its stable id.

The ids of errors are the codes of the errors that train and eval report. Ids are never renamed.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]
"""Errors make data unusable for training; warnings do not."""


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        about: what is wrong, as a sentence.
        remedy: what to do, if the finding itself does not say so.
    """

    about: str
    remedy: str


TEXT = "save the file as UTF-8"
LOOK = "look at the sample, and correct its label if the model is right"
REGULAR = "replace it by a file with the content"
ERRORS: dict[str, Rule] = {
    "ann.category_unknown": Rule(
        "An annotation has a category that the file does not list.",
        "correct category_id, or add the category",
    ),
    "ann.id_duplicate": Rule("Two annotations have the same id.", "give each its own id"),
    "ann.id_type": Rule("The id of an annotation is not a whole number.", "correct the id"),
    "ann.image_unknown": Rule(
        "An annotation belongs to an image that the file does not list.",
        "correct image_id, or remove the annotation",
    ),
    "ann.malformed": Rule("An annotation is not a JSON object.", "correct or remove it"),
    "annotations.empty": Rule("No training image has an object.", "annotate the training images"),
    "annotations.missing": Rule(
        "A COCO file has no list of annotations.", "check that it is the right file"
    ),
    "area.value": Rule("The area of an annotation is not a number of at least 0.", "correct it"),
    "bbox.length": Rule("A box is not four finite numbers.", "give [x, y, width, height]"),
    "bbox.nonfinite": Rule("A box has an infinite corner.", "correct the box"),
    "bbox.nonpositive": Rule("A box has a negative width or height.", "correct the box"),
    "bbox.outside": Rule("A box is outside its image.", "correct or remove the box"),
    "bndbox.missing": Rule(
        "An object in a VOC file has no complete box.", "give xmin, ymin, xmax and ymax"
    ),
    "bndbox.nonfinite": Rule("A box in a VOC file is not finite.", "correct the box"),
    "bndbox.order": Rule("A box in a VOC file ends before it begins.", "exchange its corners"),
    "bndbox.outside": Rule("A box in a VOC file is outside its image.", "correct or remove it"),
    "categories.missing": Rule(
        "A COCO file has no list of categories.", "check that it is the right file"
    ),
    "category.id_duplicate": Rule("Two categories have the same id.", "give each its own id"),
    "category.malformed": Rule(
        "A category has no whole number as its id, or no text as its name.", "correct the category"
    ),
    "category.missing": Rule("A COCO file has no categories.", "list the categories"),
    "category.name_duplicate": Rule("Two categories have the same name.", "merge or rename them"),
    "class.case_collision": Rule(
        "Two class folders differ in upper and lower case only.", "rename or merge them"
    ),
    "class.empty": Rule("A class folder has no files.", "add files, or remove the folder"),
    "class.name": Rule("A class folder has a name that cannot be printed.", "rename the folder"),
    "class.only_in_val": Rule(
        "A class has no training samples.", "move some of its files to the training split"
    ),
    "class.unknown": Rule(
        "A sample has a class that classes.txt does not list.", "correct the class or the list"
    ),
    "classes.unnamed": Rule(
        "A dataset does not name the classes of its masks, and is read together with others.",
        "write classes.txt",
    ),
    "classes.color": Rule("A colour in a class list is outside 0..255.", "correct the colour"),
    "classes.count": Rule(
        "The number of classes is too small, or too large for 8-bit masks.",
        "write one class per line into classes.txt",
    ),
    "classes.differ": Rule(
        "Two splits have different classes.", "list the same categories in all files"
    ),
    "classes.duplicate": Rule("A class list has a name or colour twice.", "remove one of them"),
    "classes.encoding": Rule("A class list is not in UTF-8.", TEXT),
    "classes.line": Rule("A class list has a line that is too long.", "check that it is one"),
    "classes.missing": Rule(
        "A YOLO dataset does not name its classes.", "add data.yaml or classes.txt"
    ),
    "classes.syntax": Rule("The names of a YOLO dataset are malformed.", "give a list of names"),
    "classes.unknown": Rule(
        "instances.csv has a class that classes.txt does not list.", "correct either of them"
    ),
    "cvat.numbers": Rule("A number of a CVAT file is missing or malformed.", "correct it"),
    "cvat.points": Rule(
        "The points of a shape in a CVAT file are malformed.", "correct or remove the shape"
    ),
    "cvat.rotation": Rule(
        "A box of a CVAT file is rotated.", "use polygons, or boxes along the axes"
    ),
    "cvat.video": Rule("A CVAT file has tracks of a video.", "export it as CVAT for images"),
    "difficult.value": Rule("<difficult> is not 0 or 1.", "correct the value"),
    "file.unreadable": Rule("A file cannot be read.", "make it readable"),
    "folder.unreadable": Rule("A folder cannot be read, or a link is broken.", "repair it"),
    "image.corrupt": Rule("An image is damaged.", "replace it"),
    "image.depth": Rule(
        "An image has 32-bit or signed pixels, whose range is unknown.",
        "save it with 8 or 16 bits per channel",
    ),
    "image.empty": Rule("An image file has 0 bytes.", "replace it"),
    "image.file_duplicate": Rule("A COCO file lists an image file twice.", "merge the entries"),
    "image.file_missing": Rule(
        "None of the images of a COCO file was found.", "give their folder with --images"
    ),
    "image.file_name_type": Rule("The file name of an image is not text.", "correct file_name"),
    "image.id_duplicate": Rule("Two images of a COCO file have the same id.", "correct the ids"),
    "image.id_type": Rule("The id of an image is not a whole number.", "correct the id"),
    "image.missing": Rule("An image file does not exist.", "add it, or remove its entry"),
    "image.not_a_file": Rule("An image is a device, pipe or folder.", REGULAR),
    "image.not_an_image": Rule("A file is not an image in a known format.", "convert it"),
    "image.size": Rule(
        "The size of an image in a COCO file is not two positive numbers.", "correct or omit it"
    ),
    "image.size_mismatch": Rule(
        "An annotation claims another size than the image has.", "correct the annotation"
    ),
    "image.too_large": Rule("An image or frame is too large.", "scale or tile it"),
    "image.truncated": Rule("An image file ends too early.", "replace it"),
    "image.unreadable": Rule("An image file cannot be opened.", "replace it"),
    "images.empty": Rule("A COCO file lists no images.", "check that it is the right file"),
    "images.missing": Rule("A COCO file has no list of images.", "check that it is the right file"),
    "imagenet.count": Rule(
        "ImageNet's development kit has a label for more or fewer images than there are.",
        "put all validation images, and no others, into val",
    ),
    "imagenet.meta": Rule(
        "ImageNet's meta.mat is missing or malformed.", "copy it from the development kit"
    ),
    "instances.row": Rule(
        "A row of instances.csv has an unusable or repeated number.", "correct or remove the row"
    ),
    "iscrowd.value": Rule("iscrowd is not 0 or 1.", "correct the value"),
    "json.duplicate_key": Rule("A JSON object has a key twice.", "remove one of them"),
    "json.encoding": Rule("A JSON file is not in UTF-8.", TEXT),
    "json.nan_literal": Rule(
        "A JSON file contains NaN or infinity, which are not JSON.", "write finite numbers"
    ),
    "json.not_a_file": Rule("An annotation file is a device or pipe.", REGULAR),
    "json.not_object": Rule("A COCO file is not a JSON object.", "check that it is the right file"),
    "json.syntax": Rule("A file is not valid JSON, or is cut off.", "write it again"),
    "labelme.mask": Rule("A mask of a LabelMe file cannot be read.", "draw it again"),
    "labelme.oriented": Rule(
        "A rectangle of a LabelMe file is oriented.", "use polygons, or boxes along the axes"
    ),
    "labelme.shape_type": Rule(
        "A shape of a LabelMe file has an unknown type.", "use polygons or rectangles"
    ),
    "labelme.shapes": Rule("A LabelMe file has no list of shapes.", "export it again"),
    "labelstudio.brush": Rule(
        "A brush mask of a Label Studio file cannot be read.", "draw it again, or export COCO"
    ),
    "labelstudio.rotation": Rule(
        "A rectangle of a Label Studio file is rotated.", "use polygons, or boxes along the axes"
    ),
    "labelstudio.several": Rule(
        "An image of a Label Studio file has several annotations.", "keep one of them"
    ),
    "labelstudio.tasks": Rule("A Label Studio file is not a list of tasks.", "export it as JSON"),
    "list.bad_line": Rule("A row of a table is malformed.", "correct the row"),
    "list.column": Rule("A table lacks a column, or has one twice.", "correct the first line"),
    "list.empty": Rule("A table has no rows.", "add rows"),
    "list.encoding": Rule("A table is not in UTF-8.", TEXT),
    "list.not_a_file": Rule("A table is a device or pipe.", REGULAR),
    "list.separator": Rule(
        "A table has semicolons or tabs between its columns.", "separate columns by commas"
    ),
    "list.unreadable": Rule("A table is not CSV.", "write it again"),
    "mask.16bit": Rule("A mask has values above 255.", "save it with 8 bits"),
    "mask.all_ignore": Rule("No training pixel has a label.", "check --mask-map"),
    "mask.color": Rule("A mask has a colour that belongs to no class.", "list it in classes.txt"),
    "mask.float": Rule("A mask has values that are not whole numbers.", "save class indices"),
    "mask.instance_unknown": Rule(
        "An object in a mask has no row in instances.csv.", "add the row"
    ),
    "mask.lossy": Rule("A mask is a JPEG, which changes labels.", "save masks as PNG"),
    "mask.palette": Rule(
        "The palette of a mask contradicts classes.txt.", "correct the colours in classes.txt"
    ),
    "mask.rgb_not_index": Rule(
        "An instance mask has colours instead of numbers.", "save it as a grey or palette PNG"
    ),
    "mask.size_mismatch": Rule(
        "A mask has another size than its image.", "save it at the size of the upright image"
    ),
    "mask.value_range": Rule(
        "A mask has a value that is no class.", "list more classes, or use --mask-map"
    ),
    "object.name_missing": Rule("An object in a VOC file has no name.", "name its class"),
    "object.name_unknown": Rule(
        "An object in a VOC file has a class that classes.txt does not list.", "correct its name"
    ),
    "parquet.column": Rule(
        "A parquet file lacks a column of images, labels or objects.",
        "add it, as the package datasets writes it",
    ),
    "parquet.file": Rule("A parquet file cannot be read, or is cut off.", "get a new copy"),
    "parquet.label": Rule(
        "A label in a parquet file is not the number of one of its classes.",
        "correct the label, or the names of the classes",
    ),
    "parquet.null": Rule("A row of a parquet file has no image.", "remove the row"),
    "parquet.path": Rule(
        "A row of a parquet file has only the path of an image.", "embed the content of the image"
    ),
    "path.escape": Rule("A path leads out of the dataset.", "use paths inside the folder"),
    "rle.invalid": Rule("A run-length code is not valid.", "encode the mask again"),
    "rle.size": Rule("The size of a run-length code is not two positive numbers.", "correct it"),
    "rle.size_mismatch": Rule(
        "A run-length code has another size than its image, or none.", "encode the mask again"
    ),
    "root.name": Rule("The root of a VOC file is not <annotation>.", "check the file"),
    "segm.missing": Rule("An object has no mask.", "add it, or use 'cvkit detect'"),
    "segm.odd_or_short": Rule(
        "A polygon is not at least three pairs of numbers.", "correct or remove it"
    ),
    "segm.outside": Rule("The polygons of an object are outside its image.", "correct them"),
    "segm.too_long": Rule("The outline of a polygon is too long.", "correct its corners"),
    "size.value": Rule(
        "<size> of a VOC file is not two positive numbers.", "correct or omit the size"
    ),
    "split.ambiguous": Rule("Several COCO files belong to one split.", "remove or rename them"),
    "split.duplicate": Rule("A list names a sample twice.", "remove one of the entries"),
    "split.empty": Rule("A split has no samples.", "add files, or remove the split"),
    "split.encoding": Rule("The list of a split is not in UTF-8.", TEXT),
    "split.id_without_file": Rule(
        "A file that a split needs is missing.", "add it, or remove its name from the split"
    ),
    "split.missing": Rule("A split does not exist.", "correct its name or path"),
    "split.not_a_file": Rule("The list of a split is a device or pipe.", REGULAR),
    "stack.pages": Rule(
        "A TIFF file of images and that of its masks have different numbers of pages.",
        "give each image a mask, in the same order",
    ),
    "supervisely.bitmap": Rule("A bitmap of a Supervisely file cannot be read.", "draw it again"),
    "supervisely.meta": Rule(
        "meta.json of Supervisely has no classes.", "export the project again"
    ),
    "supervisely.objects": Rule(
        "A Supervisely file has no list of objects, or no size.", "export the project again"
    ),
    "video.part_empty": Rule(
        "A part of a video has no frames.", "correct start and end in the table"
    ),
    "video.truncated": Rule("A video is damaged: frames are missing.", "get a new copy"),
    "video.unreadable": Rule("A video cannot be opened.", "convert or replace it"),
    "video.zero_frames": Rule("A video has no frames that can be decoded.", "replace it"),
    "xml.dtd": Rule("A VOC file has a DTD or entities.", "remove them"),
    "xml.encoding": Rule("A VOC file has an unknown encoding.", TEXT),
    "xml.not_a_file": Rule("A VOC file is a device or pipe.", REGULAR),
    "xml.size": Rule("A VOC file is larger than 10 MB.", "check the file"),
    "xml.syntax": Rule("A VOC file is not valid XML.", "write it again"),
    "yolo.class": Rule("A line of a YOLO file has an unknown class number.", "correct it"),
    "yolo.encoding": Rule("A YOLO file is not in UTF-8.", TEXT),
    "yolo.not_a_file": Rule("A YOLO file is a device or pipe.", REGULAR),
    "yolo.oriented": Rule(
        "A YOLO dataset has oriented boxes.", "export boxes along the axes, or polygons"
    ),
    "yolo.path": Rule("An entry of data.yaml is not a path.", "correct it"),
    "yolo.range": Rule("A box of a YOLO file leaves the image.", "give shares from 0 to 1"),
    "yolo.syntax": Rule("A line of a YOLO file is not a box.", "give CLASS CX CY W H"),
}
WARNINGS: dict[str, Rule] = {
    "ann.id_zero": Rule(
        "An annotation has the id 0, which COCO's own tools take for no match; cvkit does not.",
        "number annotations from 1",
    ),
    "area.mismatch": Rule(
        "The area of an object is larger than its box.", "correct the area, or omit it"
    ),
    "box.clipped": Rule("A box extends beyond its image and is clipped.", "correct the box"),
    "box.without_area": Rule(
        "A box has no width or no height and is not used for training.", "correct or remove it"
    ),
    "class.is_video": Rule(
        "A class folder has images directly, which are read as the frames of one video.",
        "put each video into a folder or file of its own",
    ),
    "class.not_evaluated": Rule(
        "A class has no samples outside the training split.", "add validation samples"
    ),
    "class.spelling": Rule(
        "Classes of two datasets that are read together differ in case or spacing only.",
        "write them in the same way if they are the same",
    ),
    "class.unused": Rule("A listed class has no samples.", "remove it from the list, or add some"),
    "data.note": Rule("The data have an oddity without a rule of its own.", "see the message"),
    "file.same_name": Rule(
        "Two files differ in their suffix only, and one of them is ignored.", "rename one of them"
    ),
    "file.unread": Rule(
        "Images or videos are in a format that is not read.", "convert them, such as to .png"
    ),
    "file.unused": Rule(
        "Files are beside the folders that are read.", "move them into one of the folders"
    ),
    "filename.mismatch": Rule(
        "<filename> of a VOC file is not the name of its image.", "correct <filename>"
    ),
    "image.size_missing": Rule(
        "An annotation does not give the size of its image.", "add width and height"
    ),
    "image.without_label": Rule(
        "An image has no label file and is not used.", "label it, or remove it"
    ),
    "instances.without_classes": Rule(
        "Several classes are listed, but no table gives the objects theirs.", "add instances.csv"
    ),
    "label.shared": Rule("Several images share one label file.", "rename one of the images"),
    "leak.same_file": Rule(
        "The same content is in two splits, so that metrics are too high.",
        "remove it from one of them",
    ),
    "label-noise.class": Rule("A model confidently predicts another class than the label.", LOOK),
    "label-noise.missing": Rule(
        "A model confidently finds an object where none is labelled.", LOOK
    ),
    "label-noise.object": Rule(
        "A model confidently finds an object of another class than its label.", LOOK
    ),
    "label-noise.pixels": Rule(
        "A model confidently predicts other classes for a share of the labelled pixels.", LOOK
    ),
    "leak.near_duplicate": Rule(
        "Two splits have images that look the same.", "remove one, or keep both in one split"
    ),
    "mask.unused": Rule("A mask has no image and is not used.", "add the image"),
    "mask.without_pixels": Rule(
        "A mask has no pixels and is not used for training.", "correct or remove it"
    ),
    "path.ignored": Rule(
        "The path in data.yaml leads out of the dataset and is not followed.", "remove it"
    ),
    "split.unused": Rule(
        "A dataset has several splits with the same meaning, of which train and eval use one.",
        "rename one of them",
    ),
    "video.count_mismatch": Rule(
        "The header of a video claims another number of frames.", "write the file again"
    ),
    "video.shorter_than_clip": Rule(
        "A video has fewer frames than a clip, so that they are repeated.",
        "use fewer --frames, or longer videos",
    ),
}
RULES: dict[str, Rule] = ERRORS | WARNINGS
"""All rules by id."""

ALIASES: dict[str, str] = {
    "category.unused": "class.unused",
    "class.list_changed_since_checkpoint": "classes.differ",
    "file.not_an_image": "image.not_an_image",
    "json.depth": "json.syntax",
    "json.truncated": "json.syntax",
    "leak.same_file_in_train_and_val": "leak.same_file",
    "mask.missing": "split.id_without_file",
    "size.missing": "image.size_missing",
    "video.label_unknown": "class.unknown",
    "xml.entity": "xml.dtd",
}
"""Further names of rules, which `--select` and `--ignore` take too."""


def aliases_of(rule: str) -> list[str]:
    """Return the further names of a rule."""
    return [alias for alias, name in ALIASES.items() if name == rule]


def level_of(rule: str) -> Level:
    """Return the level of a rule."""
    return "warning" if rule in WARNINGS else "error"
