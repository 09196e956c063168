"""Write a sharded model as an ordinary Hugging Face folder, part after part: the bytes are those that transformers
writes of the whole. Not a checkpoint (`r1lab.run.checkpoint`).
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from r1lab.distributed import ranks, sharding
from r1lab.policy import models

MOST_OF_A_FILE = "50GB"
"""As transformers cuts."""


def save_parts(model: PreTrainedModel, folder: Path) -> None:
    """Rank 0 writes what the ranks hold together (a collective). It holds one part at a time, or the whole where
    transformers changes it on its way out."""
    left_out = model._keys_to_ignore_on_save or ()
    tensors = {name: tensor for name, tensor in sharding.weights(model).items() if name not in left_out}
    if not models.is_as_stored(model):
        found = defaultdict[str, list[Tensor]](list)
        sharding.give_first(tensors, lambda name, part: found[name].append(part.cpu()))
        whole = {name: torch.cat(of_name) if len(of_name) > 1 else of_name[0] for name, of_name in found.items()}
        ranks.first(model.save_pretrained, folder, state_dict=whole)
        return
    for file, names in ranks.first(_begin, model, tensors, folder).items():
        sharding.give_first({name: tensors[name] for name in names}, partial(_append, folder / file))


def _begin(model: PreTrainedModel, tensors: Mapping[str, Tensor], folder: Path) -> dict[str, list[str]]:
    """The configuration, the index and the files' headers; each file's tensors, in the order in which they follow."""
    model.save_pretrained(folder, state_dict={})  # with a file of no weights, which goes below
    order = sorted(tensors, key=_by_number)
    shapes = {name: torch.empty(tensors[name].shape, dtype=tensors[name].dtype, device="meta") for name in order}
    options = {"filename_pattern": "model{suffix}.safetensors", "max_shard_size": MOST_OF_A_FILE}
    split = split_torch_state_dict_into_shards(shapes, **options)
    if split.is_sharded:
        about = {"total_parameters": model.num_parameters(), **split.metadata}
        index = {"metadata": about, "weight_map": split.tensor_to_filename}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(text, encoding="utf-8")
    files = {}
    for file, names in split.filename_to_tensors.items():
        header = _header({name: shapes[name] for name in names})
        (folder / file).write_bytes(len(header).to_bytes(8, "little") + header)
        files[file] = [name for name in json.loads(header) if name in shapes]
    return files


def _by_number(name: str) -> list[tuple]:
    """Layer 2 comes before layer 10, as transformers orders what it cuts into files."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in name.split(".")]


def _header(shapes: Mapping[str, Tensor]) -> bytes:
    """Of a safetensors file, in the order that the library chooses."""
    empty = save({name: torch.empty(0, dtype=shape.dtype) for name, shape in shapes.items()}, {"format": "pt"})
    header, end = json.loads(empty[8:]), 0
    for name, entry in header.items():
        if name in shapes:
            begin, end = end, end + shapes[name].nbytes
            entry |= {"shape": list(shapes[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def _append(path: Path, _: str, part: Tensor) -> None:
    with path.open("ab") as file:
        file.write(sharding.bytes_of(part))
