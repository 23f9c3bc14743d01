// For programs that include libdafka's headers one by one: all of it is in dafka.h.
#include "dafka.h"
