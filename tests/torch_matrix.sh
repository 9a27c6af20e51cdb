#!/usr/bin/env bash
# The same checks as CI's on CUDA builds of torch, by hand, for other torch releases and Pythons: nothing needs a GPU.
#
#   tests/torch_matrix.sh                               all rows below (an hour, 20 GB, gigabytes of downloads)
#   tests/torch_matrix.sh 3.11:2.11.0 3.12:2.14.1       some: PYTHON:TORCH
#
# In each: build a wheel against that torch and check it; for Python 3.11 also check the wheels of all other rows so far,
# so that what one torch built is loaded by the others. FOLDER (build/torch_matrix) holds environments and wheels.
# PYTHON3_11, PYTHON3_12 ... name interpreters that are not on the path.
set -euo pipefail
shopt -s inherit_errexit # a failed installation ends this, too
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rows=("$@")
[ ${#rows[@]} -gt 0 ] || rows=(3.11:2.11.0 3.11:2.14.1 3.12:2.14.1 3.13:2.14.1)
folder=$(realpath -m "${FOLDER:-build/torch_matrix}")
mkdir -p "$folder"
said=()

interpreter() { # of a version such as 3.12
  local name=PYTHON${1//./_}
  echo "${!name:-python$1}"
}

# environment PYTHON TORCH: made once, with what the checks need
environment() {
  local at=$folder/py$1-torch$2
  [ -e "$at/ready" ] || {
    "$(interpreter "$1")" -m venv "$at"
    "$at/bin/pip" install -q "torch==$2"
    "$at/bin/pip" install -q 'setuptools>=77,<82' wheel 'pybind11>=2.13' ninja
    touch "$at/ready"
  } >&2
  echo "$at"
}

# check ENVIRONMENT WHEEL: install it and run CI's script
check() {
  local words
  "$1/bin/pip" install -q --force-reinstall --no-deps "$2"
  words=$(.ci/cuda_torch "$1" 2>&1) || { echo "$words"; exit 1; }
  words=$(grep -oE '^[0-9]+ (passed|skipped).*' <<< "$words" | paste -sd ';')
  said+=("$(basename "$1")  <-  wheel of $(basename "$(dirname "$2")"):  $words")
  echo "${said[-1]}"
}

for row in "${rows[@]}"; do
  python=${row%%:*} torch=${row#*:}
  at=$(environment "$python" "$torch")
  wheels=$folder/wheels/$(basename "$at")
  mkdir -p "$wheels"
  rm -f "$wheels"/*.whl # of other sources
  "$at/bin/pip" wheel -q --no-deps --no-build-isolation -w "$wheels" .
  "$at/bin/pip" install -q "$(ls "$wheels"/*.whl)[test]"
  check "$at" "$(ls "$wheels"/*.whl)"
  for other in "$folder"/wheels/*/*"-cp${python/./}-"*.whl; do
    [ "$other" = "$(ls "$wheels"/*.whl)" ] || check "$at" "$other"
  done
done
printf '%s\n' "${said[@]}"
