"""Where tensors are computed: the device that a user names, if it is there.

Models are written for any device. What differs between them stands here and in `precision.py`:
Apple's GPUs ("mps") have no float64, so that exact sums are kept on the processor.
"""

import torch

AUTO = "auto"


def find_device(name: str | torch.device = AUTO) -> torch.device:
    """Return the device of a name: "cpu", "cuda", "cuda:1", "mps", or "auto".

    "auto" is a CUDA GPU if there is one, and otherwise the processor; an Apple GPU has to be named,
    for where it is the quicker one was never measured.

    Raises:
        ValueError: for another name, or a device that is not here, listing those that are.

    >>> find_device("cpu"), find_device("cuda:99")
    Traceback (most recent call last):
    ValueError: there is no device 'cuda:99' here, only cpu
    """
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = devices_here()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not {str(device), f"{device.type}:{device.index or 0}"} & set(here):
        hint = "" if device is not None else f"; a device is {AUTO}, cpu, cuda, cuda:1 or mps"
        raise ValueError(f"there is no device {str(name)!r} here, only {', '.join(here)}{hint}")
    return device


def devices_here() -> list[str]:
    """List the devices of this machine."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] * torch.cuda.is_available()
    return ["cpu", *gpus, *["mps:0"] * torch.backends.mps.is_available()]


def exact_device(device: torch.device) -> torch.device:
    """Return where float64 is computed that belongs to tensors of a device.

    >>> exact_device(torch.device("mps")), exact_device(torch.device("cuda", 1))
    (device(type='cpu'), device(type='cuda', index=1))
    """
    return torch.device("cpu") if device.type == "mps" else device
