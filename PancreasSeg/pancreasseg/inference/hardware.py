"""Which device and which precision this machine offers."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from pancreasseg.core.errors import RunError
from pancreasseg.core.setup import AUTO, DEVICES, PRECISIONS

_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Hardware:
    """Where and how precisely networks run: ``device`` "cpu" or "cuda", ``precision`` "f32", "bf16" or "fp16"."""

    device: str
    precision: str

    @property
    def half(self) -> Hardware:
        """The same device with the smallest precision it is good at."""
        return Hardware(self.device, "fp16" if self.device == "cuda" else self.precision)


def choose(device: str = AUTO, precision: str = AUTO) -> Hardware:
    """The device and precision to use.

    "auto" takes a CUDA GPU where there is one, half precision on it, and bf16 on CPUs with bf16 instructions; plain
    CPUs get f32, because emulated bf16 is slower than f32.

    Raises:
        RunError: a GPU is asked for and there is none, or a precision that the device does not have.
    """
    if device not in (AUTO, *DEVICES) or precision not in (AUTO, *PRECISIONS):
        raise RunError(
            "unknown-device",
            f"There is no device {device!r} with precision {precision!r}.",
            f"Devices are {', '.join((AUTO, *DEVICES))}; precisions are {', '.join((AUTO, *PRECISIONS))}.",
        )
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise RunError(
            "no-gpu",
            "A GPU was asked for, but PyTorch finds none on this computer.",
            "Choose the device 'auto' or 'cpu', or install a PyTorch build for your GPU.",
        )
    chosen = "cuda" if has_gpu and device != "cpu" else "cpu"
    if precision == AUTO:
        precision = "fp16" if chosen == "cuda" else ("bf16" if cpu_has_bf16() else "f32")
    if chosen == "cpu" and precision == "fp16":
        raise RunError(
            "no-fp16-on-cpu",
            "Precision fp16 is only offered on a GPU.",
            "Choose the precision 'auto', 'bf16' or 'f32'.",
        )
    return Hardware(chosen, precision)


def cpu_has_bf16() -> bool:
    """True on CPUs with AMX or AVX512-BF16, where bf16 is faster than f32; asked of the processor at run time."""
    # torch names these with an underscore, but offers no other way to ask.
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16:
        return False  # oneDNN keeps to what that allows, whatever the processor could do
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    avx512 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(amx() or avx512())


def use_cores() -> int:
    """Leave one core free for the person on machines with more than two; returns the threads torch will use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    torch.set_num_threads(cores if cores <= 2 else cores - 1)
    return torch.get_num_threads()


def describe(hardware: Hardware) -> dict[str, str]:
    """Facts for the status line: device name, precision, memory in GB."""
    if hardware.device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return {
            "device": "cuda",
            "name": torch.cuda.get_device_name(),
            "precision": hardware.precision,
            "memory": f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free",
        }
    return {
        "device": "cpu",
        "name": f"CPU, {torch.get_num_threads()} threads",
        "precision": hardware.precision,
        "memory": _cpu_memory(),
    }


def _cpu_memory() -> str:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return "unknown"  # Windows has no sysconf
    return f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
