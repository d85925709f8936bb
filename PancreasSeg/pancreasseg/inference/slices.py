"""From a prepared array to detections in its axial slices, on whatever memory there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pancreasseg.core.errors import RunError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Progress
from pancreasseg.inference.hardware import DTYPES, Hardware
from pancreasseg.inference.predictor import out_of_memory
from pancreasseg.networks.mask_rcnn import Detections, MaskRCNN

#: Slices in one pass.
BATCH = 8


class SliceDetector:
    """Runs Mask R-CNN, or the members of an ensemble, over all slices of an array.

    When memory runs out it takes one slice at a time, then the CPU, tells the person and stays there.

    Args:
        networks: the members; the detections of all are kept.
        hardware: device and precision to begin with.

    Raises:
        ValueError: no network, or one that does not detect in slices.
    """

    def __init__(self, networks: Sequence[nn.Module], hardware: Hardware) -> None:
        self._networks = [network for network in networks if isinstance(network, MaskRCNN)]
        if not networks or len(self._networks) != len(networks):
            raise ValueError("the localizer of this pipeline has to be a Mask R-CNN")
        self._ladder = [(hardware, BATCH), (hardware, 1)]
        if hardware.device != "cpu":
            self._ladder.append((Hardware("cpu", "f32"), 1))

    @property
    def hardware(self) -> Hardware:
        """Device and precision in use now."""
        return self._ladder[0][0]

    def passes(self, depth: int) -> int:
        """Steps of progress that so many slices take."""
        return -(-depth // self._ladder[0][1]) * len(self._networks)

    def detect(self, array: np.ndarray, outside: float, progress: Progress) -> list[list[Detections]]:
        """Detections in every slice.

        Args:
            array: float32 (K, J, I) as the network wants it.
            outside: value of the neighbours that the first and last slices lack.
            progress: advanced after every pass; cancel takes effect between them.

        Returns:
            By slice what each member found in it, on the CPU.

        Raises:
            RunError: memory runs out even for one slice on the CPU.
            Cancelled: the person cancelled.
        """
        while True:
            hardware, batch = self._ladder[0]
            try:
                return self._run(array, outside, hardware, batch, progress)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self._fall_back(progress)
            progress.extend(self.passes(len(array)))

    def _fall_back(self, progress: Progress) -> None:
        self._ladder.pop(0)
        if not self._ladder:
            raise RunError(
                "out-of-memory",
                "There is not enough memory for a single slice of this volume.",
                "Close other programs, or place the box by hand.",
            )
        where = {"cpu": "the CPU", "cuda": "the GPU"}[self.hardware.device]
        sentence = f"Memory ran out; the computation went on slice by slice on {where} in {self.hardware.precision}."
        progress.notice(Finding("out-of-memory", Severity.WARNING, sentence))

    def _run(
        self, array: np.ndarray, outside: float, hardware: Hardware, batch: int, progress: Progress
    ) -> list[list[Detections]]:
        found: list[list[Detections]] = [[] for _ in array]
        dtype = DTYPES[hardware.precision]
        for network in self._networks:
            network.to(hardware.device)
            reach = network.in_channels // 2
            stack = torch.from_numpy(np.pad(array, ((reach, reach), (0, 0), (0, 0)), constant_values=outside))
            for start in range(0, len(array), batch):
                stop = min(start + batch, len(array))
                x = stack[start : stop + 2 * reach].unfold(0, network.in_channels, 1).permute(0, 3, 1, 2).contiguous()
                with torch.inference_mode(), torch.autocast(hardware.device, dtype, enabled=dtype != torch.float32):
                    results = network.detect(network(x.to(hardware.device)))
                for place, result in zip(range(start, stop), results, strict=True):
                    found[place].append(Detections(*(values.float().cpu() for values in result)))
                progress.advance()
        return found
