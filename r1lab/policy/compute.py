"""How a model computes while it is trained: activations kept or computed again, its own kernels or Liger's.

Neither changes what is computed. Not which weights are trained (`r1lab.policy.lora`), nor attention
(`r1lab.attention`).
"""

import importlib.util
import inspect

import torch
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from r1lab.doctor.versions import install
from r1lab.errors import MissingHere, RecipeError
from r1lab.recipe import TrainStageConfig

LIGER = {"rope": True, "rms_norm": True, "swiglu": True, "geglu": True}
"""Its kernels that may replace a model's parts; the loss is this project's own."""


def check(stage: TrainStageConfig) -> None:
    """RecipeError where the stage contradicts itself; MissingHere where this machine cannot do what it asks for."""
    if stage.lora is not None and stage.parallel == "fsdp2":
        raise RecipeError("parallel: fsdp2 with lora: an adapter's weights stay whole on each rank; use parallel: ddp")
    if stage.model_kernels == "liger":
        if importlib.util.find_spec("liger_kernel") is None:
            raise MissingHere(f"model_kernels: liger is not installed; run {install('gpu')}, or leave it out")
        if not torch.cuda.is_available():
            raise MissingHere("model_kernels: liger needs a GPU and there is none; leave it out")
    if stage.lora is not None and importlib.util.find_spec("peft") is None:
        raise MissingHere(f"lora: peft is not installed; run {install('lora')}, or leave lora out")


def prepare_compute(model, stage: TrainStageConfig) -> None:
    """Change the model in place as the stage says. RecipeError where its family cannot do that."""
    if stage.model_kernels == "liger":
        _use_liger(model)
    if stage.activation_checkpointing:
        recompute_activations(model)


def recompute_activations(model) -> None:
    """Keep each layer's input alone; the backward pass computes the rest again, bit for bit: there is no dropout.

    transformers' own switch works in training mode only, which would turn dropout on.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise RecipeError(f"activation_checkpointing: {model.config.model_type} has no layers that can; leave it out")
    for layer in layers:
        layer.forward = _RecomputedForward(layer)


class _RecomputedForward:
    """A layer's forward pass, of which only the input is kept where a gradient will be asked for."""

    def __init__(self, layer: torch.nn.Module):
        self.layer = layer

    def __call__(self, *args, **kwargs):
        forward = type(self.layer).forward
        if not torch.is_grad_enabled():
            return forward(self.layer, *args, **kwargs)
        options = {"use_reentrant": False, "preserve_rng_state": False}
        return checkpoint(forward, self.layer, *args, **options, **kwargs)


def _use_liger(model) -> None:
    """Liger's norms, rotations and gated activations, where it has them for this family."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    apply = MODEL_TYPE_TO_APPLY_LIGER_FN.get(model.config.get_text_config().model_type)
    if apply is None:
        raise RecipeError(f"model_kernels: liger has none for {model.config.model_type}; leave it out")
    known = inspect.signature(apply).parameters
    losses = {name: False for name in ("cross_entropy", "fused_linear_cross_entropy") if name in known}
    apply(model=model, **losses, **{name: use for name, use in LIGER.items() if name in known})
