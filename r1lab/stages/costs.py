"""Estimate what a run costs before it runs: tokens, memory, disk. Upper bounds or estimates, each said to be one;
nothing is measured."""

import math
from collections.abc import Mapping

from transformers import PretrainedConfig

from r1lab.kernels.torch_head import CHUNK_BYTES
from r1lab.policy import models
from r1lab.recipe import AnyStageConfig, DataStageConfig, ReferenceConfig, TrainStageConfig
from r1lab.recipe.eval import EvalStageConfig
from r1lab.stages import gpu_memory, model_shapes
from r1lab.stages.prepare import Ready

GIB = 2**30
PROMPT_TOKENS = 1024
"""Tokens of a prompt that cannot be rendered yet."""


def tokens(ready_stage: Ready) -> dict[str, int | None]:
    """Most completion tokens that the stage samples and trains on; None where only its budget bounds it."""
    stage = ready_stage.stage
    if isinstance(stage, EvalStageConfig):  # evaluation is in no budget
        return {"sampled": 0, "trained": 0, "budget": 0}
    if ready_stage.steps is None:
        return {"sampled": None, "trained": None, "budget": stage.stop.max_tokens}
    per_problem = stage.group_size * stage.max_new_tokens
    samples = not isinstance(stage, DataStageConfig)
    sampled = per_problem * ready_stage.objective.max_draws * ready_stage.objective.rule.attempts if samples else 0
    trained = per_problem * stage.reuse if samples else ready_stage.longest_cost
    problems = ready_stage.steps * stage.prompts_per_step
    most = int(problems * (sampled + trained))
    return {
        "sampled": int(problems * sampled),
        "trained": int(problems * trained),
        "budget": stage.stop.max_tokens or most,
    }


def memory(
    ready_stage: Ready, config: PretrainedConfig, processes: int = 1, reference: PretrainedConfig | None = None
) -> dict[str, float]:
    """Estimated GiB of each process on a CPU by purpose: float32 weights, gradients, AdamW's two moments, the engine's
    and a reference's copy, keys and values of one wave, activations of one micro-batch and the head's chunks. What
    samples only has no more than weights, keys and values. `reference` is another model than the stage's start."""
    stage, copy = ready_stage.stage, 4 * models.num_parameters(config)
    weights = copy / processes if isinstance(stage, TrainStageConfig) and stage.parallel == "fsdp2" else copy
    of_reference = weights if reference is None else weights / copy * 4 * models.num_parameters(reference)
    of_reference /= 2 if getattr(stage, "reference_precision", "") == "bf16" else 1
    text = config.get_text_config()
    width, layers = text.hidden_size, text.num_hidden_layers
    inner = getattr(text, "intermediate_size", 4 * width)
    parts = {
        "weights": weights,
        "engine weights": copy if ready_stage.table else 0,
        "keys and values": 4 * keys_of_a_token(config) * _sequences(stage, processes) * _longest(ready_stage),
    }
    if isinstance(stage, TrainStageConfig):
        parts |= {
            "gradients": weights,
            "optimizer": 2 * weights,
            "reference": of_reference if "ref" in ready_stage.objective.needs else 0,
            "activations": 4 * stage.micro_batch_tokens * layers * (10 * width + 4 * inner),
            "loss head": 2 * CHUNK_BYTES + 4 * text.vocab_size * width,
        }
    return {name: size / GIB for name, size in parts.items() if size} | {"total": sum(parts.values()) / GIB}


def keys_of_a_token(config: PretrainedConfig) -> int:
    """Numbers of a token's keys and values in all layers."""
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * head


def _sequences(stage: AnyStageConfig, processes: int) -> int:
    """That the local engine decodes at once."""
    return min(stage.engine.max_batch, math.ceil(stage.prompts_per_step / processes) * stage.group_size)


def _longest(ready_stage: Ready) -> int:
    """Tokens of a prompt, by the first of each source, and a whole completion."""
    first = [problem for problems in ready_stage.sources.values() for problem in problems[:64]]
    lengths = [len(ready_stage.renderer.render(problem)) for problem in first] if ready_stage.renderer else []
    return max(lengths, default=PROMPT_TOKENS) + ready_stage.stage.max_new_tokens


