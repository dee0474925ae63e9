"""Where a network computes, and with what precision."""

import torch

PRECISIONS = ("auto", "float32", "bfloat16")

# Images at most this wide, and those narrower than the second that are taller than
# wide, are never in bfloat16; see `resolve_precision`.
_NARROW, _NARROW_AND_TALL = 16, 128


def resolve_device(device: str) -> str:
    """Return the device, with ``"auto"`` as CUDA if there is a GPU, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=str(device))
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(
            'Expected device to be "auto", "cpu" or a CUDA device that torch.cuda '
            f"lists, got {device!r} ({str(error).splitlines()[0]})."
        ) from None
    return str(device)


def same_or_cpu(device: str) -> str:
    """Return the device if it exists on this machine, else the CPU."""
    where = torch.device(device)
    if where.type == "cuda" and (where.index or 0) < torch.cuda.device_count():
        return device
    return "cpu"


def resolve_precision(
    precision: str, device: str, image_shape: tuple[int, ...]
) -> torch.dtype | None:
    """Return the dtype to autocast to, or None for float32 throughout.

    ``"auto"`` means bfloat16 only on processors that compute with it natively: CUDA
    from compute capability 8 on, CPUs with AVX-512 BF16 or AMX. Narrow images are
    always in float32.
    """
    # On a CPU with AMX, a strided convolution in bfloat16 reads uninitialised memory if
    # its output is one pixel wide and taller than that, and so does its gradient if its
    # input is one pixel wide (PyTorch 2.14). Most networks halve the width five times;
    # in ConvNeXt 63 pixels become one, in Inception 106.
    height, width = image_shape[-2:]
    if width <= _NARROW or width < min(height, _NARROW_AND_TALL):
        return None
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif torch.device(device).type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        native = False
    return torch.bfloat16 if native else None


def autocast(device: str, dtype: torch.dtype | None) -> torch.autocast:
    """Return the context in which networks compute with `dtype`; None is float32."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=dtype, enabled=dtype is not None)
