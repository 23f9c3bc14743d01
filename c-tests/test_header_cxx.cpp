//  test_header.c as C++
#include "test_header.c"
