// The other half of the program: the same header with exceptions (throwing.cpp),
// or a stand-in where the compiler has none.

#ifndef THROWING_HPP
#define THROWING_HPP

void throwing();

#endif
