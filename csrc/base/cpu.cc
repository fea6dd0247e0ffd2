#include "base/cpu.h"

#include <cstdint>
#include <fstream>
#include <stdexcept>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace lightkern {
namespace {

constexpr Isa kAll[] = {
#define LIGHTKERN_ISA(name, arch, flags) Isa::name,
#include "base/isa.inc"
#undef LIGHTKERN_ISA
};

struct Features {
  bool sse41 = false, avx2 = false, avxvnni = false, avx512vnni = false, neon = false,
       neondot = false, i8mm = false;
};

#if defined(__x86_64__) || defined(__i386__)
// CPUID tells what the CPU has; XGETBV tells whether the operating system saves the wide registers.
Features detect() noexcept {
  Features f;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  f.sse41 = (c >> 19 & 1) && (c >> 9 & 1);  // SSE4.1 and SSSE3
  const bool osxsave = c >> 27 & 1, avx = c >> 28 & 1;
  if (!osxsave || !avx) return f;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool ymm_saved = (low & 6) == 6, zmm_saved = (low & 0xE6) == 0xE6;
  if (!ymm_saved || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = b >> 5 & 1;
  const unsigned parts = b >> 16 & b >> 30 & b >> 31;  // AVX512F, BW, VL
  const bool vbmi = c >> 1 & 1, vnni = c >> 11 & 1;
  f.avx512vnni = f.avx2 && zmm_saved && (parts & 1) && vbmi && vnni;
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avxvnni = f.avx2 && (a >> 4 & 1);
#ifdef LIGHTKERN_EMULATE_VNNI
  f.avxvnni = f.avx512vnni = f.avx2;  // cmake/kernels.cmake: compiled to AVX2 through SIMDe
#endif
  return f;
}
#elif defined(__aarch64__) && defined(__linux__)
Features detect() noexcept {
  Features f;
  f.neon = true;                                           // part of the base architecture
  f.neondot = getauxval(AT_HWCAP) >> 20 & 1;               // HWCAP_ASIMDDP
  f.i8mm = f.neondot && (getauxval(AT_HWCAP2) >> 13 & 1);  // HWCAP2_I8MM
  return f;
}
#elif defined(__aarch64__) && defined(__APPLE__)
bool says_yes(const char* name) noexcept {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value;
}

Features detect() noexcept {
  Features f;
  f.neon = true;
  f.neondot = says_yes("hw.optional.arm.FEAT_DotProd");
  f.i8mm = f.neondot && says_yes("hw.optional.arm.FEAT_I8MM");
  return f;
}
#else
Features detect() noexcept { return {}; }
#endif

#if defined(__aarch64__) && defined(__linux__)
// By its main ID register: Arm's own, and what Qualcomm makes of them.
bool is_a53_or_a55(uint64_t midr) {
  const uint64_t implementer = midr >> 24 & 0xFF, part = midr >> 4 & 0xFFF;
  if (implementer == 0x41) return part == 0xD03 || part == 0xD05;
  return implementer == 0x51 && (part == 0x801 || part == 0x803 || part == 0x805);
}

bool all_in_order() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return false;
  bool any = false;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/regs/identification/midr_el1");
    uint64_t midr = 0;
    if (!(file >> std::hex >> midr) || !is_a53_or_a55(midr)) return false;
    any = true;
  }
  return any;
}
#else
bool all_in_order() { return false; }
#endif

}  // namespace

const char* isa_name(Isa isa) noexcept {
  switch (isa) {
#define LIGHTKERN_ISA(name, arch, flags) \
  case Isa::name:                        \
    return #name;
#include "base/isa.inc"
#undef LIGHTKERN_ISA
  }
  return "?";
}

bool cpu_has(Isa isa) noexcept {
  static const Features features = detect();
  switch (isa) {
    case Isa::avx512vnni:
      return features.avx512vnni;
    case Isa::avxvnni:
      return features.avxvnni;
    case Isa::avx2:
      return features.avx2;
    case Isa::sse41:
      return features.sse41;
    case Isa::i8mm:
      return features.i8mm;
    case Isa::neondot:
      return features.neondot;
    case Isa::neon:
      return features.neon;
    case Isa::scalar:
      return true;
  }
  return false;
}

bool issues_in_order() {
  static const bool found = all_in_order();
  return found;
}

const std::vector<Isa>& isa_levels() {
  static const std::vector<Isa> levels = [] {
    std::vector<Isa> found;
    for (Isa isa : kAll) {
      if (cpu_has(isa)) found.push_back(isa);
    }
    return found;
  }();
  return levels;
}

std::vector<Isa> allowed_levels(const std::string& cap) {
  const std::vector<Isa>& levels = isa_levels();
  if (cap.empty()) return levels;
  std::string names;
  for (size_t i = 0; i < levels.size(); ++i) {
    if (cap == isa_name(levels[i])) return {levels.begin() + static_cast<long>(i), levels.end()};
    names += (i ? ", " : "") + std::string(isa_name(levels[i]));
  }
  throw std::invalid_argument("ISA level '" + cap + "' is not one that this CPU has: " + names);
}

}  // namespace lightkern
