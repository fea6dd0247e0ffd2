// Types that every layer shares.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lightkern {

// An activation in memory. The model says int8 everywhere; x86 multiplies u8 by s8, so there memory
// holds q + 128, and every zero point moves alike. The choice is made here, once, for the whole
// build: no inner loop pays for it.
#if !defined(LIGHTKERN_ACT_SIGNED) && \
    (defined(__x86_64__) || defined(__i386__) || defined(LIGHTKERN_ACT_UNSIGNED))
using Act = uint8_t;
constexpr int32_t kActOffset = 128;  // memory value = q + kActOffset
#else
using Act = int8_t;
constexpr int32_t kActOffset = 0;
#endif
constexpr int32_t kActMin = -128 + kActOffset;
constexpr int32_t kActMax = 127 + kActOffset;

}  // namespace lightkern
