/*  =========================================================================
    testing - helpers of the C tests

    Include it first: it includes dafka.h, and with it CZMQ.
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

//  Like assert, but NDEBUG does not disable it: prints the place and the case of the failure, and exits with code 1.
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            test_fail (__FILE__, __LINE__, "check failed: " #condition); \
    } while (0)

//  The same for equal strings; prints both.
#define CHECK_STR(actual, expected) \
    test_check_str (__FILE__, __LINE__, #actual, (actual), (expected))

TEST_NORETURN void
    test_fail (const char *file, int line, const char *text);
void
    test_check_str (const char *file, int line, const char *expression,
                    const char *actual, const char *expected);

//  Starts the program's test. Makes the test's directory under $TMPDIR, and starts the watchdog. If the test takes
//  longer than timeout_s seconds (DAFKA_TEST_TIMEOUT in the environment takes precedence), the watchdog prints the
//  current case and exits with code 1.
void
    test_begin (const char *name, int timeout_s);

//  Sets the name of the current case, for messages. With DAFKA_TEST_VERBOSE, prints it.
void
    test_case (const char *format, ...) TEST_PRINTF (1);

//  Sets the number of the record that the current case sends or receives, for messages.
void
    test_at (size_t number);

//  Ends the program's test. Checks that no socket is open (CZMQ logs each open one), removes the directory, and prints
//  " * test_NAME: OK". Returns 0 for main. A test that fails keeps its directory and prints its path.
int
    test_end (void);

//  Waits until no other threads than ZeroMQ's and the calling one are left. zactor_destroy returns when an actor has
//  sent its last signal. The actor's thread closes the pipe after that, and zsys_shutdown waits only 200 ms for it.
void
    test_await_actors (void);

//  Between test_log_begin and test_log_end, CZMQ's log is kept in a file. test_log_has checks for a line of a level
//  ("E:", "W:", "I:", "D:"; NULL: any level) that contains both texts (the second may be NULL). test_log_await waits
//  for such a line. test_log_end prints the kept lines.
void
    test_log_begin (void);
bool
    test_log_has (const char *level, const char *text, const char *text2);
void
    test_log_await (const char *level, const char *text, const char *text2);
void
    test_log_end (void);

//  The directory of this test (an absolute path), and a new path in it that does not exist yet. The caller frees the
//  latter with zstr_free.
const char *
    test_dir (void);
char *
    test_new_path (const char *prefix);

//  True under valgrind, where some effects cannot be measured or provoked.
bool
    test_in_valgrind (void);

//  count * DAFKA_TEST_SCALE / 100, but at least minimum.
size_t
    test_scale (size_t count, size_t minimum);

//  Number of entries of a directory, such as /proc/self/fd (open files) or /proc/self/task (threads).
size_t
    test_count_entries (const char *path);

//  The configuration of a private network: its own tower addresses (transport "inproc", or "tcp" on two free loopback
//  ports), peers on the loopback interface, short intervals, store/db at a new path. Leaves consumer/offset/reset and
//  producer/terminate_unacked unset, because some tests test their defaults. The caller owns the result.
zconfig_t *
    test_config (const char *transport);
//  test_config ("inproc") with consumer/offset/reset = earliest and producer/terminate_unacked = 1.
zconfig_t *
    test_config_without_store (void);
//  A copy, for a second node of the same network. The caller owns it.
zconfig_t *
    test_config_copy (zconfig_t *config);

//  Overwrites a string, or all names and values of a configuration, with 0xA5, and frees it. Sets the pointer to NULL.
void
    test_spoil_str (char **string_p);
void
    test_spoil_config (zconfig_t **config_p);

//  A free port of the loopback interface, below the system's own range. The search starts at a number that depends on
//  the process id, so that parallel tests use different ports.
int
    test_free_port (void);
//  Listens on that port. Returns a handle to close, or -1 when the port is in use.
int
    test_listen (int port);
//  Waits until nothing listens on the port of a tcp:// endpoint. ZeroMQ unbinds a closed socket a moment later.
void
    test_await_unbound (const char *endpoint);

//  Nodes. A consumer is subscribed to the topic, unless that is NULL.
zactor_t *
    test_tower_new (zconfig_t *config);
zactor_t *
    test_store_new (zconfig_t *config);
zactor_t *
    test_producer_new (const char *topic, zconfig_t *config);
zactor_t *
    test_publisher_new (const char *topic, zconfig_t *config);
zactor_t *
    test_subscriber_new (zconfig_t *config);
dafka_consumer_t *
    test_consumer_new (const char *topic, zconfig_t *config);

//  Publishes a text, to a producer or to a publisher.
void
    test_send (zactor_t *producer, const char *format, ...) TEST_PRINTF (2);
void
    test_publish (zactor_t *publisher, const char *format, ...) TEST_PRINTF (2);

//  Waits for input on a socket or an actor. False after timeout_ms without input.
bool
    test_poll (void *reader, int timeout_ms);

//  Waits for the consumer's next record, and checks it. subject and address may be NULL. test_recv_text returns the
//  content, to free with zstr_free. test_recv_from reads a subscriber's next record.
void
    test_recv (dafka_consumer_t *consumer, const char *subject, const char *address, const char *format, ...)
    TEST_PRINTF (4);
char *
    test_recv_text (dafka_consumer_t *consumer);
void
    test_recv_from (zactor_t *subscriber, const char *subject, const char *address, const char *format, ...)
    TEST_PRINTF (4);

//  An actor that sends SIGINT to the process until test_interrupter_destroy. It repeats the signal, since the first one
//  may come before the program waits.
zactor_t *
    test_interrupter_new (void);
void
    test_interrupter_destroy (zactor_t **interrupter_p);

//  Fills a buffer with bytes that depend only on the seed, and compares. Different seeds differ in the first 8 bytes
//  (if size >= 8).
void
    test_fill (byte *buffer, size_t size, uint64_t seed);
bool
    test_filled (const byte *buffer, size_t size, uint64_t seed);

#endif
