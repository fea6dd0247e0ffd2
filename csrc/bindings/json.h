// JSON from files that nobody vouches for -> Python objects.
#pragma once

#include <pybind11/pybind11.h>

namespace lightkern {

// Numbers, strings, lists and dicts as the module json makes them. Throws std::invalid_argument for
// what is not JSON (RFC 8259), and for what is, but is ambiguous, not finite or abusive: a key
// twice, a number that no double holds, an integer of more than 20 digits, half of a surrogate
// pair, values nested deeper than `most_depth`.
pybind11::object parse_json(const pybind11::str& text, int most_depth);

}  // namespace lightkern
