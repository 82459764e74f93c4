"""How many layers of a model go to graphics devices, and what that takes from the memory. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launcher.engine.companions import COMPUTE_ROWS, scratch
from launcher.engine.graphics import ALL, Device
from launcher.errors import DoesNotFit
from launcher.models.gguf import Header, Tensor

# Bytes that stay free on each device, for what its driver and other programs take.
_MARGIN = 384 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Layers on devices, counted from the last one, the output among them."""

    layers: int = 0
    weights: int = 0
    """Bytes that they take there and not in the machine's memory."""
    repacked: int = 0
    per_token: int = 0
    """Bytes for each token of the context."""


NOTHING = Offload()


def chosen(
    headers: Sequence[Header],
    devices: Sequence[Device],
    wanted: int | None,
    context: int,
    per_token: int,
    repacked: Callable[[Tensor], int],
    *,
    force: bool,
) -> Offload:
    """As many layers as are wanted, or as fit (None); `per_token` is of the whole model (bytes).

    Raises `DoesNotFit` with how many would.
    """
    if not devices or wanted == 0:
        return NOTHING
    main = headers[0]
    count = main.parameter("block_count") or 0
    fixed = scratch(main, COMPUTE_ROWS) + 4 * COMPUTE_ROWS * (main.vocabulary or 0)
    room = sum(max(device.free - fixed - _MARGIN, 0) for device in devices)
    sizes = _sizes(headers, count)
    each = context * per_token // max(count, 1)
    fitting, used = 0, _copied(headers)
    for number, size in enumerate(reversed(sizes)):  # the output first, then from the last layer
        used += size + (each if number else 0)
        fitting += used <= room
    most = count + 1
    layers = fitting if wanted is None else most if wanted == ALL else min(wanted, most)
    if layers > fitting and not force:
        raise DoesNotFit(
            f"{layers} of {most} layers do not fit on the graphics device",
            hint=f"It would take {fitting}: -ngl {fitting}, or -ngl auto. The rest is computed on "
            "the processor.",
        )
    if not layers or all(device.shares_memory for device in devices):
        return Offload(layers=layers)
    gone = set(range(most - layers, most))
    return Offload(
        layers=layers,
        weights=sum(sizes[number] for number in gone),
        repacked=sum(
            repacked(tensor) for tensor in _tensors(headers) if _layer(tensor, count) in gone
        ),
        per_token=per_token * min(layers - 1, count) // max(count, 1),
    )


def _sizes(headers: Sequence[Header], count: int) -> list[int]:
    """Bytes of each layer, and of the output; all alike, where the tensors were not read."""
    if not headers[0].complete:
        return [headers[0].file_size // (count + 1)] * (count + 1)
    sizes = [0] * (count + 1)
    for tensor in _tensors(headers):
        number = _layer(tensor, count)
        if 0 <= number <= count:
            sizes[number] += tensor.size
    return sizes


def _copied(headers: Sequence[Header]) -> int:
    """Bytes of the embedding where it is the output as well: the device gets a copy."""
    tensors = {tensor.name: tensor.size for tensor in _tensors(headers)}
    return 0 if "output.weight" in tensors else tensors.get("token_embd.weight", 0)


def _tensors(headers: Sequence[Header]) -> list[Tensor]:
    return [tensor for header in headers for tensor in header.tensors]


def _layer(tensor: Tensor, count: int) -> int:
    """The layer that a tensor belongs to: `count` for the output, -1 for what always stays."""
    first, _, rest = tensor.name.partition(".")
    if first == "blk":
        number = rest.partition(".")[0]
        return int(number) if number.isdecimal() else -1
    return count if first.startswith("output") else -1
