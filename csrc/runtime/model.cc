#include "runtime/model.h"

namespace lightkern {

const std::vector<int64_t>& NodeDesc::attr(const char* key, size_t length) const {
  const auto found = ints.find(key);
  if (found == ints.end() || found->second.size() != length) {
    throw std::invalid_argument("node '" + name + "' (" + op + "): attribute '" + key + "' with " +
                                std::to_string(length) + " values is missing");
  }
  return found->second;
}

const ArrayView& NodeDesc::find_array(const char* key, char type, int64_t elements) const {
  const auto found = arrays.find(key);
  if (found == arrays.end() || found->second.type != type || found->second.elements() != elements) {
    throw std::invalid_argument("node '" + name + "' (" + op + "): parameter '" + key +
                                "' of type " + type + " with " + std::to_string(elements) +
                                " elements is missing");
  }
  return found->second;
}

}  // namespace lightkern
