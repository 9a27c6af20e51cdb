#!/usr/bin/env bash
# What gpu_check.sh needs compiled, made on a machine without a GPU: build/gpu_prebuilt/, to be carried along.
#
#   benchmarks/gpu_prebuild.sh [COMPUTE_CAPABILITY]        9.0 if none is named: H100, H200
#
# The compiled libraries, CUB's selection as a rival, and Triton's kernels, against the torch of the GPU machine and for
# its Python. Takes some 15 minutes on two cores, less when little has changed; needs nvcc, a C++ compiler and a package
# index. What it made it says last, with exit code 1 where something is missing.
#
# GPU_PREBUILT (build/gpu_prebuilt) gets it, GPU_PREBUILD_WORK (build/gpu_prebuild) is worked in and makes the next time
# short. GPU_PYTHON (python3.12): of the GPU machine's version. GPU_TORCH (2.11.0): its torch, which brings its Triton.
# PYTHON: an environment that has them already, with pybind11, setuptools and ninja. CCCL (nvidia-cuda-cccl==13.3.5.0.6):
# the package with CUB's headers; empty: those of nvcc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

arch=${1:-9.0}
if [ $# -gt 1 ] || ! [[ $arch =~ ^[0-9]+\.[0-9]$ ]]; then
  echo "gpu_prebuild: COMPUTE_CAPABILITY: expected one, as in 9.0, got: $*" >&2
  exit 1
fi
out=${GPU_PREBUILT:-$PWD/build/gpu_prebuilt} work=${GPU_PREBUILD_WORK:-$PWD/build/gpu_prebuild}
tree=$work/tree
mkdir -p "$out" "$work"
step() { printf '== %s  (%d s)\n' "$1" "$SECONDS"; }

# --- an environment like the GPU machine's

if [ -z "${PYTHON:-}" ]; then
  PYTHON=$work/venv/bin/python
  if ! "$PYTHON" -c "import torch, pybind11, setuptools" 2> /dev/null; then
    step "an environment with torch ${GPU_TORCH:-2.11.0}"
    "${GPU_PYTHON:-python3.12}" -m venv "$work/venv"
    "$PYTHON" -m pip install -q "torch==${GPU_TORCH:-2.11.0}" numpy pybind11 'setuptools>=77,<82' wheel ninja
  fi
fi

# --- the libraries, in a copy of the tree: this one's own build stays as it is

step "the libraries for compute capability $arch"
git ls-files -z --cached --others --exclude-standard csrc magnet_kernels benchmarks setup.py |
  PYTHONPATH=.:benchmarks "$PYTHON" -m gpu.prebuilt mirror "$tree"
rm -f "$tree"/magnet_kernels/*.so
(cd "$tree" && MAGNET_CUDA=1 TORCH_CUDA_ARCH_LIST=$arch "$PYTHON" setup.py build_ext --inplace) > "$work/build.log" 2>&1 ||
  { tail -20 "$work/build.log"; exit 1; }

# --- CUB

step "CUB's selection"
headers=()
if package=${CCCL-nvidia-cuda-cccl==13.3.5.0.6} && [ -n "$package" ]; then
  "$PYTHON" -m pip install -q --no-deps --no-compile --target "$work/cccl" --upgrade "$package"
  headers=(-I "$work/cccl/nvidia/cu13/include/cccl")
fi
nvcc=$(cd csrc && "$PYTHON" -c 'import build_nvcc; print(build_nvcc.find())')
bash benchmarks/gpu/build_cub.sh "$nvcc" "$arch" "$out/libcub_topk.so" "${headers[@]}"

# --- Triton

step "Triton's kernels"
(cd "$tree" && TRITON_CACHE_DIR=$work/triton PYTHONPATH=.:benchmarks "$PYTHON" -W ignore -m gpu.triton_cache \
  --architecture "${arch/./}")

step "all of it"
(cd "$tree" && PYTHONPATH=.:benchmarks "$PYTHON" -m gpu.prebuilt pack "$tree" "$out" --architecture "$arch" \
  --nvcc "$("$nvcc" --version | grep -o 'V[0-9][0-9.]*')" --triton-cache "$work/triton")
