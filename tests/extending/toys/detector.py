"""A detector without a second stage: one file and one row."""

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import batched_nms, clip_boxes_to_image

from cvkit import catalog
from cvkit.arch_facts import Detector as Facts
from cvkit.arch_table import BOX_DETECTORS, DETECTORS
from cvkit.models.detection.detectors import Detector
from cvkit.models.detection.roi_heads import Detections
from cvkit.ops.boxes import scale_boxes

STRIDE = 16


class Points(Detector):
    """The cell that holds the centre of an object scores its class and says its box."""

    def __init__(self, backbone, num_classes, transform):
        super().__init__()
        self.transform, self.backbone = transform, backbone
        self.level = backbone.strides.index(STRIDE)
        self.head = nn.Conv2d(backbone.channels[self.level], num_classes + 4, 1)

    def outputs(self, images):
        """Return logits [N, K, H, W] and distances [N, 4, H, W] in strides."""
        found = self.head(self.backbone(images)[self.level])
        return found[:, :-4], F.softplus(found[:, -4:])

    def losses(self, images, targets):
        batch = self.transform(images)
        logits, distances = self.outputs(batch.images)
        wanted = torch.zeros_like(logits)
        terms = []
        boxes_of = self.transform.boxes(batch, targets.boxes)
        for place, (boxes, labels) in enumerate(zip(boxes_of, targets.labels, strict=True)):
            for box, label in zip(boxes / STRIDE, labels, strict=True):
                x, y = ((box[:2] + box[2:]) / 2).long()
                wanted[place, label - 1, y, x] = 1.0
                middle = torch.stack([x, y]) + 0.5
                sides = torch.cat([middle - box[:2], box[2:] - middle])
                terms.append(F.smooth_l1_loss(distances[place, :, y, x], sides))
        box_loss = torch.stack(terms).mean() if terms else 0.0 * distances.sum()
        classes = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        return {"loss_classifier": classes / max(1, len(terms)), "loss_box_reg": box_loss}

    def detect(self, images, proposals=None):
        batch = self.transform(images)
        logits, distances = self.outputs(batch.images)
        results = []
        sizes = zip(logits, distances, batch.sizes_hw, batch.original_hw, strict=True)
        for scores, sides, inner_hw, outer_hw in sizes:
            found, place = scores.sigmoid().flatten().topk(50)
            classes, cell = place // scores[0].numel(), place % scores[0].numel()
            middle = torch.stack([cell % scores.shape[2], cell // scores.shape[2]], 1) + 0.5
            left_top, right_bottom = sides.flatten(1)[:, cell].T.split(2, 1)
            boxes = torch.cat([middle - left_top, middle + right_bottom], 1) * STRIDE
            boxes = clip_boxes_to_image(boxes, inner_hw)
            kept = batched_nms(boxes, found, classes, 0.5)
            boxes = scale_boxes(boxes[kept], inner_hw, outer_hw)
            results.append(Detections(boxes, found[kept], classes[kept] + 1))
        return results

    def probe(self, images):
        inputs = self.transform(images).images.requires_grad_()
        return inputs, self.outputs(inputs)[0]

    @property
    def body(self):
        return self.backbone

    def stages(self):
        return self.backbone.stages()

    def pretrained_part(self):
        return self.backbone


def make(spec, num_classes, transform, facts):
    """Return the detector that a model file describes."""
    body = catalog.BACKBONES[spec.backbone]
    return Points(catalog.resolve(body.target)(body.builder), num_classes, transform)


ROW = Facts(
    target="toys.detector:make",
    about="one stage",
    fixed_parts=True,
    fixed_anchors=True,
    roi_samples=1,
)
BOX_DETECTORS["points"] = DETECTORS["points"] = ROW
