/*  =========================================================================
    test_header - dafka.h alone, as C11 and (test_header_cxx.cpp) as C++: its macros, and the type and address of every
    function
    =========================================================================
*/

#include <dafka.h>

#if !defined (__cplusplus) && __STDC_VERSION__ < 201112L
#   error "compile this as C11 or C++"
#endif

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf (stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
            exit (1); \
        } \
    } while (0)

//  The macros work in the preprocessor, so they are constants.
#if DAFKA_MAKE_VERSION (1, 2, 3) != 10203
#   error "DAFKA_MAKE_VERSION"
#endif
#if DAFKA_MAKE_VERSION (0, 1 + 1, 0) != 200
#   error "DAFKA_MAKE_VERSION with an expression"
#endif
#if DAFKA_VERSION != DAFKA_MAKE_VERSION (DAFKA_VERSION_MAJOR, DAFKA_VERSION_MINOR, DAFKA_VERSION_PATCH)
#   error "DAFKA_VERSION"
#endif
#if DAFKA_VERSION < DAFKA_MAKE_VERSION (0, 1, 0)
#   error "older than what it replaces"
#endif

//  A program can declare its own function like those of the library.
#ifdef __cplusplus
extern "C"
#endif
DAFKA_EXPORT void
    test_header_own_function (void);

static int s_functions = 0;

//  The function's address must convert to exactly this type without a cast.
#define FUNCTION(result, name, parameters) \
    do { \
        result (*volatile pointer) parameters = name; \
        CHECK (pointer != NULL); \
        s_functions++; \
    } while (0);

static void
s_check_functions (void)
{
#include "every_function.h"
}

int
main (void)
{
    //  The types exist, and those that a program fills in are complete.
    dafka_producer_args_t producer_args = { "topic", NULL };
    dafka_publisher_args_t publisher_args = { "topic", NULL };
    dafka_beacon_args_t beacon_args = { "prefix", NULL };
    dafka_consumer_args_t consumer_args = { NULL, NULL };
    CHECK (producer_args.topic && publisher_args.topic && beacon_args.log_prefix && !consumer_args.record_sink);
    dafka_proto_t *proto = NULL;
    dafka_beacon_t *beacon = NULL;
    dafka_tower_t *tower = NULL;
    dafka_store_t *store = NULL;
    dafka_producer_t *producer = NULL;
    dafka_producer_msg_t *producer_msg = NULL;
    dafka_consumer_t *consumer = NULL;
    dafka_consumer_msg_t *consumer_msg = NULL;
    dafka_publisher_t *publisher = NULL;
    dafka_subscriber_t *subscriber = NULL;
    CHECK (!proto && !beacon && !tower && !store && !producer && !producer_msg && !consumer && !consumer_msg
           && !publisher && !subscriber);

    CHECK (DAFKA_MAKE_VERSION (1, 2, 3) == 10203);
    CHECK (DAFKA_PROTO_RECORD == 'M' && DAFKA_PROTO_MSG == DAFKA_PROTO_RECORD);
    CHECK (DAFKA_PROTO_DIRECT_RECORD == 'D' && DAFKA_PROTO_FETCH == 'F' && DAFKA_PROTO_ACK == 'K');
    CHECK (DAFKA_PROTO_HEAD == 'H' && DAFKA_PROTO_DIRECT_HEAD == 'E' && DAFKA_PROTO_GET_HEADS == 'G');
    CHECK (DAFKA_PROTO_CONSUMER_HELLO == 'W' && DAFKA_PROTO_STORE_HELLO == 'L');

    s_check_functions ();
    CHECK (s_functions == 108);
    printf (" * test_header: OK\n");
    return 0;
}
