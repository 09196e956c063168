#!/usr/bin/env bash
# Trainers on several machines by torchrun: the same command on each of them, in one folder on shared storage.
#   HEAD=node1 MACHINES=2 GPUS=8 experiments/cluster/torchrun.sh my.yaml out=run 'engine.urls=["http://node3:8000"]'
set -euo pipefail
: "${HEAD:?the first machine, as all others reach it}" "${MACHINES:?how many there are}"
more=()
# A signal must not cut the step at hand: torchrun kills after 30 s, but where it can be told another time.
if torchrun --help | grep -q -e --shutdown-timeout; then more=(--shutdown-timeout 3600); fi
exec torchrun --nnodes "$MACHINES" --nproc-per-node "${GPUS:-1}" --max-restarts 0 "${more[@]}" \
  --rdzv-backend c10d --rdzv-endpoint "$HEAD:${PORT:-29500}" --rdzv-id "${RUN:-r1lab}" -m r1lab train "$@"
