/*  =========================================================================
    testing - what the C tests share

    Include it first: it includes dafka.h, and CZMQ with it.
    =========================================================================
*/

#ifndef TESTING_H_INCLUDED
#define TESTING_H_INCLUDED

#include <dafka.h>

#ifdef __GNUC__
#   define TEST_NORETURN __attribute__ ((noreturn))
#   define TEST_PRINTF(index) __attribute__ ((format (printf, index, index + 1)))
#else
#   define TEST_NORETURN
#   define TEST_PRINTF(index)
#endif

//  Like assert, but also with NDEBUG: prints where and in which case of the test it failed, exits 1.
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            test_fail (__FILE__, __LINE__, "check failed: " #condition); \
    } while (0)

//  The same for strings; prints both.
#define CHECK_STR(actual, expected) \
    test_check_str (__FILE__, __LINE__, #actual, (actual), (expected))

TEST_NORETURN void
    test_fail (const char *file, int line, const char *text);
void
    test_check_str (const char *file, int line, const char *expression,
                    const char *actual, const char *expected);

//  Begin the program's test: starts the watchdog, which ends the process with exit code 1 and the name of the current
//  case when the test has not ended after that many seconds (DAFKA_TEST_TIMEOUT in the environment goes first), and
//  makes the test's own directory under $TMPDIR.
void
    test_begin (const char *name, int timeout_s);

//  Name the case that runs now, for messages and with DAFKA_TEST_VERBOSE for progress.
void
    test_case (const char *format, ...) TEST_PRINTF (1);

//  Within the case: the number of the record that is sent or received now. Messages name it.
void
    test_at (size_t number);

//  End the program's test: no socket may be left open (CZMQ names each that is). Removes the directory, prints
//  " * test_NAME: OK". Returns 0, main's result. A test that fails keeps its directory and prints its name.
int
    test_end (void);

//  Waits until no actor runs any more, and no other thread but ZeroMQ's. zactor_destroy returns when an actor has said its
//  last word; its thread closes the pipe after that, for which zsys_shutdown waits 200 ms only.
void
    test_await_actors (void);

//  From here to test_log_end, the lines of CZMQ's log are kept. test_log_has: whether there is one of that level ("E:",
//  "W:", "I:", "D:"; NULL is any) with both texts in it (the second may be NULL). test_log_await waits for it (the
//  watchdog sees to it that it ends). test_log_end prints what was kept.
void
    test_log_begin (void);
bool
    test_log_has (const char *level, const char *text, const char *text2);
void
    test_log_await (const char *level, const char *text, const char *text2);
void
    test_log_end (void);

//  The directory of this test (an absolute path), and a fresh path in it that does not exist yet. Caller frees the
//  latter with zstr_free.
const char *
    test_dir (void);
char *
    test_new_path (const char *prefix);

//  Whether the test runs under valgrind, for what cannot be measured or provoked there.
bool
    test_in_valgrind (void);

//  count * DAFKA_TEST_SCALE / 100, but at least minimum.
size_t
    test_scale (size_t count, size_t minimum);

//  Configuration of a private network: its own tower addresses (transport "inproc" or "tcp", the latter on two
//  loopback ports that are free now), loopback peers, short intervals, store/db at a fresh path. Nothing is set for
//  which a test may want the default (consumer/offset/reset, producer/terminate_unacked). Caller owns the result.
zconfig_t *
    test_config (const char *transport);
//  A copy: a second node of the same network. Caller owns the result.
zconfig_t *
    test_config_copy (zconfig_t *config);

//  What a program may do with the arguments of an actor that has started: overwritten with 0xA5, then freed; of a
//  configuration, all names and values. Sets the pointer to NULL.
void
    test_spoil (void *memory_p, size_t size);
void
    test_spoil_str (char **string_p);
void
    test_spoil_config (zconfig_t **config_p);

//  Ports of the loopback interface. They are taken below the range that the system hands out on its own, starting
//  from the process id, so that tests running side by side keep apart.
int
    test_free_port (void);
//  A handle that listens on that port, to close when done; -1 when another has the port.
int
    test_listen (int port);
//  Wait until nobody listens on the port of a tcp:// endpoint: a closed ZeroMQ socket is unbound a moment later.
void
    test_await_unbound (const char *endpoint);

//  A producer, a publisher, a subscriber, a consumer that is subscribed to the topic (when not NULL)
zactor_t *
    test_producer_new (const char *topic, zconfig_t *config);
zactor_t *
    test_publisher_new (const char *topic, zconfig_t *config);
dafka_consumer_t *
    test_consumer_new (const char *topic, zconfig_t *config);

//  Publish a text. The first is for producers, the second for publishers.
void
    test_send (zactor_t *producer, const char *format, ...) TEST_PRINTF (2);
void
    test_publish (zactor_t *publisher, const char *format, ...) TEST_PRINTF (2);

//  Wait for something to read on a socket or an actor; false when there was nothing for that long.
bool
    test_poll (void *reader, int timeout_ms);

//  Wait (the watchdog sees to it that it ends) for the consumer's next record, and check it. subject or address may
//  be NULL where it does not matter. test_recv_text returns the content, to free with zstr_free.
void
    test_recv (dafka_consumer_t *consumer, const char *subject, const char *address, const char *content);
char *
    test_recv_text (dafka_consumer_t *consumer);

//  Fill a buffer with octets that are a function of the seed alone; and compare. Different seeds differ in the first
//  8 octets (with size >= 8).
void
    test_fill (byte *buffer, size_t size, uint64_t seed);
bool
    test_filled (const byte *buffer, size_t size, uint64_t seed);

#endif
