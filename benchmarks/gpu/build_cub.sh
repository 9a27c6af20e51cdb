#!/usr/bin/env bash
# CUB's selection, as a library: build_cub.sh NVCC COMPUTE_CAPABILITY LIBRARY [nvcc's options, such as -I FOLDER]
set -euo pipefail
nvcc=$1 arch=${2/./} library=$3
shift 3
"$nvcc" -O3 -std=c++20 "-gencode=arch=compute_$arch,code=sm_$arch" "$@" -shared -Xcompiler=-fPIC -o "$library" \
  "$(dirname "${BASH_SOURCE[0]}")/cub_topk.cu"
