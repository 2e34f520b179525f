"""Detectors of detectron2 and mmdetection, compared with a second implementation of their rules.

Neither is in the registry. The lists of names and shapes are those of their published models
(R50-FPN, `FrozenBN`, 3 anchors per position); `Reference` is their inference, written from their
documentation.
"""

import json
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import batched_nms, roi_align

from cvkit.data.synthetic.scenes import make_single
from cvkit.errors import CvkitError
from cvkit.models.layouts import detectors
from cvkit.options.tools import WeightsImport
from cvkit.tasks.detect.inputs import Preprocessing
from cvkit.tasks.detect.network import Network
from cvkit.tasks.torchvision_import import imported_model

CLASSES = 80
BLOCKS = {50: (3, 4, 6, 3)}
NORM = ("weight", "bias", "running_mean", "running_var")


def resnet_shapes():
    """Yield place, kind and shape of each layer of ResNet-50, by stage and block."""
    yield "stem", "conv1", (64, 3, 7, 7)
    given = 64
    for stage, count in enumerate(BLOCKS[50]):
        middle, wide = 64 * 2**stage, 256 * 2**stage
        for block in range(count):
            place = (stage, block)
            if block == 0:
                yield place, "shortcut", (wide, given, 1, 1)
            yield place, "conv1", (middle, given, 1, 1)
            yield place, "conv2", (middle, middle, 3, 3)
            yield place, "conv3", (wide, middle, 1, 1)
            given = wide


def heads(names, masks):
    """Shapes of the parts after the backbone, by the names of a project."""
    found = {}
    for level in range(4):
        found[names["lateral"].format(level)] = (256, 256 * 2**level, 1, 1)
        found[names["output"].format(level)] = (256, 256, 3, 3)
    found[names["rpn"]] = (256, 256, 3, 3)
    found[names["objectness"]] = (3, 256, 1, 1)
    found[names["deltas"]] = (12, 256, 1, 1)
    found[names["fc1"]] = (1024, 256 * 49)
    found[names["fc2"]] = (1024, 1024)
    found[names["scores"]] = (CLASSES + 1, 1024)
    found[names["boxes"]] = (4 * CLASSES, 1024)
    if masks:
        found |= {names["mask"].format(n): (256, 256, 3, 3) for n in range(4)}
        found[names["deconv"]] = (256, 256, 2, 2)
        found[names["logits"]] = (CLASSES, 256, 1, 1)
    return found


DETECTRON2 = {
    "lateral": "backbone.fpn_lateral{}",
    "output": "backbone.fpn_output{}",
    "rpn": "proposal_generator.rpn_head.conv",
    "objectness": "proposal_generator.rpn_head.objectness_logits",
    "deltas": "proposal_generator.rpn_head.anchor_deltas",
    "fc1": "roi_heads.box_head.fc1",
    "fc2": "roi_heads.box_head.fc2",
    "scores": "roi_heads.box_predictor.cls_score",
    "boxes": "roi_heads.box_predictor.bbox_pred",
    "mask": "roi_heads.mask_head.mask_fcn{}",
    "deconv": "roi_heads.mask_head.deconv",
    "logits": "roi_heads.mask_head.predictor",
}
MMDET = {
    "lateral": "neck.lateral_convs.{}.conv",
    "output": "neck.fpn_convs.{}.conv",
    "rpn": "rpn_head.rpn_conv",
    "objectness": "rpn_head.rpn_cls",
    "deltas": "rpn_head.rpn_reg",
    "fc1": "roi_head.bbox_head.shared_fcs.0",
    "fc2": "roi_head.bbox_head.shared_fcs.1",
    "scores": "roi_head.bbox_head.fc_cls",
    "boxes": "roi_head.bbox_head.fc_reg",
    "mask": "roi_head.mask_head.convs.{}.conv",
    "deconv": "roi_head.mask_head.upsample",
    "logits": "roi_head.mask_head.conv_logits",
}
FIRST = {"lateral": 2, "output": 2, "mask": 1}
"""Number that detectron2 begins to count from."""


def layer_name(project, place, kind):
    """Return a convolution's name and its batch norm's in a backbone of a project."""
    if project == "detectron2":
        inner = "stem" if place == "stem" else f"res{place[0] + 2}.{place[1]}"
        name = f"backbone.bottom_up.{inner}.{kind}"
        return name, f"{name}.norm"
    if place == "stem":
        return "backbone.conv1", "backbone.bn1"
    inner = f"backbone.layer{place[0] + 1}.{place[1]}"
    if kind == "shortcut":
        return f"{inner}.downsample.0", f"{inner}.downsample.1"
    return f"{inner}.{kind}", f"{inner}.bn{kind[-1]}"


