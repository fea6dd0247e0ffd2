// How kernels are listed. Each op has a struct Kernel whose first members are `name`, and a
// Registry of Tables, one per ISA level, best first. The build writes the registries from the files
// that exist (cmake/kernels.cmake).
#pragma once

#include <cstddef>

#include "base/cpu.h"

namespace lightkern {

// The kernels of one op for one ISA level, preferred first. Constant-initialised: nothing of an ISA
// file runs at import.
template <class Kernel>
struct KernelTable {
  const Kernel* kernels;
  size_t count;
};

template <class Kernel, size_t n>
constexpr KernelTable<Kernel> make_table(const Kernel (&kernels)[n]) {
  return {kernels, n};
}

template <class Kernel>
struct RegistryEntry {
  Isa isa;
  const KernelTable<Kernel>* table;
};

template <class Kernel>
struct KernelRegistry {
  const char* op;
  const RegistryEntry<Kernel>* entries;
  size_t count;
};

// Declares Table, Entry, Registry and kRegistry for the struct Kernel of the enclosing op
// namespace.
#define LIGHTKERN_DECLARE_REGISTRY(Kernel)              \
  using Table = ::lightkern::KernelTable<Kernel>;       \
  using Entry = ::lightkern::RegistryEntry<Kernel>;     \
  using Registry = ::lightkern::KernelRegistry<Kernel>; \
  extern const Registry kRegistry;

using KernelVisitor = void (*)(void* context, const char* op, Isa isa, const char* name);

template <class Kernel>
void visit_registry(const KernelRegistry<Kernel>& registry, KernelVisitor visitor, void* context) {
  for (size_t i = 0; i < registry.count; ++i) {
    const RegistryEntry<Kernel>& entry = registry.entries[i];
    for (size_t k = 0; k < entry.table->count; ++k) {
      visitor(context, registry.op, entry.isa, entry.table->kernels[k].name);
    }
  }
}

// Calls the visitor for every compiled kernel, whether or not this CPU can run it.
void visit_kernels(KernelVisitor visitor, void* context);

}  // namespace lightkern
