#!/usr/bin/env bash
# Tests for 64-bit Arm without a board: cross-builds the wheel and runs the tests in the target's own Python under qemu-user,
# once per core, side by side: cortex-a53 (no dot product), cortex-a76 (dot product) and max (all that qemu knows, for i8mm).
#
#   .ci/arm.sh            build and run TESTS, on max ADDED only: all other kernels there are those of cortex-a76
#   .ci/arm.sh tests/kernels/test_gemm.py -k tail
#
# Needs: apt packages g++-aarch64-linux-gnu qemu-user mmdebstrap; a Python 3.11 with pip. Keeps its files in .cache/arm.
set -euo pipefail
cd "$(dirname "$0")/.."

TESTS=(tests/kernels tests/test_registry.py tests/test_whole_models.py tests/test_same_bits.py)
ADDED=(-k i8mm tests/kernels/test_gemm.py tests/test_registry.py tests/test_whole_models.py::test_same_bits_on_every_level)
CORES=(${LIGHTKERN_ARM_CORES:-cortex-a53 cortex-a76 max})
PYTHON=${PYTHON:-python3}
TRIPLET=aarch64-linux-gnu
CACHE=$PWD/.cache/arm
ROOT=$CACHE/root SITE=$CACHE/site INSTALLED=$CACHE/installed
SUFFIX=.cpython-311-$TRIPLET.so
mkdir -p "$CACHE"
unset PYTHONDONTWRITEBYTECODE PYTHONPATH OPENBLAS_CORETYPE OPENBLAS_L2_SIZE VIRTUAL_ENV

if [ ! -e "$CACHE/root.done" ]; then
  rm -rf "$ROOT"
  mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=python3.11,libpython3.11-dev,libstdc++6,libgomp1 bookworm "$ROOT"
  [ -e "$ROOT/lib" ] || ln -s usr/lib "$ROOT/lib"
  touch "$CACHE/root.done"
fi
if [ ! -e "$CACHE/site.done" ]; then
  rm -rf "$SITE"
  "$PYTHON" -m pip install -q --target "$SITE" --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
    --python-version 3.11 --implementation cp --only-binary=:all: numpy safetensors pytest hypothesis
  touch "$CACHE/site.done"
fi
if ! "$CACHE/build-env/bin/pip" --version >/dev/null 2>&1; then  # of another checkout's path, too: its scripts name it
  rm -rf "$CACHE/build-env"
  "$PYTHON" -m venv "$CACHE/build-env"
  "$CACHE/build-env/bin/pip" install -q 'scikit-build-core>=0.10' 'pybind11>=3,<4' cmake ninja
fi

rm -rf "$CACHE/dist" "$INSTALLED"
env PATH="$CACHE/build-env/bin:$PATH" LIGHTKERN_SYSROOT="$ROOT" CMAKE_TOOLCHAIN_FILE="$PWD/cmake/$TRIPLET.cmake" \
  CMAKE_ARGS="-DPYTHON_MODULE_EXTENSION=$SUFFIX -DLIGHTKERN_WERROR=ON -Dpybind11_DIR=$("$CACHE/build-env/bin/python" -m pybind11 --cmakedir)" \
  SETUPTOOLS_EXT_SUFFIX=$SUFFIX _PYTHON_HOST_PLATFORM=linux-aarch64 \
  "$CACHE/build-env/bin/pip" wheel . -q --no-build-isolation --no-deps -w "$CACHE/dist" \
  --config-settings=cmake.python-hints=false --config-settings=build-dir="$CACHE/build"
"$PYTHON" -m zipfile -e "$CACHE"/dist/*aarch64.whl "$INSTALLED"

cpus=$ROOT/sys/devices/system/cpu
rm -rf "$cpus"
pids=()
trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null' EXIT
for core in "${CORES[@]}"; do  # all at once; each one's output when it has ended
  cpu=$core tests=("${TESTS[@]}")
  if [ "$core" = max ]; then
    cpu=max,sve=off,pauth-impdef=on tests=("${ADDED[@]}")  # both are slow to emulate, and not used
  fi
  [ $# -eq 0 ] || tests=("$@")
  env QEMU_LD_PREFIX="$ROOT" QEMU_CPU="$cpu" PYTHONPATH="$INSTALLED:$SITE" LIGHTKERN_TEST_EMULATED=1 LIGHTKERN_TEST_RUNNER=qemu-aarch64 \
    OPENBLAS_NUM_THREADS=1 qemu-aarch64 "$ROOT/usr/bin/python3.11" -m pytest -q -p no:cacheprovider --durations=5 "${tests[@]}" \
    >"$CACHE/$core.log" 2>&1 &
  pids+=($!)
done
status=0
for i in "${!CORES[@]}"; do
  echo "== ${CORES[$i]}"
  wait "${pids[$i]}" || status=$?
  cat "$CACHE/${CORES[$i]}.log"
done
pids=()
[ $# -eq 0 ] || exit "$status"

# As if all CPUs were Cortex-A55, which qemu does not tell: it opens such files below $QEMU_LD_PREFIX first.
trap 'rm -rf "$cpus"' EXIT
for cpu in $("$PYTHON" -c 'import os; print(*os.sched_getaffinity(0))'); do
  mkdir -p "$cpus/cpu$cpu/regs/identification"
  echo 0x00000000412fd050 >"$cpus/cpu$cpu/regs/identification/midr_el1"
done
for core in cortex-a53 cortex-a76; do
  echo "== $core, in order"
  env QEMU_LD_PREFIX="$ROOT" QEMU_CPU="$core" PYTHONPATH="$INSTALLED:$SITE" LIGHTKERN_TEST_EMULATED=1 LIGHTKERN_TEST_RUNNER=qemu-aarch64 \
    OPENBLAS_NUM_THREADS=1 qemu-aarch64 "$ROOT/usr/bin/python3.11" -m pytest -q -p no:cacheprovider \
    tests/test_registry.py::test_kernels_for_cores_that_issue_in_order_are_taken_there_and_nowhere_else tests/test_whole_models.py || status=$?
done
exit "$status"
