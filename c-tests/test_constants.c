/*  =========================================================================
    test_constants - layouts of the structs that programs fill in, and the constants, are those that programs were
    compiled with
    =========================================================================
*/

#include "testing.h"
#include <stddef.h>

//  Two pointers, in that order, of those types, and nothing else
#define CHECK_PAIR(type, first_type, first, second_type, second) \
    do { \
        static type object; \
        first_type *first_place = &object.first; \
        second_type *second_place = &object.second; \
        CHECK (first_place && second_place); \
        CHECK (offsetof (type, first) == 0); \
        CHECK (offsetof (type, second) == sizeof (void *)); \
        CHECK (sizeof (object.first) == sizeof (void *)); \
        CHECK (sizeof (object.second) == sizeof (void *)); \
        CHECK (sizeof (type) == 2 * sizeof (void *)); \
    } while (0)

int
main (void)
{
    CHECK_PAIR (dafka_publisher_args_t, const char *, topic, zconfig_t *, config);
    CHECK_PAIR (dafka_producer_args_t, const char *, topic, zconfig_t *, config);
    CHECK_PAIR (dafka_beacon_args_t, const char *, log_prefix, zconfig_t *, config);
    CHECK_PAIR (dafka_consumer_args_t, zconfig_t *, config, zsock_t *, record_sink);

    CHECK (DAFKA_PROTO_RECORD == 0x4D);
    CHECK (DAFKA_PROTO_MSG == 0x4D);
    CHECK (DAFKA_PROTO_DIRECT_RECORD == 0x44);
    CHECK (DAFKA_PROTO_FETCH == 0x46);
    CHECK (DAFKA_PROTO_ACK == 0x4B);
    CHECK (DAFKA_PROTO_HEAD == 0x48);
    CHECK (DAFKA_PROTO_DIRECT_HEAD == 0x45);
    CHECK (DAFKA_PROTO_GET_HEADS == 0x47);
    CHECK (DAFKA_PROTO_CONSUMER_HELLO == 0x57);
    CHECK (DAFKA_PROTO_STORE_HELLO == 0x4C);

    //  Constant, and all different, the alias apart: else this does not compile
    switch (getpid () > 0 ? DAFKA_PROTO_ACK : 0) {
        case DAFKA_PROTO_RECORD:
        case DAFKA_PROTO_DIRECT_RECORD:
        case DAFKA_PROTO_FETCH:
        case DAFKA_PROTO_HEAD:
        case DAFKA_PROTO_DIRECT_HEAD:
        case DAFKA_PROTO_GET_HEADS:
        case DAFKA_PROTO_CONSUMER_HELLO:
        case DAFKA_PROTO_STORE_HELLO:
            CHECK (false);
            break;
        case DAFKA_PROTO_ACK:
            break;
    }
    printf (" * test_constants: OK\n");
    return 0;
}
