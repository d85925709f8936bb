"""Networks in ONNX and TorchScript files that can be reasoned about: bright voxels are pancreas."""

from __future__ import annotations

import io

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from Testing.helpers import bright_model
from torch import nn

SLOPE, THRESHOLD = 40.0, bright_model.THRESHOLD_HU / 200


def onnx_bytes(
    channels: int = 1, *, elsewhere: bool = False, slope: float = SLOPE, threshold: float = THRESHOLD
) -> bytes:
    """A 1 x 1 x 1 convolution: voxels with values above a threshold are pancreas."""
    weight = np.zeros((2, channels, 1, 1, 1), dtype=np.float32)
    weight[1] = slope
    bias = np.array([0.0, -slope * threshold], dtype=np.float32)
    tensors = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    if elsewhere:
        tensors[0].ClearField("raw_data")
        tensors[0].data_location = TensorProto.EXTERNAL
        tensors[0].external_data.add(key="location", value="../../secret")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"], kernel_shape=[1, 1, 1])],
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, None, None, None])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, None, None, None])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class _Bright(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((torch.zeros_like(x), 40.0 * (x - 0.6)), dim=1)


def script_bytes() -> bytes:
    """The same, saved by PyTorch."""
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(_Bright(), torch.zeros(1, 1, 4, 4, 4)), stream)
    return stream.getvalue()
