# Toolchain: Debian's cross compiler for 64-bit Arm. LIGHTKERN_SYSROOT (an environment variable) is a folder with the target's
# Python headers, as .ci/arm.sh unpacks it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(LIGHTKERN_SYSROOT "$ENV{LIGHTKERN_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH ${LIGHTKERN_SYSROOT} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
set(Python_INCLUDE_DIR ${LIGHTKERN_SYSROOT}/usr/include/python3.11 CACHE PATH "")
# The architecture's pyconfig.h lies in include/<triplet>; -idirafter keeps the compiler's own headers first.
set(CMAKE_CXX_FLAGS_INIT "-idirafter ${LIGHTKERN_SYSROOT}/usr/include")
