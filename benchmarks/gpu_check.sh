#!/usr/bin/env bash
# Everything that needs a GPU, in one command of six minutes, the most valuable answers first.
#
#   benchmarks/gpu_check.sh
#
# Takes a build that benchmarks/gpu_prebuild.sh made elsewhere (build/gpu_prebuilt/, or GPU_PREBUILT) if it fits, else
# builds for this GPU alone. Each step has a limit of its own, and one that fails costs only itself. The summary comes
# last. Writes summary.txt, log.txt, results.csv and .json, floor.png, launches.json, ncu.csv and whole.json to $OUT, else to
# benchmarks/results/gpu_<name>/. Settings of the card are never changed.
# Exit codes: 0 all went well and every figure to reach is reached; 1 something failed; 2 all went well, but a figure is
# not reached; 3 no GPU, nothing was done.
#
# PYTHON (python3) runs it; GPU_CHECK_SECONDS (350) is what it may take in all; GPU_CHECK_COMMIT names the commit where
# there is no repository. Needs no package but torch, pytest and hypothesis, for all of MagNet also pillow, safetensors and
# tqdm, and no network.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

PYTHON=${PYTHON:-python3}
TOTAL=${GPU_CHECK_SECONDS:-350}
LAST=8   # seconds that are kept for the summary
SCALE=${GPU_CHECK_SCALE:-1} # of every limit, for tests
export PYTHON PYTHONPATH=".:benchmarks${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4
unset MAGNET_BACKEND MAGNET_CPU_ISA
SECONDS=0

# --- which GPU

gpu=$("$PYTHON" -W ignore - 2>&1 <<'END'
import sys
try:
    import torch
except ImportError as error:
    print(f"torch cannot be imported: {error}")
    sys.exit(1)
if not torch.cuda.is_available():
    print("this torch is built without CUDA" if torch.version.cuda is None else "torch finds no NVIDIA GPU")
    sys.exit(3)
properties = torch.cuda.get_device_properties(0)
print(f"{properties.major}.{properties.minor} {properties.name}")
END
)
case $? in
  0) ;;
  3) echo "gpu_check: no GPU here, nothing was done: ${gpu##*$'\n'}"; exit 3 ;;
  *) echo "gpu_check: $PYTHON cannot run it: ${gpu##*$'\n'}" >&2; exit 1 ;;
esac
gpu=${gpu##*$'\n'}
arch=${gpu%% *} name=${gpu#* }

folder=$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9' '_')
out=${OUT:-benchmarks/results/gpu_${folder%_}}
mkdir -p "$out" || exit 1
(cd "$out" && rm -f summary.txt log.txt results.csv results.json floor.png launches.json ncu.csv whole.json)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
mkdir "$work/logs"
export arch out work TRITON_CACHE_DIR=$work/triton TORCHINDUCTOR_CACHE_DIR=$work/inductor
export GPU_PREBUILT=${GPU_PREBUILT:-build/gpu_prebuilt}
export GPU_CUB_LIBRARY=${GPU_CUB_LIBRARY:-$GPU_PREBUILT/libcub_topk.so}
[ -e "$GPU_CUB_LIBRARY" ] || GPU_CUB_LIBRARY=$work/libcub_topk.so # made with our own libraries
echo "gpu_check: $name, compute capability $arch; results go to $out"

# --- how a step is run

# allowed LIMIT: so many seconds (scaled), or what is left before the summary; nothing where that is too little
allowed() {
  awk -v limit="$1" -v scale="$SCALE" -v left=$((TOTAL - LAST - SECONDS)) \
    'BEGIN { t = limit * scale; if (t > left) t = left; if (t > 0 && left >= 3) print t }'
}

# step NAME LIMIT COMMAND...: its output goes to a log, one line about it to the summary: the last one that it printed.
# STOP: the signal that ends it when its time is over.
step() {
  local name=$1 limit=$2 start=$SECONDS code state=ok seconds log
  shift 2
  log="$work/logs/$name"
  seconds=$(allowed "$limit")
  if [ -z "$seconds" ]; then
    say "LEFT OUT" "$name" 0 "no time was left"
    return
  fi
  timeout -s "${STOP:-TERM}" -k 5 "$seconds" "$@" > "$log" 2>&1
  code=$?
  case $code in
    0) ;;
    124 | 137) state="TIMED OUT" ;;
    *) state=FAILED ;;
  esac
  [ "$state" = ok ] || touch "$work/failed"
  keep "$name" "$log"
  say "$state" "$name" $((SECONDS - start)) "$(grep -v '^[[:space:]]*$' "$log" | tail -1 | cut -c 1-110)"
}

# keep NAME LOG: in the results at once, so that what was said stays, whatever comes
keep() {
  (
    flock 9
    printf '\n===== %s\n' "$1"
    tail -c 1000000 "$2"
  ) 9> "$work/lock" >> "$out/log.txt"
}

# say STATE NAME SECONDS WORDS
say() { printf '%-9s  %-19s %3d s  %s\n' "$@" | tee -a "$work/steps"; }

# --- the steps

carried_or_built() {
  local reason
  reason=$("$PYTHON" -W ignore -m gpu.prebuilt use "$GPU_PREBUILT" "$TRITON_CACHE_DIR" 2>&1) && { echo "$reason"; return; }
  echo "$reason"
  [ -e "$GPU_CUB_LIBRARY" ] || bash benchmarks/gpu/build_cub.sh nvcc "$arch" "$GPU_CUB_LIBRARY" & # with nvcc's own CUB
  MAGNET_CUDA=1 TORCH_CUDA_ARCH_LIST=$arch "$PYTHON" setup.py build_ext --inplace || return
  wait
  echo "built for compute capability $arch: ${reason##*$'\n'}"
}

