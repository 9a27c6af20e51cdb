// What the self-test's functions give to Python.
#pragma once

#include <exception>
#include <string>

#define MAGNET_EXPORT extern "C" __attribute__((visibility("default")))

namespace magnet {

// Null where function() did not throw, else what it threw; valid until the thread's next call.
template <class Function>
const char* error_of(const Function& function) {
  static thread_local std::string error;
  try {
    function();
    return nullptr;
  } catch (const std::exception& exception) {
    error = exception.what();
    return error.c_str();
  }
}

}  // namespace magnet
