"""The smallest datasets of every format in which nothing is wrong, for the rules of the check."""

import base64
import io
import json
import struct
import zlib

import numpy as np
from corpus import meta_of_imagenet
from parquet_writing import boxed, labelled, one
from PIL import Image

from cvkit.data.synthetic.samples import WRITERS

SIZE_WH = (72, 64)


def picture(path, number):
    """Write an image that looks like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(number).integers(256, size=(8, 9, 3)).astype(np.uint8)
    Image.fromarray(values).resize(SIZE_WH, Image.Resampling.BICUBIC).save(path)


def mask(path, values):
    """Write a mask of vertical stripes with these values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.repeat(np.array(values), SIZE_WH[0] // len(values))
    Image.fromarray(np.tile(stripes, (SIZE_WH[1], 1)).astype(np.uint8)).save(path)


def folders(root):
    for number, name in enumerate(("train/a/0", "train/b/1", "val/a/2", "val/b/3")):
        picture(root / f"{name}.png", number)


def imagenet(root):
    """ImageNet with its development kit."""
    for number, name in enumerate(("train/n01/0", "train/n02/1", "val/2", "val/3")):
        picture(root / f"{name}.png", number)
    (root / "data").mkdir()
    (root / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text("2\n1\n")
    (root / "data" / "meta.mat").write_bytes(meta_of_imagenet("n01", "n02"))


def contents(root, numbers):
    """Return the files of images that look like no other."""
    for number in numbers:
        picture(root / "made.png", number)
        yield (root / "made.png").read_bytes()
    (root / "made.png").unlink()


def parquet(root):
    """Parquet files of images with classes, for two splits."""
    for split, numbers in (("train", (0, 1, 4)), ("val", (2, 3))):
        content = labelled([*contents(root, numbers)], [0, 1, 1][: len(numbers)], "ab")
        (root / f"{split}-00000-of-00001.parquet").write_bytes(content)


def parquet_boxes(root):
    """Parquet files of images with boxes, for two splits."""
    objects = [one(8, 8, 20, 16), one(4, 6, 30, 20, category=1)]
    for split, numbers in (("train", (0, 1)), ("val", (2, 3))):
        content = boxed([*contents(root, numbers)], objects, "ab")
        (root / f"{split}-00000-of-00001.parquet").write_bytes(content)


def table(root):
    for number in range(4):
        picture(root / f"{number}.png", number)
    rows = ["0.png,a,train", "1.png,b,train", "2.png,a,val", "3.png,b,val"]
    (root / "labels.csv").write_text("\n".join(["path,label,split", *rows, ""]))


def pairs(root):
    for number, name in enumerate(("train/0", "train/1", "val/2")):
        picture(root / "images" / f"{name}.png", number)
        mask(root / "masks" / f"{name}.png", [0, 1])
    (root / "classes.txt").write_text("a\nb\n")


def stacks(root):
    """TIFF files of several pages, for two splits."""
    root.mkdir(parents=True, exist_ok=True)
    for split, numbers in (("train", (0, 1)), ("val", (2, 3))):
        pages = [np.random.default_rng(n).integers(256, size=(8, 9)) for n in numbers]
        images = [Image.fromarray(p.astype(np.uint8)).resize(SIZE_WH) for p in pages]
        images[0].save(root / f"{split}-volume.tif", save_all=True, append_images=images[1:])
        masks = [
            Image.fromarray(np.repeat([[0, 1]], 36, 1).astype(np.uint8)).resize(SIZE_WH, 0)
        ] * 2
        masks[0].save(root / f"{split}-labels.tif", save_all=True, append_images=masks[1:])
    (root / "classes.txt").write_text("a\nb\n")


def voc_masks(root):
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for number in range(3):
        picture(root / "JPEGImages" / f"{number}.png", number)
        mask(root / "SegmentationClass" / f"{number}.png", [0, 1])
    (lists / "train.txt").write_text("0\n1\n")
    (lists / "val.txt").write_text("2\n")
    (root / "classes.txt").write_text("a\nb\n")


def index(root):
    pairs(root)
    (root / "classes.txt").write_text("a\n")


def described(root):
    """Instance masks whose objects have classes."""
    pairs(root)
    rows = [f"images/{name}.png,1,{'ab'[n % 2]}" for n, name in enumerate(PAIRED)]
    (root / "instances.csv").write_text("\n".join(["path,instance,class", *rows, ""]))


PAIRED = ("train/0", "train/1", "val/2")


def coco(root):
    for number, name in enumerate(PAIRED):
        picture(root / "images" / f"{name}.png", number)
    (root / "annotations").mkdir()
    for split, numbers in (("train", (0, 1)), ("val", (2,))):
        content = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "width": SIZE_WH[0], "height": SIZE_WH[1]}
                for n in numbers
            ],
            "categories": [{"id": 1, "name": "a"}, {"id": 5, "name": "b"}],
            "annotations": [
                {
                    **{"id": 10 * n + place, "image_id": n, "category_id": category},
                    **{"bbox": [8, 8, 16, 16], "area": 200, "iscrowd": 0},
                    "segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]],
                }
                for n in numbers
                for place, category in ((1, 1), (2, 5))
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


OBJECT = (
    "<object><name>{}</name><difficult>0</difficult><bndbox><xmin>8</xmin><ymin>8</ymin>"
    "<xmax>24</xmax><ymax>24</ymax></bndbox></object>"
)


def voc(root):
    (root / "Annotations").mkdir(parents=True)
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    size = f"<size><width>{SIZE_WH[0]}</width><height>{SIZE_WH[1]}</height></size>"
    objects = OBJECT.format("a") + OBJECT.format("b")
    for number in range(3):
        picture(root / "JPEGImages" / f"{number}.png", number)
        text = f"<annotation><filename>{number}.png</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"{number}.xml").write_text(text)
    (lists / "train.txt").write_text("0\n1\n")
    (lists / "val.txt").write_text("2\n")
    (root / "classes.txt").write_text("a\nb\n")


def yolo(root):
    for number, name in enumerate(PAIRED):
        picture(root / "images" / f"{name}.png", number)
        labels = root / "labels" / f"{name}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("0 0.5 0.5 0.2 0.2\n1 0.3 0.3 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b]\n")


