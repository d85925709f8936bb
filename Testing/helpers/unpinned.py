"""A process with all that the processor can do: conftest keeps the tests themselves to what every processor has."""

import os

PINS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")


def environment() -> dict[str, str]:
    """The environment of this process without the limits on its arithmetic."""
    return {name: value for name, value in os.environ.items() if name not in PINS}


def has_bf16() -> bool:
    """Whether the processor is good at bf16, limits or not."""
    import torch

    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    avx512 = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(amx() or avx512())
