#!/usr/bin/env bash
# Tests of instrumented code: AddressSanitizer with UndefinedBehaviorSanitizer, or ThreadSanitizer.
#
#   .ci/sanitized.sh addresses [PYTEST ARGUMENTS]    preset sanitize: kernels, sessions, damaged files
#   .ci/sanitized.sh races     [PYTEST ARGUMENTS]    preset races: the tests of threads
#
# Needs: g++ with its sanitizers' libraries, cmake, ninja, pybind11, and an environment with the `test` extra's packages first
# in PATH; builds into build/, with a copy of the package beside it, and leaves lightkern/ alone.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  addresses)
    preset=sanitize library=libasan.so symbol=__asan_init
    tests=(tests/kernels tests/test_registry.py tests/test_whole_models.py tests/test_same_bits.py tests/test_session_costs.py
      tests/test_ops.py tests/test_file_format.py tests/test_file_format_damage.py tests/test_file_format_rules.py
      tests/test_model_rules.py tests/test_model_limits.py)
    ;;
  races)
    preset=races library=libtsan.so symbol=__tsan_init
    tests=(-k thread tests/kernels tests/test_whole_models.py tests/test_session_costs.py)
    ;;
  *) sed -n '2,/^set/{/^#/p}' "$0"; exit 2 ;;
esac
shift

package=$PWD/build/$preset/package
rm -rf "$package"
mkdir -p "$package"
cp -r lightkern "$package"
rm -f "$package"/lightkern/_core*.so
launcher=$(command -v ccache || true)
mkdir -p build/logs
log=build/logs/$preset.log
cmake --preset "$preset" -DCMAKE_CXX_COMPILER=g++ -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" \
  -DLIGHTKERN_DEV_OUTPUT="$package/lightkern" >"$log" || { cat "$log"; exit 1; }
cmake --build "build/$preset" >"$log" || { tail -50 "$log"; exit 1; }
nm -D "$package"/lightkern/_core*.so | grep "$symbol" >/dev/null || { echo "$preset: the module is not instrumented"; exit 1; }

# Python itself is not instrumented, so the library has to be there first; libstdc++ too, for exceptions. Address space layout
# randomization may take the addresses that the library wants, where it can be turned off it is.
libraries=$(for file in "$library" libstdc++.so; do realpath "$(g++ -print-file-name="$file")"; done | paste -sd ' ')
fixed_addresses=(setarch -R)
"${fixed_addresses[@]}" true 2>/dev/null || fixed_addresses=()
[ $# -gt 0 ] || set -- "${tests[@]}"
exec env LD_PRELOAD="$libraries" ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
  TSAN_OPTIONS=halt_on_error=1 OPENBLAS_NUM_THREADS=1 LIGHTKERN_TEST_EMULATED=1 PYTHONSAFEPATH=1 PYTHONPATH="$package" \
  "${fixed_addresses[@]}" pytest -q -s -p no:cacheprovider "$@"
