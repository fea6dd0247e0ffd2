# Finds the kernels by their file names, compiles each with the flags of its ISA level, and writes the registry.
#
# csrc/base/isa.inc is the table of levels, best first. csrc/kernels/<op>/<isa>.cc holds the kernels of one op for one
# level and defines one symbol: `const Table <isa>` in namespace lightkern::<op>. Other files of an op folder: <op>.h,
# pack*.cc (lossless reordering, portable code), and what these include.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64|i[3-6]86)$")
  set(LIGHTKERN_ARCH x86)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(LIGHTKERN_ARCH arm)
else()
  set(LIGHTKERN_ARCH none)
endif()

set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS csrc/base/isa.inc)
file(STRINGS csrc/base/isa.inc LIGHTKERN_ISA_ROWS REGEX "^LIGHTKERN_ISA")
set(LIGHTKERN_ISA_ALL "")
set(LIGHTKERN_ISA_HERE "")
foreach(row IN LISTS LIGHTKERN_ISA_ROWS)
  if(NOT row MATCHES "^LIGHTKERN_ISA\\(([a-z0-9]+), ([a-z0-9]+), \"([^\"]*)\"\\)$")
    message(FATAL_ERROR "csrc/base/isa.inc: cannot read the row: ${row}")
  endif()
  set(isa ${CMAKE_MATCH_1})
  set(arch ${CMAKE_MATCH_2})
  string(REPLACE " " ";" LIGHTKERN_FLAGS_${isa} "${CMAKE_MATCH_3}")
  list(APPEND LIGHTKERN_ISA_ALL ${isa})
  if(arch STREQUAL LIGHTKERN_ARCH OR arch STREQUAL "any")
    list(APPEND LIGHTKERN_ISA_HERE ${isa})
  endif()
endforeach()

# -ffp-contract=off: a fused multiply-add would round differently from the scalar kernel.
set(LIGHTKERN_KERNEL_FLAGS -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti
    -fno-asynchronous-unwind-tables -fno-threadsafe-statics)
if(LIGHTKERN_SANITIZE) # with checks in it, -O3 takes minutes; the other two let always_inline functions be passed as pointers
  list(TRANSFORM LIGHTKERN_KERNEL_FLAGS REPLACE "^-O3$" "-O1;-finline-functions;-findirect-inlining")
endif()

# A CPU without VNNI can still run these levels' kernels: the same files, compiled to AVX2 through the emulated intrinsics
# of SIMDe (pip install cmeel-simde). The machine code of the real levels is built too, but not linked.
option(LIGHTKERN_EMULATE_VNNI "Run the kernels of the VNNI levels through SIMDe; for tests" OFF)
if(LIGHTKERN_EMULATE_VNNI)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    OUTPUT_VARIABLE site_packages OUTPUT_STRIP_TRAILING_WHITESPACE)
  find_path(LIGHTKERN_SIMDE simde/x86/avx512.h HINTS ${site_packages}/cmeel.prefix/include REQUIRED)
  set_source_files_properties(csrc/base/cpu.cc PROPERTIES COMPILE_DEFINITIONS LIGHTKERN_EMULATE_VNNI)
endif()

