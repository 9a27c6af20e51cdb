#!/usr/bin/env bash
# Everything that needs a GPU, in one command: build in place, tests on CUDA, memory and race checkers, benchmarks.
#
#   benchmarks/gpu_check.sh
#
# Writes logs, results.csv, results.json, floor.png and summary.txt to $OUT, else to benchmarks/results/gpu_<name>/.
# Exit codes: 0 all went well and every figure to reach is reached; 1 something failed; 2 all went well, but a figure is
# not reached; 3 no GPU, nothing was done. Settings of the card are never changed.
#
# PYTHON (python3) runs it; GPU_CHECK_SECONDS (525) is what it may take in all; GPU_CHECK_COMMIT names the commit where
# there is no repository.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

PYTHON=${PYTHON:-python3}
TOTAL=${GPU_CHECK_SECONDS:-525}
BUILD=220 CHECKS=130 ALONE=60 LEAST=60 # seconds: build, checks beside each other, test_gpu.py, benchmarks at the least
export PYTHONPATH=".:benchmarks${PYTHONPATH:+:$PYTHONPATH}"
unset MAGNET_BACKEND
SECONDS=0

# --- which GPU

gpu=$("$PYTHON" - 2>&1 <<'END'
import sys, warnings
warnings.simplefilter("ignore")
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
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export TORCHINDUCTOR_CACHE_DIR=$work/inductor # filled while the checks run, read by the benchmarks
echo "gpu_check: $name, compute capability $arch; results go to $out"

# --- steps

# log NAME CODE SECONDS NOTE: one line of the summary
log() {
  local state=ok
  [ "$2" -eq 0 ] || state=FAILED
  [ "$2" -eq 124 ] || [ "$2" -eq 137 ] && state="TIMED OUT"
  printf '%-10s %-22s %4d s  %s\n' "$state" "$1" "$3" "$4" >> "$work/steps"
  [ "$2" -eq 0 ] || touch "$work/failed"
}

# limited SECONDS COMMAND...
limited() { timeout -k 10 "$@"; }

# remaining MOST: so many seconds, or what is left of the total
remaining() {
  local left=$((TOTAL - SECONDS))
  [ "$left" -lt 1 ] && left=1
  echo $((left < $1 ? left : $1))
}

build() {
  local start=$SECONDS code
  MAGNET_CUDA=1 TORCH_CUDA_ARCH_LIST=$arch limited "$(remaining $BUILD)" \
    "$PYTHON" setup.py build_ext --inplace > "$out/build.log" 2>&1
  code=$?
  log build $code $((SECONDS - start)) "for compute capability $arch"
  return $code
}

# The files whose tests run on each backend; those of the model layer need packages that kernels do not.
test_files() {
  grep -lE 'live import|cuda' tests/test_*.py | grep -vE 'test_(cuda_.*|gpu|gpu_check.*|install|triton_aot|triton_kernels)\.py' |
    xargs grep -LE '^(from|import) magnet(\.| |$)'
}

# test_file FILE END CHOSEN FOLDER: those of its tests, until the time END; several files at once use idle cores
test_file() {
  local here left=$(($2 - $(date +%s))) workers=""
  here=$work/$4/$(basename "$1" .py)
  "$PYTHON" -c 'import xdist' 2> /dev/null && workers="-n 3"
  HYPOTHESIS_PROFILE=ci MAGNET_CUDA_HOST=0 OMP_NUM_THREADS=2 timeout -k 10 $((left > 1 ? left : 1)) \
    "$PYTHON" -m pytest "$1" -q -p no:cacheprovider $workers -k "$3" > "$here.log" 2>&1
  echo $? > "$here.code"
}
export -f test_file
export work PYTHON

# judge_tests NAME FOLDER START FILES: one line of the summary for what test_file left behind
judge_tests() {
  local name=$1 folder=$2 start=$3 code=0 passed=0 bad="" file count
  shift 3
  for file in "$@"; do
    file=$work/$folder/$(basename "$file" .py)
    case $(cat "$file.code" 2> /dev/null || echo 124) in
      0 | 5) ;; # 5: the file holds no such test
      124 | 137) code=124 bad+=" $(basename "$file")" ;;
      *) [ $code -eq 124 ] || code=1; bad+=" $(basename "$file")" ;;
    esac
    count=$(grep -ohE '[0-9]+ passed' "$file.log" 2> /dev/null | tail -1)
    count=${count% passed}
    passed=$((passed + ${count:-0}))
    cat "$file.log" >> "$out/tests.log" 2> /dev/null
  done
  [ "$passed" -gt 0 ] || { [ $code -ne 0 ] || code=1; bad+=" no test ran: is the backend live?"; }
  log "$name" $code $((SECONDS - start)) "$passed passed${bad:+; look at:$bad}"
}

