#!/usr/bin/env bash
# What a GPU makes of published models with random weights, in at most 9 minutes and without a network.
#
# 1. On a machine with a network, fetch what the GPU machine lacks into .whl/ (not for git):
#      benchmarks/gpu.sh fetch
# 2. On the GPU machine, in the repository with .whl/ beside it; OUT is where results go:
#      OUT=results benchmarks/gpu.sh
#    Results are OUT/gpu_<card>.json, written after each part, and the parts' own rows and messages in OUT/gpu_<card>/.
# Rehearsal on a CPU, two minutes: benchmarks/gpu.sh --device cpu --tiny
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = fetch ]; then
  mkdir -p .whl
  exec "${PYTHON:-python3}" -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 -d .whl \
    diffusers==0.42.1 jsonargparse==4.53.0 docstring-parser typeshed-client pycocotools \
    rich markdown-it-py mdurl pygments
fi

export PYTHONUNBUFFERED=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTORCH_ALLOC_CONF=expandable_segments:True
export HF_HUB_OFFLINE=1 WANDB_MODE=disabled PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
python=${PYTHON:-python3}
if compgen -G '.whl/*.whl' >/dev/null; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl || exit 1
  PYTHONPATH+=:$site
fi
"$python" -m benchmarks.gpu ${OUT:+--output "$OUT"} "$@"
