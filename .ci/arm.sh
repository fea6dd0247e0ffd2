#!/usr/bin/env bash
# Tests for 64-bit Arm without a board: cross-builds the wheel and runs the tests in the target's own Python under qemu-user,
# once per core, side by side: cortex-a53 (no dot product) and cortex-a76 (dot product).
#
#   .ci/arm.sh            build and run the tests below TESTS
#   .ci/arm.sh tests/kernels/test_gemm.py -k tail
#
# Needs: apt packages g++-aarch64-linux-gnu qemu-user mmdebstrap; a Python 3.11 with pip. Keeps its files in .cache/arm.
set -euo pipefail
cd "$(dirname "$0")/.."

TESTS=(tests/kernels tests/test_registry.py tests/test_whole_models.py tests/test_same_bits.py)
CORES=(${LIGHTKERN_ARM_CORES:-cortex-a53 cortex-a76})
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
if [ ! -x "$CACHE/build-env/bin/python" ]; then
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

[ $# -gt 0 ] || set -- "${TESTS[@]}"
pids=()
trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null' EXIT
for core in "${CORES[@]}"; do  # all at once; each one's output when it has ended
  env QEMU_LD_PREFIX="$ROOT" QEMU_CPU="$core" PYTHONPATH="$INSTALLED:$SITE" LIGHTKERN_TEST_EMULATED=1 LIGHTKERN_TEST_RUNNER=qemu-aarch64 \
    OPENBLAS_NUM_THREADS=1 qemu-aarch64 "$ROOT/usr/bin/python3.11" -m pytest -q -p no:cacheprovider --durations=5 "$@" \
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
exit "$status"
