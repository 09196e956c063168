"""The output layer as the loss head computes it: weight, bias, temperature, soft cap. Not its products (`products`)."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """z = (x W^T + b) / temperature, or with a soft cap z = cap tanh((x W^T + b) / cap) / temperature."""

    weight: Tensor
    """[V, D]; float32 or bfloat16."""
    bias: Tensor | None = None
    """[V]."""
    temperature: float = 1.0
    softcap: float | None = None
    kappa: float | None = None
    """Where set, log softmax(z / kappa) of the target is computed too."""

    @property
    def inner(self) -> float:
        """What the product with the weight is multiplied by."""
        return 1.0 / (self.softcap or self.temperature)

    @property
    def outer(self) -> float | None:
        """What the hyperbolic tangent is multiplied by; None without a soft cap."""
        return self.softcap / self.temperature if self.softcap else None


def check(hidden: Tensor, target: Tensor, layer: Layer) -> None:
    """ValueError that names both shapes, devices or values where the head cannot compute."""
    weight, bias = layer.weight, layer.bias
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"hidden {_shape(hidden)} does not fit weight {_shape(weight)}; hidden must be [N, D], weight [V, D]"
        )
    if target.shape != hidden.shape[:1] or target.is_floating_point():
        raise ValueError(
            f"target {target.dtype} {_shape(target)} does not fit hidden {_shape(hidden)}; it must be int64 [N]"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {_shape(bias)} does not fit weight {_shape(weight)}; it must be [V]")
    for name, other in (("weight", weight), ("target", target), ("bias", bias)):
        if other is not None and other.device != hidden.device:
            raise ValueError(
                f"hidden {_shape(hidden)} is on {hidden.device}, {name} {_shape(other)} on {other.device}; "
                "move them to one device"
            )
    for name in ("temperature", "softcap", "kappa"):
        value = getattr(layer, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name}: {value} must be above 0 and finite")


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