counters() {
  local ncu=ncu count
  command -v ncu > /dev/null || ncu=$(ls "${CUDA_HOME:-/usr/local/cuda}"/bin/ncu 2> /dev/null | head -1)
  [ -n "$ncu" ] || { echo "ncu is not on this machine; it comes with the CUDA toolkit"; return 1; }
  # Of each case the kernels of the second of two calls, with caches and clocks as they are.
  "$ncu" --clock-control none --cache-control none --kernel-name-base demangled --kernel-name regex:magnet:: \
    --profile-from-start off --metrics "$("$PYTHON" -W ignore -m gpu.counters)" --print-units base \
    --csv --page raw --log-file "$out/ncu.csv" "$PYTHON" -W ignore -m gpu.launches --once || return
  count=$(grep -cE '^"[0-9]+",' "$out/ncu.csv") # a head and units come before; names may come without their namespace
  echo "$count kernels"
  [ "$count" -gt 0 ]
}

# sanitize TOOL SECONDS: without torch's own memory pool, in which one tensor's end is the next one's beginning
sanitize() {
  local sanitizer=compute-sanitizer log="$work/$1.log" code
  command -v $sanitizer > /dev/null || sanitizer=$(ls "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer 2> /dev/null)
  [ -n "$sanitizer" ] || { echo "compute-sanitizer is not on this machine; it comes with the CUDA toolkit"; return 1; }
  local options=()
  [ "$1" = memcheck ] && options=(--report-api-errors no)
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$1" --error-exitcode 9 "${options[@]}" \
    "$PYTHON" -W ignore -m gpu.awkward --seconds "$2" | tee "$log"
  code=${PIPESTATUS[0]}
  grep -hE 'SUMMARY|runs of backend' "$log" | tail -2 | tr -d = | tr -s '\n ' ' '
  return "$code"
}

# The files whose tests run on each backend; those of the model layer need packages that kernels do not,
# and test_pytorch*.py are left out to save time.
test_files() {
  ls tests/operators/test_{refine_step,select_points,refine_stage}.py
  grep -lE 'live import|cuda' tests/operators/test_*.py tests/triton_backend/test_triton_dispatch.py |
    xargs grep -LE '^(from|import) magnet(\.| |$)' | grep -vE 'test_(pytorch.*|refine_step|select_points|refine_stage)\.py'
}

# tests BACKEND CHOSEN FILES...: in at most 8 processes. Where the backend is not live they would only be skipped.
tests() {
  local backend=$1 chosen=$2 workers=()
  shift 2
  "$PYTHON" -W ignore -m gpu.live "$backend" || return
  "$PYTHON" -c 'import xdist' 2> /dev/null && [ $# -gt 1 ] && workers=(-n 8 --dist worksteal)
  HYPOTHESIS_PROFILE=ci OMP_NUM_THREADS=2 exec "$PYTHON" -m pytest -q -p no:cacheprovider \
    --no-header -m "not slow" --maxfail 40 "${workers[@]}" -k "$chosen" "$@"
}
export -f carried_or_built counters sanitize tests

mapfile -t files < <(test_files)
bench=("$PYTHON" -W ignore -m gpu --out "$out" --no-judging)

step "build" 200 bash -c carried_or_built
step "telling cases" 30 "$PYTHON" -W ignore -m gpu.parity
step "kernel times" 45 "${bench[@]}" --cases targets --ours-only --seconds 35
step "launches" 45 "$PYTHON" -W ignore -m gpu.launches --out "$out"
step "counters" 60 bash -c counters
step "rivals" 100 "${bench[@]}" --cases targets --join --seconds 80

step "memcheck" 65 bash -c "sanitize memcheck 40" &
step "racecheck" 65 bash -c "sanitize racecheck 40" &
step "tests of the GPU" 60 bash -c 'tests cuda "" tests/cuda/test_gpu.py' &
wait
step "all of MagNet" 60 "$PYTHON" -W ignore -m gpu.whole --out "$out"
STOP=INT step "operators on CUDA" 75 bash -c 'tests cuda cuda "$@"' tests "${files[@]}"
step "Triton" 40 "$PYTHON" -W ignore -m gpu.parity --backend triton &
step "initcheck" 40 bash -c "sanitize initcheck 20" &
wait
step "more cases" 110 "${bench[@]}" --cases rest --join --seconds "$(allowed 110 | awk '{ print ($1 > 20 ? $1 - 15 : 1) }')"
STOP=INT step "operators on Triton" 100 bash -c 'tests triton "triton and not large and not many_blocks" "$@"' tests "${files[@]}"

# --- the summary

timeout 30 "$PYTHON" -W ignore -m gpu.summary "$out" "$work/steps" "gpu_check: $name, $SECONDS s in all" > "$out/summary.txt" 2>&1
case $? in
  0) ;;
  2) touch "$work/unreached" ;;
  *) touch "$work/failed"; cat "$work/steps" >> "$out/summary.txt" ;;
esac
echo
cat "$out/summary.txt"
[ -e "$work/failed" ] && exit 1
[ -e "$work/unreached" ] && exit 2
exit 0