# tests NAME FOLDER CHOSEN
tests() {
  local start=$SECONDS end files
  mkdir -p "$work/$2"
  end=$(($(date +%s) + $(remaining $CHECKS)))
  mapfile -t files < <(test_files)
  printf '%s\n' "${files[@]}" | xargs -P 8 -I{} bash -c "test_file {} $end '$3' $2"
  judge_tests "$1" "$2" "$start" "${files[@]}"
}

# What only a GPU can show, memory running out included: by itself.
gpu_tests() {
  local start=$SECONDS
  [ -e tests/test_gpu.py ] || return
  test_file tests/test_gpu.py $(($(date +%s) + $(remaining $ALONE))) "" tests
  judge_tests "tests of the GPU" tests "$start" tests/test_gpu.py
}

sanitizer() {
  command -v compute-sanitizer && return
  ls "${CUDA_HOME:-/usr/local/cuda}"/bin/compute-sanitizer /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | head -1
}

# sanitize TOOL: without torch's own memory pool, in which one tensor's end is the next one's beginning
sanitize() {
  local start=$SECONDS code tool said
  tool=$(sanitizer)
  if [ -z "$tool" ]; then
    log "$1" 1 0 "compute-sanitizer is not on this machine; it comes with the CUDA toolkit"
    return
  fi
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 OMP_NUM_THREADS=2 limited "$(remaining $CHECKS)" \
    "$tool" --tool "$1" --error-exitcode 9 $2 "$PYTHON" -m gpu.awkward > "$work/$1.log" 2>&1
  code=$?
  said=$(grep -E 'SUMMARY|runs of backend' "$work/$1.log" | tail -2 | tr -d = | tr '\n' ' ')
  log "$1" $code $((SECONDS - start)) "$said"
}

checks() {
  mkdir -p "$work/tests"
  : > "$out/tests.log"
  tests "tests on CUDA" tests "cuda and not cuda_host" &
  tests "tests on Triton" triton "triton and not large and not many_blocks and not all_backends" &
  sanitize memcheck "--report-api-errors no" &
  sanitize racecheck "" &
  sanitize initcheck "" &
  limited "$(remaining $CHECKS)" "$PYTHON" -m gpu --compile-only --out "$work" > "$work/compile.log" 2>&1 &
  wait
  gpu_tests
  cat "$work"/{memcheck,racecheck,initcheck}.log > "$out/sanitizer.log" 2> /dev/null
}

benchmarks() {
  local start=$SECONDS seconds code note=""
  seconds=$(remaining 600)
  [ "$seconds" -ge $LEAST ] || seconds=$LEAST
  limited "$seconds" "$PYTHON" -m gpu --out "$out" --seconds $((seconds - 30)) > "$out/benchmark.log" 2>&1
  code=$?
  cat "$out/benchmark.log"
  [ $code -eq 2 ] && { touch "$work/unreached"; code=0; note="some figure is not reached"; }
  log benchmarks $code $((SECONDS - start)) "$note"
}

if ! build; then
  tail -20 "$out/build.log"
  echo "gpu_check: the build failed, nothing else was run; see $out/build.log"
  exit 1
fi
checks
benchmarks
{
  echo "gpu_check: $name, $SECONDS s in all"
  cat "$work/steps"
} > "$work/head"
cat "$work/head" "$out/benchmark.log" > "$out/summary.txt"
echo
cat "$work/head"
[ -e "$work/failed" ] && exit 1
[ -e "$work/unreached" ] && exit 2
exit 0
