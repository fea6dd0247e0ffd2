// The int8 model as the plan reads it: plain structs, views of arrays that the caller keeps alive
// while planning.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace lightkern {

// A constant array: a view.
struct ArrayView {
  char type = '?';  // 'b' int8, 'i' int32, 'f' float32
  const void* data = nullptr;
  std::vector<int64_t> shape;

  int64_t elements() const {
    int64_t total = 1;
    for (int64_t d : shape) total *= d;
    return total;
  }
};

// Shape without batch, (H, W, C); a vector is (1, 1, C), a matrix (1, L, C).
struct TensorDesc {
  std::string name;
  int h = 1, w = 1, c = 1;
  float scale = 1;
  int32_t zero_point = 0;  // int8 domain

  size_t pixels() const { return static_cast<size_t>(h) * static_cast<size_t>(w); }
  size_t elements() const { return pixels() * static_cast<size_t>(c); }
};

struct NodeDesc {
  std::string op, name;
  std::vector<int> inputs;  // indices of tensors
  int output = -1;
  std::map<std::string, std::vector<int64_t>> ints;  // attributes
  std::map<std::string, ArrayView> arrays;           // parameters

  // Throw std::invalid_argument, naming the node, if absent or of another length.
  const std::vector<int64_t>& attr(const char* key, size_t length) const;
  int attr(const char* key) const { return static_cast<int>(attr(key, 1)[0]); }
  template <class T>
  const T* array(const char* key, int64_t elements) const {
    return static_cast<const T*>(find_array(key, type_code(T{}), elements).data);
  }
  const ArrayView& find_array(const char* key, char type, int64_t elements) const;

 private:
  static char type_code(int8_t) { return 'b'; }
  static char type_code(int32_t) { return 'i'; }
  static char type_code(float) { return 'f'; }
};

struct ModelDesc {
  std::vector<TensorDesc> tensors;
  std::vector<NodeDesc> nodes;  // topological order
  std::vector<int> inputs, outputs;
};

}  // namespace lightkern
