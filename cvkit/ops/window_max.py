"""The largest values in rectangles of a map, by lookup: RoI Pool without a kernel of its own."""

import torch
from torch import Tensor

NUMBERS = 2**15
"""Per lookup: they stay in the cache, and torch uses one thread, which waits for no other."""
LOWEST = torch.finfo(torch.float32).min
"""What RoI Pool starts from: only larger values count."""


def pool_by_lookup(maps: Tensor, boxes: Tensor, image: Tensor, side: int, scale: float) -> Tensor:
    """Return the RoI Pool of boxes, with the values of torchvision's kernel, but no gradient.

    Args:
        maps: [N, C, H, W] float32.
        boxes: [R, 4] in image pixels.
        image: [R] index of each box's map.
        side: of the result, in cells.
        scale: map pixels per image pixel.

    Returns:
        [R, C, side, side]; 0 where a cell lies outside the map.
    """
    _, channels, height, width = maps.shape
    boxes = boxes.float()
    rows = _axis(boxes[:, 1], boxes[:, 3], scale, height, side)
    columns = _axis(boxes[:, 0], boxes[:, 2], scale, width, side)
    low = torch.stack(torch.broadcast_tensors(rows[0][:, :, None], columns[0][:, None, :]), -1)
    high = torch.stack(torch.broadcast_tensors(rows[1][:, :, None], columns[1][:, None, :]), -1)
    first = image.long()[:, None, None].expand(low.shape[:-1])
    windows = (first.reshape(-1), low.reshape(-1, 2), high.reshape(-1, 2))
    table = maps.permute(0, 2, 3, 1)  # free if NHWC
    cells = _largest(table.where(table > LOWEST, LOWEST), *windows)  # NaN does not count
    return cells.view(len(boxes), side, side, channels).permute(0, 3, 1, 2)


def _axis(low: Tensor, high: Tensor, scale: float, size: int, side: int) -> tuple[Tensor, Tensor]:
    """Return the [R, side] first positions of cells on one axis, and those after the last."""
    start, end = (_rounded(values * scale) for values in (low, high))
    cell = (end - start + 1).clamp(min=1) / side
    steps = torch.arange(side, device=low.device, dtype=torch.float32)
    first = (steps * cell[:, None]).floor() + start[:, None]
    after = ((steps + 1) * cell[:, None]).ceil() + start[:, None]
    return first.clamp(0, size).long(), after.clamp(0, size).long()


def _rounded(values: Tensor) -> Tensor:
    """Return whole numbers; halves go away from 0, as in C."""
    whole = values.trunc()
    return whole + values.sign() * ((values - whole).abs() >= 0.5)


def _is_empty(low: Tensor, high: Tensor) -> Tensor:
    return (high <= low).any(1)


def _largest(table: Tensor, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return [B, C] the largest values in B windows of an [N, H, W, C] table.

    A window is covered by four of the largest powers of 2 that fit into it. The table of one size
    of such squares follows from that of half the size, and only one is in memory at a time.

    Args:
        table: of numbers.
        image: [B] index of each window's map.
        low: [B, 2] its first row and column.
        high: [B, 2] the row and column after its last; empty windows have 0s as their result.
    """
    _, height, width, channels = table.shape
    result = table.new_zeros((len(image), channels))
    powers = torch.frexp((high - low).clamp(min=1).float()).exponent.long() - 1  # [B, 2]
    starts, ends = low, high - 2**powers
    used = torch.where(~_is_empty(low, high))[0]
    places = {}
    for pair in powers[used].unique(dim=0).tolist():
        places[tuple(pair)] = used[(powers[used] == torch.tensor(pair)).all(1)]
    tall = table
    for vertical in range(1 + max((power for power, _ in places), default=-1)):
        tall = tall if vertical == 0 else _doubled(tall, 2 ** (vertical - 1), 1)
        wide, level = tall, 0
        for horizontal in sorted(power for up, power in places if up == vertical):
            while level < horizontal:
                wide, level = _doubled(wide, 2**level, 2), level + 1
            flat = wide.reshape(-1, channels)
            for part in places[vertical, horizontal].split(max(1, NUMBERS // channels)):
                base = image[part] * (height * width)
                (top, left), (bottom, right) = starts[part].unbind(1), ends[part].unbind(1)
                found = flat.index_select(0, base + top * width + left)
                others = [(top, right)] * (horizontal > 0) + [(bottom, left)] * (vertical > 0)
                if horizontal and vertical:  # sides of 1 need no second lookup
                    others.append((bottom, right))
                for y, x in others:
                    torch.maximum(found, flat.index_select(0, base + y * width + x), out=found)
                result.index_copy_(0, part, found)
    return result


def _doubled(table: Tensor, step: int, axis: int) -> Tensor:
    """Return the larger of each value and the one `step` further; the last ones keep theirs."""
    result = table.clone(memory_format=torch.contiguous_format)
    size = table.shape[axis] - step
    if size > 0:
        first, second = table.narrow(axis, 0, size), table.narrow(axis, step, size)
        torch.maximum(first, second, out=result.narrow(axis, 0, size))
    return result
