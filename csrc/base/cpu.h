// ISA levels: which exist, which this CPU has.
#pragma once

#include <string>
#include <vector>

namespace lightkern {

enum class Isa {
#define LIGHTKERN_ISA(name, arch, flags) name,
#include "base/isa.inc"
#undef LIGHTKERN_ISA
};

const char* isa_name(Isa isa) noexcept;

// True if this CPU, and the operating system on it, can run code of the level. Read once.
bool cpu_has(Isa isa) noexcept;

// True if all CPUs that this process may run on are known to issue in order, two instructions at
// once: Cortex-A53 and A55. Read once. Beside larger cores they do little of the work.
bool issues_in_order();

// Levels that this CPU has, best first; the last is always scalar.
const std::vector<Isa>& isa_levels();

// The levels that may be used when `cap` is the best one allowed: `cap` itself and all below it. An
// empty cap means no limit. Throws std::invalid_argument for a name that is unknown or that this
// CPU lacks.
std::vector<Isa> allowed_levels(const std::string& cap);

}  // namespace lightkern