def on_card(
    ready_stage: Ready,
    config: PretrainedConfig,
    card: gpu_memory.Card,
    processes: int,
    reference: PretrainedConfig | None = None,
) -> gpu_memory.Placement:
    """The stage on a GPU, as its table takes it."""
    stage = ready_stage.stage
    return gpu_memory.Placement(
        stage,
        config,
        card,
        processes,
        engine=gpu_memory.engine_of(stage, config) if ready_stage.table else "",
        needs_ref="ref" in ready_stage.objective.needs,
        reference=reference,
        tokens=_longest(ready_stage),
        keys=keys_of_a_token(config),
        sequences=_sequences(stage, processes),
    )


def disk(ready: list[Ready]) -> int:
    """Bytes that the checkpoints and models of a run take at most: float32 weights and AdamW's two moments.

    A stage that is handed on keeps its model only; the rollout tables are not counted.
    """
    total = peak = weights = 0
    for ready_stage in ready:
        if ready_stage.location:
            weights = 4 * models.num_parameters(model_shapes.config_of(ready_stage.location))
        if not isinstance(ready_stage.stage, TrainStageConfig):
            continue  # it leaves a dataset
        checkpoint = (4 if ready_stage.objective.kl.ref_refresh_steps else 3) * weights
        peak = max(peak, total + (ready_stage.stage.keep_last + 1) * checkpoint)
        total += weights * (2 if ready_stage.stage.eval.keep_best else 1)
    return max(peak, total) + 2 * weights


def _problems(ready_stage: Ready) -> str:
    to_come = [f"those of stage {source.stage}" for source in ready_stage.stage.data.values() if source.stage]
    known = sum(map(len, ready_stage.sources.values()))
    if isinstance(ready_stage.stage, EvalStageConfig):
        held_out = sum(len(eval_set.problems) for eval_set in ready_stage.sets)
        return f"{held_out:,} held-out problems x {ready_stage.stage.eval.n}"
    return " and ".join([f"{known:,} problems"] * bool(known) + to_come) or "problems not counted"


def _until(ready_stage: Ready) -> str:
    """What ends a stage whose steps are not known yet."""
    by_epochs = (isinstance(ready_stage.stage, DataStageConfig) or getattr(ready_stage.stage, "epochs", None)) and any(
        source.stage for source in ready_stage.stage.data.values()
    )
    return "until its data is there" if by_epochs else "until the budget"


def lines(ready: list[Ready], processes: int = 1, card: gpu_memory.Card | None = None) -> list[str]:
    """The estimates of every stage, run by so many processes on CPUs or on such cards, as lines for people."""
    text: list[str] = []
    configs: dict[str, PretrainedConfig] = {}
    for ready_stage in ready:
        stage, location = ready_stage.stage, ready_stage.location
        config = model_shapes.config_of(location) if location else configs[stage.from_ or ""]
        configs[stage.name] = config
        reference = _reference(ready_stage, configs)
        most = tokens(ready_stage).items()
        count = {key: "bounded by its budget" if value is None else f"{value:,}" for key, value in most}
        steps = "" if isinstance(stage, EvalStageConfig) else f", steps {ready_stage.steps or _until(ready_stage)}"
        text.append(f"stage {stage.name}: {_problems(ready_stage)}{steps}")
        text.append(
            f"  tokens at most: sampled {count['sampled']}, trained {count['trained']}, budget {count['budget']}"
        )
        if card is not None:
            text += [f"  {line}" for line in gpu_memory.lines(on_card(ready_stage, config, card, processes, reference))]
        else:
            sizes = memory(ready_stage, config, processes, reference)
            parts = ", ".join(f"{name} {size:.2f}" for name, size in sizes.items() if size >= 0.005)
            several = f" of each of {processes} processes" if processes > 1 else ""
            text.append(f"  memory{several}, estimated GiB: {parts}")
        text += [f"  {note}" for note in ready_stage.notes]
    return text


def _reference(ready_stage: Ready, configs: Mapping[str, PretrainedConfig]) -> PretrainedConfig | None:
    """The configuration of the stage's reference, where it names one."""
    named = getattr(ready_stage.stage, "reference", None)
    if isinstance(named, ReferenceConfig):
        return configs[named.stage]
    return model_shapes.config_of(ready_stage.reference) if ready_stage.reference else None
