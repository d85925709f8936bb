"""What a run is made with."""

AUTO = "auto"
#: Where networks run, and how a list calls it.
DEVICES = {"cuda": "Graphics card (CUDA)", "cpu": "Processor (CPU)"}
#: How precisely networks run, and how a list calls it.
PRECISIONS = {"f32": "Full (f32)", "bf16": "Half (bf16)", "fp16": "Half (fp16)"}
