#include "bindings/json.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace lightkern {
namespace {

constexpr size_t kMostDigits = 20;

py::object own(PyObject* made) {
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(uint32_t code, std::string& to) {
  const auto put = [&](uint32_t byte) { to.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 63));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63));
    put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  }
}

// Recursive descent over UTF-8 that ends with a zero byte: the zero stops every loop below.
class Parser {
 public:
  Parser(const char* text, size_t length, int most_depth)
      : begin_(text), at_(text), end_(text + length), most_depth_(most_depth) {}

  py::object document() {
    py::object value = parse_value(0);
    skip_space();
    if (at_ != end_) fail("Extra data");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::invalid_argument(what + ", at byte " + std::to_string(at_ - begin_));
  }

  // A part of the text, as an error message shows it.
  static std::string quote(const char* from, const char* to) {
    constexpr ptrdiff_t kMost = 24;
    const Py_ssize_t size = std::min(to - from, kMost);
    const py::object part = own(PyUnicode_DecodeUTF8(from, size, "backslashreplace"));
    return std::string(py::str(py::repr(part))) + (to - from > kMost ? "..." : "");
  }

  [[noreturn]] static void fail(const std::string& rule, const char* from, const char* to) {
    throw std::invalid_argument(rule + ", got " + quote(from, to));
  }

  void skip_space() {
    while (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r') ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (*at_ != c) return false;
    ++at_;
    return true;
  }

  bool accept_word(const char* word) {
    const size_t length = std::strlen(word);
    if (static_cast<size_t>(end_ - at_) < length || std::memcmp(at_, word, length) != 0) {
      return false;
    }
    at_ += length;
    return true;
  }

  py::object parse_value(int depth) {
    if (depth > most_depth_) {
      throw std::invalid_argument("nested deeper than " + std::to_string(most_depth_));
    }
    skip_space();
    if (*at_ == '{') return parse_dict(depth);
    if (*at_ == '[') return parse_list(depth);
    if (*at_ == '"') return parse_string();
    if (*at_ == '-' || is_digit(*at_)) return parse_number();
    if (accept_word("true")) return py::bool_(true);
    if (accept_word("false")) return py::bool_(false);
    if (accept_word("null")) return py::none();
    refuse_infinity(at_);
    fail("Expecting value");
  }

  py::object parse_dict(int depth) {
    py::dict dict;
    ++at_;
    if (accept('}')) return std::move(dict);
    do {
      skip_space();
      if (*at_ != '"') fail("Expecting a string as key");
      const char* from = at_;
      const py::object read = parse_string();
      // Equal keys of many objects are one string.
      PyObject* key = PyDict_SetDefault(keys_.ptr(), read.ptr(), read.ptr());
      if (!key) throw py::error_already_set();
      const char* to = at_;
      if (!accept(':')) fail("Expecting ':'");
      const Py_ssize_t before = PyDict_GET_SIZE(dict.ptr());
      const py::object value = parse_value(depth + 1);
      if (PyDict_SetItem(dict.ptr(), key, value.ptr()) != 0) throw py::error_already_set();
      if (PyDict_GET_SIZE(dict.ptr()) == before) {
        throw std::invalid_argument("keys must be unique, got " + quote(from + 1, to - 1) +
                                    " twice");
      }
    } while (accept(','));
    if (!accept('}')) fail("Expecting ',' or '}'");
    return std::move(dict);
  }

  py::object parse_list(int depth) {
    py::list list;
    ++at_;
    if (accept(']')) return std::move(list);
    do {
      list.append(parse_value(depth + 1));
    } while (accept(','));
    if (!accept(']')) fail("Expecting ',' or ']'");
    return std::move(list);
  }

  py::object parse_string() {
    const char* from = ++at_;
    while (static_cast<unsigned char>(*at_) >= 0x20 && *at_ != '"' && *at_ != '\\') ++at_;
    if (*at_ == '"') return own(PyUnicode_DecodeUTF8(from, at_++ - from, nullptr));
    std::string text(from, at_);
    while (*at_ != '"') {
      if (*at_ == '\\') {
        ++at_;
        append_escape(text);
      } else if (static_cast<unsigned char>(*at_) >= 0x20) {
        text.push_back(*at_++);
      } else if (at_ == end_) {
        fail("Unterminated string");
      } else {
        fail("Invalid control character");
      }
    }
    ++at_;
    return own(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), nullptr));
  }

  void append_escape(std::string& text) {
    constexpr char kNames[] = "\"\\/bfnrt", kCharacters[] = "\"\\/\b\f\n\r\t";
    if (*at_ == 'u') {
      append_utf8(parse_code(), text);
      return;
    }
    const char* found = *at_ ? std::strchr(kNames, *at_) : nullptr;
    if (!found) fail("Invalid escape");
    ++at_;
    text.push_back(kCharacters[found - kNames]);
  }

  // From the u of an escape on; two escapes that are a surrogate pair are one code point.
  uint32_t parse_code() {
    const char* from = at_ - 1;
    const uint32_t first = parse_hex();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first < 0xDC00 && at_[0] == '\\' && at_[1] == 'u') {
      ++at_;
      const uint32_t second = parse_hex();
      if (second >= 0xDC00 && second <= 0xDFFF) {
        return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
      }
    }
    fail("strings must not hold half of a surrogate pair", from, at_);
  }

  uint32_t parse_hex() {
    ++at_;
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = *at_, lower = static_cast<char>(c | 0x20);
      if (is_digit(c)) {
        code = code * 16 + static_cast<uint32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        code = code * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        fail("Invalid \\u escape");
      }
    }
    return code;
  }

  void refuse_infinity(const char* from) {
    for (const char* word : {"NaN", "Infinity"}) {
      if (accept_word(word)) fail("numbers must be finite", from, at_);
    }
  }

  void skip_digits() {
    if (!is_digit(*at_)) fail("Expecting a digit");
    while (is_digit(*at_)) ++at_;
  }

  py::object parse_number() {
    const char* from = at_;
    if (*at_ == '-') {
      ++at_;
      refuse_infinity(from);
    }
    if (*at_ == '0') {
      ++at_;  // and no digit behind it
    } else {
      skip_digits();
    }
    bool integer = true;
    if (*at_ == '.') {
      integer = false, ++at_;
      skip_digits();
    }
    if (*at_ == 'e' || *at_ == 'E') {
      integer = false, ++at_;
      if (*at_ == '+' || *at_ == '-') ++at_;
      skip_digits();
    }
    const std::string digits(from, at_);
    if (!integer) {
      const double value = PyOS_string_to_double(digits.c_str(), nullptr, nullptr);
      if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
      if (!std::isfinite(value)) fail("numbers must be finite", from, at_);
      return py::float_(value);
    }
    if (digits.size() > kMostDigits) fail("integers have at most 20 digits", from, at_);
    return own(PyLong_FromString(digits.c_str(), nullptr, 10));
  }

  const char *begin_, *at_, *end_;
  int most_depth_;
  py::dict keys_;
};

}  // namespace

py::object parse_json(const py::str& text, int most_depth) {
  Py_ssize_t length = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &length);
  if (!utf8) throw py::error_already_set();
  return Parser(utf8, static_cast<size_t>(length), most_depth).document();
}

}  // namespace lightkern
