// Ceilings of one core: multiply-accumulate rates of loops that touch registers only.
//
// Each loop keeps kAccumulators independent chains, enough to hide the latency of its longest one,
// so that it runs at the rate at which the multiply and add pipes issue. No kernel that uses the
// sequence can be faster. Prints JSON: GMAC/s, the median of several timings of each loop, in
// turns.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#if defined(__AVX2__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

constexpr int kAccumulators = 10;
constexpr long kIterations = 400000;
constexpr int kRounds = 15;

struct Ceiling {
  const char* name;
  double macs;  // per accumulator and iteration
  void (*run)(long iterations);
  bool (*exists)();  // null: on every CPU that this is compiled for
};

// The value may have changed, as far as the compiler knows: it neither hoists nor removes what uses
// it.
#define OPAQUE_X86(v) asm volatile("" : "+x"(v))
#define OPAQUE_ARM(v) asm volatile("" : "+w"(v))

#if defined(__AVX2__)

void f32_fma(long iterations) {
  __m256 acc[kAccumulators];
  for (auto& v : acc) v = _mm256_setzero_ps();
  __m256 a = _mm256_set1_ps(1.0f), b = _mm256_set1_ps(0.5f);
  for (long i = 0; i < iterations; ++i) {
    OPAQUE_X86(a);
    for (auto& v : acc) v = _mm256_fmadd_ps(a, b, v);
  }
  for (auto& v : acc) OPAQUE_X86(v);
}

// The integer sequences are written in assembly: a compiler would compute the same product only
// once.
template <typename Step>
void chains(long iterations, Step step) {
  __m256i acc[kAccumulators];
  for (auto& v : acc) v = _mm256_setzero_si256();
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  for (long i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (auto& v : acc) v = step(v, a, b);
  }
  for (auto& v : acc) OPAQUE_X86(v);
}

void int16(long iterations) {
  chains(iterations, [](__m256i acc, __m256i a, __m256i b) {
    __m256i p;
    asm volatile("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(p) : "x"(a), "x"(b));
    return acc;
  });
}

void int8(long iterations) {
  const __m256i ones = _mm256_set1_epi16(1);
  chains(iterations, [ones](__m256i acc, __m256i a, __m256i b) {
    __m256i p;
    asm volatile("vpmaddubsw %2, %3, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
                 : "+x"(acc), "=&x"(p)
                 : "x"(a), "x"(b), "x"(ones));
    return acc;
  });
}

void int8_small_weights(long iterations) {
  const __m256i ones = _mm256_set1_epi16(1);
  chains(iterations, [ones](__m256i acc, __m256i a, __m256i b) {
    __m256i p, q;
    asm volatile(
        "vpmaddubsw %3, %4, %1\n\tvpmaddubsw %4, %3, %2\n\tvpaddw %1, %2, %1\n\t"
        "vpmaddwd %5, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(acc), "=&x"(p), "=&x"(q)
        : "x"(a), "x"(b), "x"(ones));
    return acc;
  });
}

// VNNI, as wide as the registers are.
[[gnu::target("avx512f")]] void int8_dot(long iterations) {
  __m512i acc[kAccumulators];
  for (auto& v : acc) v = _mm512_setzero_si512();
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (long i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (auto& v : acc) asm volatile("vpdpbusd %2, %1, %0" : "+v"(v) : "v"(a), "v"(b));
  }
  for (auto& v : acc) asm volatile("" : "+v"(v));
}

void int8_dot_256(long iterations) {
  chains(iterations, [](__m256i acc, __m256i a, __m256i b) {
    asm volatile("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
  });
}

bool has_avx512_vnni() { return __builtin_cpu_supports("avx512vnni"); }
bool has_avx_vnni() {  // not by __builtin_cpu_supports, to which clang 14 does not know the name
  unsigned a = 0, b = 0, c = 0, d = 0;
  return !has_avx512_vnni() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

constexpr Ceiling kCeilings[] = {
    {"f32", 8, f32_fma, nullptr},
    {"int16", 16, int16, nullptr},
    {"int8", 32, int8, nullptr},
    {"int8_small_weights", 64, int8_small_weights, nullptr},
    {"int8_dot", 64, int8_dot, has_avx512_vnni},
    {"int8_dot", 32, int8_dot_256, has_avx_vnni},
};

#elif defined(__aarch64__)

void f32_fma(long iterations) {
  float32x4_t acc[kAccumulators];
  for (auto& v : acc) v = vdupq_n_f32(0);
  float32x4_t a = vdupq_n_f32(1.0f), b = vdupq_n_f32(0.5f);
  for (long i = 0; i < iterations; ++i) {
    OPAQUE_ARM(a);
    for (auto& v : acc) v = vfmaq_f32(v, a, b);
  }
  for (auto& v : acc) OPAQUE_ARM(v);
}

void int16(long iterations) {
  int32x4_t acc[kAccumulators];
  for (auto& v : acc) v = vdupq_n_s32(0);
  int16x4_t a = vdup_n_s16(3), b = vdup_n_s16(5);
  for (long i = 0; i < iterations; ++i) {
    OPAQUE_ARM(a);
    for (auto& v : acc) v = vmlal_s16(v, a, b);
  }
  for (auto& v : acc) OPAQUE_ARM(v);
}

void int8(long iterations) {
  int32x4_t acc[kAccumulators];
  for (auto& v : acc) v = vdupq_n_s32(0);
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (long i = 0; i < iterations; ++i) {
    OPAQUE_ARM(a);
#if defined(__ARM_FEATURE_DOTPROD)
    for (auto& v : acc) v = vdotq_s32(v, a, b);
#else
    for (auto& v : acc) {
      int16x8_t p = vmull_s8(vget_low_s8(a), vget_low_s8(b));
      OPAQUE_ARM(p);
      v = vpadalq_s16(v, vmlal_high_s8(p, a, b));
    }
#endif
  }
  for (auto& v : acc) OPAQUE_ARM(v);
}

constexpr Ceiling kCeilings[] = {
    {"f32", 4, f32_fma, nullptr}, {"int16", 4, int16, nullptr}, {"int8", 16, int8, nullptr}};

#else
#error "no register-only loops for this architecture"
#endif

double seconds(const Ceiling& ceiling) {
  const auto begin = std::chrono::steady_clock::now();
  ceiling.run(kIterations);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

int main() {
  std::vector<Ceiling> ceilings;
  for (const Ceiling& ceiling : kCeilings) {
    if (!ceiling.exists || ceiling.exists()) ceilings.push_back(ceiling);
  }
  std::vector<std::vector<double>> samples(ceilings.size());
  for (const Ceiling& ceiling : ceilings) seconds(ceiling);  // warm up: clock and wide units
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < ceilings.size(); ++i) samples[i].push_back(seconds(ceilings[i]));
  }
  std::printf("{");
  for (size_t i = 0; i < ceilings.size(); ++i) {
    std::nth_element(samples[i].begin(), samples[i].begin() + kRounds / 2, samples[i].end());
    const double gmacs =
        ceilings[i].macs * kAccumulators * kIterations / samples[i][kRounds / 2] / 1e9;
    std::printf("%s\"%s\": %.2f", i ? ", " : "", ceilings[i].name, gmacs);
  }
  std::printf("}\n");
}