file(GLOB LIGHTKERN_OP_FOLDERS LIST_DIRECTORIES true CONFIGURE_DEPENDS csrc/kernels/*)
set(LIGHTKERN_KERNEL_OBJECTS "")
set(registry "// Written by cmake/kernels.cmake from the files below csrc/kernels.\n#include \"kernels/registry.h\"\n")
set(visits "")
foreach(folder IN LISTS LIGHTKERN_OP_FOLDERS)
  get_filename_component(op ${folder} NAME)
  if(NOT IS_DIRECTORY ${folder} OR op STREQUAL "simd" OR NOT EXISTS ${folder}/${op}.h)
    continue()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cc)
  foreach(source IN LISTS sources)
    get_filename_component(stem ${source} NAME_WE)
    if(NOT stem MATCHES "^pack" AND NOT stem IN_LIST LIGHTKERN_ISA_ALL)
      message(FATAL_ERROR "${source}: '${stem}' is neither an ISA level of csrc/base/isa.inc nor 'pack...'")
    endif()
  endforeach()
  file(GLOB pack_sources CONFIGURE_DEPENDS ${folder}/pack*.cc)
  if(pack_sources)
    add_library(lightkern_${op}_pack OBJECT ${pack_sources})
    target_include_directories(lightkern_${op}_pack PRIVATE csrc)
    list(APPEND LIGHTKERN_KERNEL_OBJECTS $<TARGET_OBJECTS:lightkern_${op}_pack>)
  endif()
  set(entries "")
  set(declarations "")
  foreach(isa IN LISTS LIGHTKERN_ISA_HERE)
    if(EXISTS ${folder}/${isa}.cc)
      add_library(lightkern_${op}_${isa} OBJECT ${folder}/${isa}.cc)
      target_include_directories(lightkern_${op}_${isa} PRIVATE csrc)
      target_compile_options(lightkern_${op}_${isa} PRIVATE ${LIGHTKERN_KERNEL_FLAGS} ${LIGHTKERN_FLAGS_${isa}})
      if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND isa MATCHES "avx512") # it warns of its own intrinsics (GCC 105593)
        target_compile_options(lightkern_${op}_${isa} PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
      endif()
      set(linked lightkern_${op}_${isa})
      if(LIGHTKERN_EMULATE_VNNI AND isa MATCHES "vnni$")
        set(linked emulated_${op}_${isa})
        add_library(${linked} OBJECT ${folder}/${isa}.cc)
        target_include_directories(${linked} PRIVATE csrc)
        target_include_directories(${linked} SYSTEM PRIVATE ${LIGHTKERN_SIMDE})
        # -O1: emulated intrinsics are so much code that -O3 takes many minutes per file.
        target_compile_options(${linked} PRIVATE ${LIGHTKERN_KERNEL_FLAGS} -O1 ${LIGHTKERN_FLAGS_avx2} -Wno-psabi
          -include ${CMAKE_CURRENT_SOURCE_DIR}/csrc/kernels/simd/emulated_vnni.h)
        target_compile_definitions(${linked} PRIVATE LIGHTKERN_EMULATED_${isa})
      endif()
      list(APPEND LIGHTKERN_OBJECTS_${isa} $<TARGET_OBJECTS:${linked}>)
      string(APPEND declarations "extern const Table ${isa};\n")
      string(APPEND entries "    {Isa::${isa}, &${isa}},\n")
    endif()
  endforeach()
  if(entries STREQUAL "")
    message(FATAL_ERROR "csrc/kernels/${op}: no kernel for ${LIGHTKERN_ARCH}; every op needs scalar.cc")
  endif()
  string(APPEND registry "#include \"kernels/${op}/${op}.h\"\nnamespace lightkern::${op} {\n${declarations}"
    "const Entry kEntries[] = {\n${entries}};\n"
    "const Registry kRegistry = {\"${op}\", kEntries, sizeof(kEntries) / sizeof(kEntries[0])};\n}\n")
  string(APPEND visits "  visit_registry(${op}::kRegistry, visitor, context);\n")
endforeach()
string(APPEND registry "namespace lightkern {\nvoid visit_kernels(KernelVisitor visitor, void* context) {\n${visits}}\n}\n")

set(LIGHTKERN_REGISTRY ${CMAKE_CURRENT_BINARY_DIR}/generated/registry.cc)
file(CONFIGURE OUTPUT ${LIGHTKERN_REGISTRY} CONTENT "${registry}" @ONLY)
add_library(lightkern_registry OBJECT ${LIGHTKERN_REGISTRY})
target_include_directories(lightkern_registry PRIVATE csrc)
list(APPEND LIGHTKERN_KERNEL_OBJECTS $<TARGET_OBJECTS:lightkern_registry>)

# Linked level by level, since a CPU runs the kernels of one or two: less of the file comes into memory.
set(levels ${LIGHTKERN_ISA_HERE})
list(REVERSE levels)
foreach(isa IN LISTS levels)
  list(APPEND LIGHTKERN_KERNEL_OBJECTS ${LIGHTKERN_OBJECTS_${isa}})
endforeach()