def videos(root):
    """Folders of frames, of which there are as many as a clip has, and one file."""
    number = 100
    for name in ("train/a/0", "train/b/1", "val/a/2", "val/b/3"):
        for frame in range(16):
            picture(root / name / f"{frame:02}.png", number)
            number += 1


def parts(root):
    """Parts of videos, in a table."""
    videos(root)
    rows = ["train/a/0,a,train,0,0.64", "train/b/1,b,train,0,0.64", "val/a/2,a,val,0,0.64"]
    rows.append("val/b/3,b,val,0,0.64")
    (root / "labels.csv").write_text("\n".join(["path,label,split,start,end", *rows, ""]))


def files(root):
    """Video files."""
    WRITERS["video"](root, {"train": 7, "val": 7}, 3, (32, 32))


def png(width, height):
    """Return the start of a PNG of 8-bit grey values."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


TRACED = ("train/0.png", "train/1.png", "val/2.png")
CORNERS = [[8, 8], [24, 8], [24, 24], [8, 24]]


def cvat(root, shape):
    """CVAT's images with two objects each, as `shape` writes one of a class."""
    rows = []
    for number, name in enumerate(TRACED):
        subset, _, file = name.partition("/")
        picture(root / "images" / name, number)
        size = f'width="{SIZE_WH[0]}" height="{SIZE_WH[1]}"'
        objects = "".join(map(shape, "ab"))
        rows.append(
            f'<image id="{number}" name="{file}" subset="{subset}" {size}>{objects}</image>'
        )
    labels = "".join(f"<label><name>{name}</name></label>" for name in "ab")
    meta = f"<meta><job><labels>{labels}</labels></job></meta>"
    (root / "annotations.xml").write_text(f"<annotations>{meta}{''.join(rows)}</annotations>")


def cvat_boxes(root):
    cvat(root, lambda name: f'<box label="{name}" xtl="8" ytl="8" xbr="24" ybr="24"></box>')


def cvat_polygons(root):
    points = ";".join(f"{x},{y}" for x, y in CORNERS)
    cvat(root, lambda name: f'<polygon label="{name}" points="{points}"></polygon>')


def labelme(root):
    part = io.BytesIO()
    Image.fromarray(np.full((17, 17), 255, np.uint8)).save(part, "PNG")
    drawn = {"shape_type": "polygon", "points": CORNERS}
    masked = {"shape_type": "mask", "points": [[8, 8], [24, 24]]}
    masked["mask"] = base64.b64encode(part.getvalue()).decode()
    for number, name in enumerate(TRACED):
        picture(root / name, number)
        rows = [{"label": "a", "group_id": None} | drawn, {"label": "b", "group_id": None} | masked]
        about = {"imagePath": f"{number}.png", "imageData": None, "shapes": rows}
        about |= {"imageWidth": SIZE_WH[0], "imageHeight": SIZE_WH[1]}
        (root / name).with_suffix(".json").write_text(json.dumps(about))


def studio(root, make):
    """Label Studio's export with two objects for each image, as `make` writes one of a class."""
    size = {"original_width": SIZE_WH[0], "original_height": SIZE_WH[1], "image_rotation": 0}
    tasks = []
    for number in range(3):
        picture(root / "images" / f"{number}.png", number)
        result = [make(name) | size for name in "ab"]
        image = {"image": f"/data/local-files/?d=images/{number}.png"}
        tasks.append({"id": number, "annotations": [{"result": result}], "data": image})
    (root / "project.json").write_text(json.dumps(tasks))


def studio_boxes(root):
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    studio(
        root,
        lambda name: {"type": "rectanglelabels", "value": box | {"rectanglelabels": [name]}},
    )


def studio_polygons(root):
    points = [[10, 10], [30, 10], [30, 30]]
    studio(
        root,
        lambda name: {
            "type": "polygonlabels",
            "value": {"points": points, "polygonlabels": [name]},
        },
    )
