"""Networks that come as one file: ONNX, which is data, and TorchScript, which carries code.

Their bytes are kept in the package's weights like those of any other network, so they are hashed and verified as these
are.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pancreasseg.core.errors import ModelError, RunError


class _Packed(nn.Module):
    """A file as a tensor of bytes, filled up with zeros.

    Args:
        shape: of the tensor.
        length: bytes of the file, as a text: such numbers are larger than others in a card.
        classes: channels of the output.
    """

    model: Tensor

    def __init__(self, shape: list[int], length: str, classes: int) -> None:
        super().__init__()
        self.register_buffer("model", torch.zeros(shape, dtype=torch.uint8))
        self.classes = classes
        self._length = int(length)
        self._opened: list[Any] = []  # in a list, so that it is no part of this network

    def content(self) -> bytes:
        """The file."""
        return self.model.cpu().numpy().tobytes()[: self._length]


class OnnxNetwork(_Packed):
    """A network in ONNX's format, computed by ONNX Runtime on the processor in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, A, B, C) -> (1, classes, A, B, C).

        Raises:
            RunError: ONNX Runtime is not installed.
            ModelError: the file is no network that ONNX Runtime can compute.
        """
        if not self._opened:
            self._opened.append(_onnx_session(self.content()))
        session = self._opened[0]
        name = session.get_inputs()[0].name
        try:
            answer = session.run(None, {name: np.ascontiguousarray(x.float().cpu().numpy())})[0]
        except Exception as error:  # whatever the runtime throws
            raise _cannot_run("ONNX Runtime", x, session.get_inputs()[0].shape) from error
        return torch.from_numpy(np.asarray(answer, dtype=np.float32)).to(x.device)


class TorchScriptNetwork(_Packed):
    """A network as TorchScript. It carries code, so a package with one is installed only on a person's word."""

    def forward(self, x: Tensor) -> Tensor:
        """(1, 1, A, B, C) -> (1, classes, A, B, C).

        Raises:
            ModelError: the file is no TorchScript that runs.
        """
        try:
            if not self._opened:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # its authors', not the user's
                    self._opened.append(torch.jit.load(io.BytesIO(self.content()), map_location=x.device).eval())
            answer = self._opened[0](x)
        except Exception as error:  # its code may throw anything
            raise _cannot_run("PyTorch", x) from error
        if not isinstance(answer, Tensor):
            raise _cannot_run("PyTorch")
        return answer


def _onnx_session(data: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise RunError(
            "package-missing",
            "The Python package onnxruntime is not installed, which ONNX models need.",
            "Install it for the Python that runs PancreasSeg: pip install onnxruntime",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the runtime throws
        raise _cannot_run("ONNX Runtime") from error


def _cannot_run(what: str, given: Tensor | None = None, wanted: Sequence[Any] = ()) -> ModelError:
    """The error of a file that gives no answer to an input, where it came so far; ONNX says which size it wants."""
    on = "" if given is None else f" on an input of {_sizes(given.shape)}"
    wants = f"; it wants {_sizes(wanted)}" if wanted else ""
    return ModelError(
        "bad-network-file",
        f"{what} cannot compute what this model file describes{on}{wants}.",
        "State the patch that it wants, or export it again: for one image with one channel.",
    )


def _sizes(shape: Sequence[Any]) -> str:
    """Voxels along each axis; "any" where a file leaves that open."""
    return " x ".join(str(size) if isinstance(size, int) else "any" for size in shape)
