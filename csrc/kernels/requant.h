// Requantization in portable C++: the meaning that every simd/<isa>.h repeats in vectors, bit for
// bit.
//
//   t = float(acc) * m;  clamp t to [lo, hi] (limits minus the zero point);  round half to even;
//   add the zero point
//
// All in the memory domain (base/types.h): zero points and limits carry kActOffset. Every function
// is static: code that is compiled for one ISA must never be merged with the same code of another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/types.h"

namespace lightkern {

struct TableFit;  // kernels/fit.h

// Range of an output: limits relative to the zero point, in float, and the zero point to add after
// rounding.
struct Clamp {
  float lo, hi;        // [min - zero_point, max - zero_point]
  int32_t zero_point;  // memory domain
};

// Whether the range is all that a byte can hold, with the zero point 0, as behind a ReLU: packing
// saturates as clamping would.
[[maybe_unused]] static inline bool fills_byte(const Clamp& clamp) {
  return clamp.zero_point == 0 && clamp.lo == 0.0f && clamp.hi == 255.0f;
}

// Round half to even, for |t| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
[[maybe_unused]] static inline int32_t round_half_even(float t) {
  const float shifted = t + 12582912.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  return bits - 0x4B400000;
}

[[maybe_unused]] static inline Act finish(float t, const Clamp& clamp) {
  t = t < clamp.lo ? clamp.lo : t;
  t = t > clamp.hi ? clamp.hi : t;
  return static_cast<Act>(round_half_even(t) + clamp.zero_point);
}

[[maybe_unused]] static inline Act requantize(int32_t acc, float multiplier, const Clamp& clamp) {
  return finish(static_cast<float>(acc) * multiplier, clamp);
}

// The add below in integers, for CPUs that multiply words and add the products (x86):
//
//   y = (start + ka * (a - 128) + kb * (b - 128)) >> shift, packed to a byte and limited
//
// A coefficient is 256 * high + low; no sum leaves int32.
struct AddFit {
  int16_t high[2];  // of a, of b
  uint8_t low[2];
  int32_t start;
  int shift;  // 0: there is no fit
};

// Add of two quantized values: t = (a - za) * ma + (b - zb) * mb.
struct AddParams {
  float ma, mb;
  int32_t za, zb;  // memory domain
  Clamp clamp;
  AddFit fit;  // gives the same for all a and b, if there is one
};

[[maybe_unused]] static inline Act requantize_add(Act a, Act b, const AddParams& p) {
  const float ta = static_cast<float>(a - p.za) * p.ma;
  const float tb = static_cast<float>(b - p.zb) * p.mb;
  return finish(ta + tb, p.clamp);
}

// What a convolution does with its accumulators: requantize, then optionally a table, then
// optionally the add of a residual, each with the rounding that the unfused ops have.
struct Epilogue {
  Clamp clamp;                // of the convolution's own output
  const Act* table;           // null, or [256] indexed by the byte of the memory value
  const TableFit* fit;        // null, or the same function as the table
  const Act* residual;        // null, or the tensor to add, shaped and indexed like the output
  ptrdiff_t residual_stride;  // bytes between pixels of the residual
  AddParams add;              // a = the convolution's (tabulated) output, b = the residual
};

// The tail of the epilogue, after requantization, for one value.
[[maybe_unused]] static inline Act apply_tail(Act value, const Act* residual, const Epilogue& e) {
  if (e.table) value = e.table[static_cast<uint8_t>(value)];
  if (residual) value = requantize_add(value, *residual, e.add);
  return value;
}

}  // namespace lightkern