def named(project):
    names = dict(DETECTRON2 if project == "detectron2" else MMDET)
    if project == "detectron2":
        for key, first in FIRST.items():
            names[key] = _Counted(names[key], first)
    return names


class _Counted(str):
    """A template whose number starts elsewhere."""

    def __new__(cls, text, first):
        self = super().__new__(cls, text)
        self.first = first
        return self

    def format(self, number):
        return str(self).replace("{}", str(number + self.first))


def noise(*shape):
    """Return a tensor of random numbers, which are repeated to save time."""
    count = int(np.prod(shape))
    block = torch.randn(8191)  # a prime, so that no two rows are equal
    return block.repeat(-(-count // len(block)))[:count].view(shape).clone()


def state_of(project, masks, seed=0):
    """Random tensors with the names and shapes of a published R50-FPN."""
    torch.manual_seed(seed)
    state = {}
    for place, kind, shape in resnet_shapes():
        conv, norm = layer_name(project, place, kind)
        state[f"{conv}.weight"] = noise(*shape) * (2 / np.prod(shape[1:])) ** 0.5
        gain = 0.3 if kind == "conv3" else 1.0
        state |= {
            f"{norm}.weight": torch.rand(shape[0]).add(0.5) * gain,
            f"{norm}.bias": torch.randn(shape[0]) * 0.1,
            f"{norm}.running_mean": torch.randn(shape[0]) * 0.1,
            f"{norm}.running_var": torch.rand(shape[0]) + 0.5,
        }
    first = f"{layer_name(project, 'stem', 'conv1')[0]}.weight"
    if project == "detectron2":
        state[first] /= 50  # its pixels are 0..255
    for name, shape in heads(named(project), masks).items():
        state[f"{name}.weight"] = noise(*shape) * (1 / np.prod(shape[1:])) ** 0.5
        state[f"{name}.bias"] = (
            torch.randn(shape[1] if "deconv" in name or "upsample" in name else shape[0]) * 0.1
        )
    names = named(project)
    state[f"{names['deltas']}.weight"] *= 0.2
    return state


class Reference:
    """Inference of both projects from a state dict: no class of cvkit is used."""

    def __init__(self, project, state, stride_first):
        self.project, self.state, self.stride_first = project, state, stride_first
        self.names = named(project)

    def conv(self, x, place, kind, stride=1, padding=0):
        conv, norm = layer_name(self.project, place, kind)
        x = F.conv2d(x, self.state[f"{conv}.weight"], None, stride, padding)
        w, b, m, v = (self.state[f"{norm}.{n}"] for n in NORM)
        return F.batch_norm(x, m, v, w, b, False, 0.0, 1e-5)

    def layer(self, x, key, number=None, padding=0):
        name = self.names[key] if number is None else self.names[key].format(number)
        w, b = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.linear(x, w, b) if w.ndim == 2 else F.conv2d(x, w, b, 1, padding)

    def maps(self, x):
        x = self.conv(x, "stem", "conv1", 2, 3).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        found = []
        for stage, count in enumerate(BLOCKS[50]):
            for block in range(count):
                stride = 2 if stage and not block else 1
                first, second = (stride, 1) if self.stride_first else (1, stride)
                place = (stage, block)
                y = self.conv(x, place, "conv1", first).relu()
                y = self.conv(y, place, "conv2", second, 1).relu()
                y = self.conv(y, place, "conv3")
                x = (y + (x if block else self.conv(x, place, "shortcut", stride))).relu()
            found.append(x)
        inner = [self.layer(x, "lateral", n) for n, x in enumerate(found)]
        for n in (2, 1, 0):
            inner[n] = inner[n] + F.interpolate(inner[n + 1], scale_factor=2, mode="nearest")
        out = [self.layer(x, "output", n, 1) for n, x in enumerate(inner)]
        return [*out, out[-1][:, :, ::2, ::2]]

    @staticmethod
    def apply(anchors, deltas, weights):
        w, h = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
        x, y = anchors[:, 0] + w / 2, anchors[:, 1] + h / 2
        dx, dy, dw, dh = (deltas / torch.tensor(weights)).unbind(1)
        x, y = x + dx * w, y + dy * h
        limit = float(np.log(1000 / 16))
        w, h = w * dw.clamp(max=limit).exp(), h * dh.clamp(max=limit).exp()
        return torch.stack((x - w / 2, y - h / 2, x + w / 2, y + h / 2), 1)

    @staticmethod
    def clipped(boxes, size_hw):
        height, width = size_hw
        return torch.stack(
            (
                boxes[:, 0].clamp(0, width),
                boxes[:, 1].clamp(0, height),
                boxes[:, 2].clamp(0, width),
                boxes[:, 3].clamp(0, height),
            ),
            1,
        )

    def proposals(self, maps, size_hw):
        boxes, scores, levels = [], [], []
        for level, x in enumerate(maps):
            hidden = self.layer(x, "rpn", padding=1).relu()
            score = self.layer(hidden, "objectness")[0].permute(1, 2, 0).flatten()
            delta = self.layer(hidden, "deltas")[0]
            height, width = delta.shape[-2:]
            delta = delta.view(3, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 4)
            stride, side = 4 * 2**level, 32 * 2**level
            cells = []
            for ratio in (0.5, 1.0, 2.0):
                w = (side**2 / ratio) ** 0.5
                cells.append((-w / 2, -w * ratio / 2, w / 2, w * ratio / 2))
            y, x0 = torch.meshgrid(
                torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij"
            )
            shift = torch.stack((x0, y, x0, y), -1).reshape(-1, 1, 4)
            anchors = (shift + torch.tensor(cells)).reshape(-1, 4)
            top = score.topk(min(1000, len(score)))
            boxes.append(self.apply(anchors[top.indices], delta[top.indices], (1.0,) * 4))
            scores.append(top.values)
            levels.append(torch.full_like(top.indices, level))
        boxes, scores, levels = (
            self.clipped(torch.cat(boxes), size_hw),
            torch.cat(scores),
            torch.cat(levels),
        )
        alive = ((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])).nonzero()[:, 0]
        boxes, scores, levels = boxes[alive], scores[alive], levels[alive]
        return boxes[batched_nms(boxes, scores, levels, 0.7)[:1000]]

    def pooled(self, maps, boxes, side):
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        level = torch.floor(4 + torch.log2(area.sqrt() / 224 + 1e-8)).clamp(2, 5).long() - 2
        found = torch.zeros(len(boxes), 256, side, side)
        for n in range(4):
            here = level == n
            found[here] = roi_align(
                maps[n], [boxes[here]], side, 1 / (4 * 2**n), sampling_ratio=0, aligned=True
            )
        return found

    def sharpen(self, pixels, size_hw):
        """Scale the scores so that classes differ, and none is certain."""
        maps = self.maps(pixels)
        regions = self.proposals(maps, size_hw)[:50]
        hidden = self.layer(self.pooled(maps, regions, 7).flatten(1), "fc1").relu()
        hidden = self.layer(hidden, "fc2").relu()
        for key, wanted in (("scores", 1.5), ("boxes", 1.0)):
            name = f"{self.names[key]}.weight"
            self.state[name] *= wanted / (hidden @ self.state[name].T).std()

    def detect(self, pixels, size_hw):
        """Return boxes, scores, labels from 0, and mask probabilities."""
        maps = self.maps(pixels)
        regions = self.proposals(maps, size_hw)
        hidden = self.layer(self.pooled(maps, regions, 7).flatten(1), "fc1").relu()
        hidden = self.layer(hidden, "fc2").relu()
        scores = self.layer(hidden, "scores").softmax(1)[:, :-1]  # the background is last
        deltas = self.layer(hidden, "boxes").view(len(regions), CLASSES, 4)
        region, label = (scores > 0.05).nonzero(as_tuple=True)
        boxes = self.apply(regions[region], deltas[region, label], (10.0, 10.0, 5.0, 5.0))
        boxes, scores = self.clipped(boxes, size_hw), scores[region, label]
        kept = batched_nms(boxes, scores, label, 0.5)[:100]
        boxes, scores, label = boxes[kept], scores[kept], label[kept]
        if f"{self.names['logits']}.weight" not in self.state:
            return boxes, scores, label, None
        x = self.pooled(maps, boxes, 14)
        for n in range(4):
            x = self.layer(x, "mask", n, 1).relu()
        deconv = self.names["deconv"]
        x = F.conv_transpose2d(
            x, self.state[f"{deconv}.weight"], self.state[f"{deconv}.bias"], 2
        ).relu()
        masks = self.layer(x, "logits")[torch.arange(len(label)), label].sigmoid()
        return boxes, scores, label, masks


PROJECTS = {"detectron2": (detectors.DETECTRON2, True), "mmdet": (detectors.MMDET, False)}
"""Projects, and whether bottlenecks have their stride in the first convolution."""
SIZE_HW = (96, 128)


@pytest.fixture(scope="module")
def image():
    return make_single(5, 1, SIZE_HW)[0].render().image


def pixels_of(project, image):
    """A normalised batch in the order of channels and the range of a project."""
    values = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    if project == "detectron2":
        values, mean, std = values.flip(1), (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
    else:
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.fixture(scope="module", params=PROJECTS)
def reference(request, image):
    """Project, tensors of a Mask R-CNN with scores that differ, and its detections."""
    project = request.param
    state = state_of(project, masks=True)
    model = Reference(project, state, PROJECTS[project][1])
    pixels = pixels_of(project, image)
    with torch.no_grad():
        model.sharpen(pixels, SIZE_HW)
        return project, state, model.detect(pixels, SIZE_HW)


def stored(project, state, folder, **meta):
    """Write a file as the project publishes it."""
    if project == "detectron2":
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
        path = folder / "d.pkl"
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        path = folder / "d.pth"
        torch.save({"meta": meta, "state_dict": state}, path)
    return path


def imported(path, task, arch, backbone="resnet50"):
    out = path.with_suffix(".safetensors")
    asked = WeightsImport(file=path, out=out, task=task, arch=arch, backbone=backbone)
    return imported_model(asked)


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize(("task", "arch"), [("detect", "faster-rcnn"), ("instance", "mask-rcnn")])
def test_a_detector_has_the_detections_of_its_project(tmp_path, reference, image, task, arch):
    project, state, (boxes, scores, labels, masks) = reference
    if task == "detect":
        state = {name: tensor for name, tensor in state.items() if "mask_head" not in name}
    tensors, header, _ = imported(stored(project, state, tmp_path), task, arch)
    assert header["imported"]["names"].endswith(PROJECTS[project][0])
    assert [header["classes"][n]["id"] for n in (0, 11, 12, 79)] == [1, 13, 14, 90]
    content = header["preprocessing"] | {"min_sizes": (SIZE_HW[0],)}
    detector = Network(**header["network"]).build(CLASSES, Preprocessing(**content)).eval()
    detector.load_state_dict(tensors)
    with torch.no_grad():
        (found,) = detector.detect([torch.from_numpy(image.copy()).permute(2, 0, 1)])
    assert len(scores) > 20 and len(labels.unique()) > 3, "the detections say nothing"
    same = labels[:, None] == found.labels - 1  # [expected, found]
    same &= (scores[:, None] - found.scores).abs() < 1e-4
    same &= (boxes[:, None] - found.boxes).abs().amax(2) < 1e-2
    # Of two detections whose scores differ in the last bits, NMS may drop either.
    assert len(found.labels) == len(labels)
    assert same.any(1).sum() >= len(labels) - 2
    assert same.any(0).sum() >= len(labels) - 2
    if task == "instance":
        pairs = [(n, int(row.nonzero()[0, 0])) for n, row in enumerate(same) if row.any()]
        wrong = [(found.grids[m].flatten() - masks[n].flatten()).abs().max() for n, m in pairs]
        assert max(wrong) < 1e-3 < masks.std()


CONFIG = """
model = dict(backbone=dict(type='ResNet', depth=50, style='caffe'))
img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)
"""
RESNEXT = (
    "style='pytorch' mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False"
)


@pytest.mark.parametrize(
    ("text", "bgr", "first", "mean", "std"),
    [
        ("", False, False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (CONFIG, True, True, (123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
        (RESNEXT, True, False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("bgr_to_rgb=True, style='pytorch'", False, False, None, None),
    ],
)
def test_mmdetections_configuration_says_how_pixels_are_taken(text, bgr, first, mean, std):
    layout = next(each for each in detectors.LAYOUTS if each.project == detectors.MMDET)
    found = detectors.pixels_of(layout, {}, {"meta": {"config": text}})
    assert (found.bgr, found.stride_first) == (bgr, first)
    for name, values in (("mean", mean), ("std", std)):
        if values:
            rgb = [255 * each for each in found.rgb_statistics[name]]
            assert rgb == pytest.approx(values)


@pytest.mark.parametrize(
    ("mean", "std", "bgr", "first"),
    [
        ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), True, True),
        ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), True, False),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False, False),
    ],
)
def test_detectron2s_own_numbers_say_how_pixels_are_taken(mean, std, bgr, first):
    layout = next(each for each in detectors.LAYOUTS if each.project == detectors.DETECTRON2)
    tensors = {"pixel_mean": torch.tensor(mean)[:, None, None], "pixel_std": torch.tensor(std)}
    found = detectors.pixels_of(layout, tensors, {})
    assert (found.bgr, found.stride_first) == (bgr, first)


def config_of(**changes):
    pooler = {"POOLER_TYPE": "ROIAlignV2", "POOLER_SAMPLING_RATIO": 0}
    model = {
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
        "RESNETS": {"STRIDE_IN_1X1": False},
        "ROI_BOX_HEAD": pooler,
        "ROI_MASK_HEAD": pooler,
    }
    return {"MODEL": model | changes, "INPUT": {"FORMAT": "RGB"}}


def test_detectron2s_configuration_is_read():
    layout = next(each for each in detectors.LAYOUTS if each.project == detectors.DETECTRON2)
    found = detectors.pixels_of(layout, {}, {"detectron2": config_of()})
    assert (found.bgr, found.stride_first, found.about) == (False, False, "in config.yaml")
    assert found.rgb_statistics["mean"] == pytest.approx((0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            config_of(ROI_BOX_HEAD={"POOLER_TYPE": "ROIAlign", "POOLER_SAMPLING_RATIO": 2}),
            "ROIAlign with 2",
        ),
        ({"model": 3}, "it is not detectron2's"),
        ([1, 2], "it is not detectron2's"),
    ],
)
def test_a_configuration_that_is_not_usable_is_refused(tmp_path, content, words):
    (tmp_path / "config.yaml").write_text(json.dumps(content))  # JSON is YAML
    keys = ("proposal_generator.rpn_head.conv", "backbone.fpn_lateral2", "roi_heads.box_head.fc2")
    state = {f"{key}.weight": torch.zeros(1) for key in keys}
    with pytest.raises(CvkitError, match=words) as caught:
        imported(stored("detectron2", state, tmp_path), "detect", "faster-rcnn")
    assert caught.value.code == "import.config"
    assert "config.yaml" in str(caught.value)


