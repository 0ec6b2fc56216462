// A check that says where it failed and ends the program.

#ifndef CHECK_HPP
#define CHECK_HPP

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::fprintf(stderr, "%s:%d: %s: does not hold; last error: %s\n", __FILE__, \
                   __LINE__, #condition, inferno_last_error());                  \
      std::exit(1);                                                              \
    }                                                                            \
  } while (false)

// Handwritten, from the set the default model was trained and tested on.
inline constexpr float zero[64] = {
    0, 0, 5,  13, 9,  1,  0,  0,  //
    0, 0, 13, 15, 10, 15, 5,  0,  //
    0, 3, 15, 2,  0,  11, 8,  0,  //
    0, 4, 12, 0,  0,  8,  8,  0,  //
    0, 5, 8,  0,  0,  9,  8,  0,  //
    0, 4, 11, 0,  1,  12, 7,  0,  //
    0, 2, 14, 5,  10, 12, 0,  0,  //
    0, 0, 6,  13, 10, 0,  0,  0,
};

// The digit with the highest of ten probabilities.
template <class Scores>
int digit(const Scores& scores) {
  int best = 0;
  for (int i = 1; i < 10; ++i) {
    if (scores[static_cast<unsigned>(i)] > scores[static_cast<unsigned>(best)]) best = i;
  }
  return best;
}

#endif
