// A C++ exception that leaves llama.cpp cannot be caught by Rust: it is caught here, and becomes a number and a text.
#include <cstddef>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

// Calls `call(data)`. 0: it returned; 1: there was no memory; 2: it threw something else. `message` gets what that says, cut to
// `size` bytes with the zero at the end.
extern "C" int llama_guarded_call(void (*call)(void *), void *data, char *message, std::size_t size) noexcept {
  try {
    call(data);
    return 0;
  } catch (const std::bad_alloc &) {
    return 1;
  } catch (const std::exception &e) {
    std::snprintf(message, size, "%s", e.what());
  } catch (const std::string &e) {
    std::snprintf(message, size, "%s", e.c_str());
  } catch (const char *e) {
    std::snprintf(message, size, "%s", e);
  } catch (...) {
    std::snprintf(message, size, "an exception that is no std::exception");
  }
  return 2;
}

// For the tests of the above: throws one of each.
extern "C" void llama_guarded_throw(int kind) {
  switch (kind) {
    case 0: return;
    case 1: throw std::bad_alloc();
    case 2: throw std::runtime_error("a runtime error of the test");
    case 3: throw std::string("a text of the test");
    default: throw kind;
  }
}
