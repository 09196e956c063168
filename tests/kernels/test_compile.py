"""What ptxas makes of the fused kernel for a Hopper GPU: no GPU is needed, only Triton's compiler.

The limits are those of a tile whose accumulators take half of the registers: spills stand in the epilogue alone, once
a tile. Measured with Triton 3.9: up to 712 bytes by pointers, 304 by descriptors, none in float32.
"""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SHARED_BYTES = 227 * 1024
"""Of a thread block of compute capability 9.0."""
VOCABULARIES = 49152, 50257, 151936
COMPILE = r"""
import json, re, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource
from r1lab.kernels.triton_fused import FLOAT32_TILE, GROUP, TILE, exponentials
from r1lab.kernels.triton_head import ROW_ALIGNMENT

way, vocabularies = sys.argv[1], map(int, sys.argv[2:])
is_described, tile = way == "described", dict(FLOAT32_TILE if way == "float32" else TILE)
options = {name: tile.pop(name) for name in ("num_warps", "num_stages")}
constants = {"bias": None, "BIASED": False, "STORED": True, "UPCAST": False, "DESCRIBED": is_described, "GROUP": GROUP}
constants |= tile
matrix = "*fp32" if way == "float32" else "*bf16"
kinds = {"target": "*i64", "inner": "fp32"} | dict.fromkeys(("x", "weight", "e"), matrix)
kinds |= dict.fromkeys(("anchor", "others", "moment", "logit"), "*fp32")
if is_described:
    rows, columns, depth = tile["ROWS"], tile["COLUMNS"], tile["DEPTH"]
    shapes = {"x": (rows, depth), "weight": (columns, depth), "e": (rows, columns)}
    kinds |= {name: f"tensordesc<bf16[{a}, {b}]>" for name, (a, b) in shapes.items()}
names = exponentials.arg_names
signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
for vocabulary in vocabularies:
    sizes = {"vocabulary": vocabulary, "dimension": 2048, "stride": -(-vocabulary // ROW_ALIGNMENT) * ROW_ALIGNMENT}
    aligned = [n for n in names if signature[n].startswith("*") or (n in sizes and sizes[n] % 16 == 0)]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(exponentials, signature, constants, attributes)
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as ptx:
        ptx.write(kernel.asm["ptx"])
        ptx.flush()
        command = [get_ptxas(90).path, "-v", "-arch=sm_90a", ptx.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spilled = map(int, re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said).groups())
    print(json.dumps({"vocabulary": vocabulary, "shared": kernel.metadata.shared, "spilled": max(spilled)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("way, most_spilled", [("pointers", 800), ("described", 400), ("float32", 0)])
def test_the_fused_kernel_compiles_for_hopper_within_its_registers(tmp_path, way, most_spilled):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILE, way, *map(str, VOCABULARIES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["vocabulary"] for row in rows] == list(VOCABULARIES)
    assert max(row["shared"] for row in rows) <= SHARED_BYTES
    assert max(row["spilled"] for row in rows) <= most_spilled, rows
