#!/bin/bash
# The first minutes on a GPU machine, at most eight: what the code assumes of it, in the order in which it matters.
#
#     experiments/benchmarks/first_gpu.sh [--cpu] [FOLDER]
#
# Runs from a tree that is not installed; torch, transformers, accelerate, Triton, pydantic and pytest must be there.
# Every part writes FOLDER/<part>.json after each figure and FOLDER/<part>.log, has a deadline of its own, and may fail:
# the next one runs. Ends in a table of what held. --cpu: the same on tiny sizes, which tries this script alone; without
# the doctor, which imports all that there is once more.
cd "$(dirname "$0")/../.." || exit 1
tiny=()
[ "$1" = --cpu ] && { tiny=(--cpu); shift; }
out=${1:-experiments/results/first_gpu}
python=${PYTHON:-python3}
here=experiments/benchmarks
export PYTHONPATH="$PWD:$PWD/verifiers:$PWD/sandbox:$PWD/data${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
export TRITON_INTERPRET=${tiny:+1}
export TRITON_INTERPRET=${TRITON_INTERPRET:-0}
mkdir -p "$out"

part() { # name, seconds, command
    local name=$1 seconds=$2 start=$SECONDS code
    [ ${#tiny[@]} = 0 ] || seconds=$((4 * seconds)) # a busy CPU starts slowly
    shift 2
    echo "== $name"
    timeout -k 5 "$seconds" "$@" 2>&1 | tee "$out/$name.log"
    code=${PIPESTATUS[0]}
    echo "== $name: exit code $code, $((SECONDS - start)) s" | tee -a "$out/$name.log"
}

first() { part "$1" "$2" "$python" $here/first_gpu.py "$1" --out "$out" "${tiny[@]}"; }

first api 25
if [ ${#tiny[@]} = 0 ]; then
    part loss_head 180 "$python" $here/loss_head_gpu.py --out "$out" --seconds 70
else
    part loss_head 120 "$python" $here/loss_head.py --rows 8 --dimension 16 --vocabulary 64 --repeats 1 --json "$out/loss_head.json"
fi
first parts 45
first flex 60
if [ ${#tiny[@]} = 0 ]; then
    part tests 35 "$python" -m pytest -m gpu tests/attention -q -p no:cacheprovider
else
    part tests 100 "$python" -m pytest -n 0 tests/attention/test_segments.py -q -p no:cacheprovider
fi
first update 55
first local 25
[ ${#tiny[@]} != 0 ] || part doctor 35 "$python" -m r1lab.doctor
echo
for log in "$out"/*.log; do tail -n 1 "$log"; done
"$python" $here/first_gpu.py table --out "$out"