def test_the_background_moves_to_the_front():
    scores, boxes = torch.arange(3.0), torch.arange(8.0)
    place = "roi_heads.box_predictor"
    state = {f"{place}.cls_score.{kind}": scores for kind in ("weight", "bias")}
    state |= {f"{place}.bbox_pred.{kind}": boxes for kind in ("weight", "bias")}
    found = detectors.background_first(state)
    assert found[f"{place}.cls_score.bias"].tolist() == [2, 0, 1]
    assert found[f"{place}.bbox_pred.bias"].tolist() == [0, 0, 0, 0, *range(8)]


FOREIGN = {
    "keypoint R-CNN": "roi_heads.keypoint_head.conv_fcn1.weight",
    "panoptic FPN": "sem_seg_head.predictor.weight",
    "Cascade R-CNN": "roi_heads.box_head.0.fc1.weight",
    "R-CNN without a feature pyramid": "roi_heads.res5.0.conv1.weight",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_detector_that_cvkit_does_not_have_is_refused_by_its_name(tmp_path, name):
    state = {
        FOREIGN[name]: torch.zeros(1),
        "proposal_generator.rpn_head.conv.weight": torch.zeros(1),
    }
    with pytest.raises(CvkitError, match=f"names of {name} of detectron2, which cvkit does not"):
        imported(stored("detectron2", state, tmp_path), "detect", "faster-rcnn")


def test_masks_belong_to_the_task_that_has_them(tmp_path, reference):
    project, state, _ = reference
    state = {name: tensor[:1] for name, tensor in state.items()}  # names are enough
    with pytest.raises(CvkitError, match="names of Mask R-CNN") as caught:
        imported(stored(project, state, tmp_path), "detect", "faster-rcnn")
    assert caught.value.hint == "--task instance"


def test_class_names_of_a_checkpoint_are_used():
    meta = {"CLASSES": ("one", "two")}
    assert detectors.class_names({"meta": meta}) == ["one", "two"]
    assert detectors.class_names({"meta": {"dataset_meta": {"classes": ["one"]}}}) == ["one"]
    assert detectors.class_names({"meta": {"CLASSES": [1, 2]}}) == []
    assert detectors.class_names({}) == []
