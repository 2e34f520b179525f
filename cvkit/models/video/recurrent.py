"""Image networks whose features are read frame by frame."""

import torch
from torch import Tensor, nn

from cvkit.models.video.frames import ClipNetwork, dense_backbone, each_frame, image_parts


class RecurrentFusion(ClipNetwork):
    """An LSTM, a GRU or a plain recurrent layer reads the features of the frames in order.

    Source: Long-term Recurrent Convolutional Networks, 2014, arXiv:1411.4389; the plain cell,
    tanh(W x + U h + b), is that of Finding Structure in Time, 1990, Cognitive Science 14(2).

    Args:
        backbone: key of `catalog.BACKBONES`.
        num_classes: K.
        image_size: side of the frames.
        cell: `lstm`, `gru` or `rnn`.
        hidden: width of the state.
        bidirectional: also read backwards; the last states of both are joined.
        dropout: rate before the last layer.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        image_size: int,
        *,
        cell: str = "lstm",
        hidden: int = 256,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone, head = image_parts(backbone, num_classes, image_size)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
        both = {"batch_first": True, "bidirectional": bidirectional}
        self.is_lstm = kind is nn.LSTM
        self.reader = kind(head.in_features, hidden, **both)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), num_classes)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        features = each_frame(self.backbone, clips)  # [N, T, D]
        directions = 2 if self.reader.bidirectional else 1
        start = features.new_zeros((directions, clips.shape[0], self.reader.hidden_size))
        _, state = self.reader(features, (start, start) if self.is_lstm else start)
        last = state[0] if isinstance(state, tuple) else state  # [directions, N, hidden]
        return {"out": self.head(self.dropout(last.transpose(0, 1).flatten(1)))}


class ConvLSTM(ClipNetwork):
    """A convolutional LSTM reads the last maps of the frames in order.

    Source: Convolutional LSTM Network, 2015, arXiv:1506.04214 (without peepholes).

    Args:
        backbone: key of `catalog.BACKBONES`, with maps.
        num_classes: K.
        hidden: channels of the state.
    """

    def __init__(self, backbone: str, num_classes: int, hidden: int = 256) -> None:
        super().__init__()
        body = dense_backbone(backbone, "conv-lstm")
        self.backbone, self.hidden = body, hidden
        self.gates = nn.Conv2d(body.channels[-1] + hidden, 4 * hidden, 3, padding=1)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        maps = each_frame(lambda frames: self.backbone(frames)[-1], clips)  # [N, T, C, h, w]
        shape = (clips.shape[0], self.hidden, *maps.shape[-2:])
        state = cell = maps.new_zeros(shape)
        for frame in maps.unbind(1):
            gates = self.gates(torch.cat((frame, state), 1)).chunk(4, 1)
            let_in, forget, let_out = (gate.sigmoid() for gate in gates[:3])
            cell = forget * cell + let_in * gates[3].tanh()
            state = let_out * cell.tanh()
        return {"out": self.head(state.mean((2, 3)))}
