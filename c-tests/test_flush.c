/*  =========================================================================
    test_flush - dafka_producer_flush, _unacked, _acked and dafka_producer_msg_try_send: what a store has after a flush
    outlives the process; without a store, calls end after their timeout, at once, or after a signal

    usage: test_flush [write CONFIG COUNT]
    =========================================================================
*/

//  kill, readlink
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
//  The budget of a producer, and the length of its records: a few records fill the budget
#define BUDGET "100000"
#define CONTENT_SIZE 20000

//  Checks that a call returns -1 with an error number.
#define CHECK_ERRNO(call, expected) \
    do { \
        errno = 0; \
        CHECK ((call) == -1 && errno == (expected)); \
    } while (0)

static void
s_check_acked (zactor_t *producer, uint64_t expected)
{
    uint64_t sequence = UINT64_MAX;
    CHECK (dafka_producer_acked (producer, &sequence) == 0);
    CHECK (sequence == expected);
}

static void
s_check_flushed (zactor_t *producer, uint64_t count)
{
    CHECK (dafka_producer_flush (producer, -1) == 0);
    CHECK (dafka_producer_unacked (producer) == 0);
    CHECK (dafka_producer_flush (producer, 0) == 0);
    s_check_acked (producer, count - 1);
}


//  --------------------------------------------------------------------------
//  A process that is killed after a flush

//  Flushes now and then, as a program does that reports its progress.

static int
s_write_and_die (const char *config_file, size_t count)
{
    zconfig_t *config = zconfig_load (config_file);
    CHECK (config);
    zactor_t *producer = test_producer_new ("killed", config);
    for (size_t number = 0; number < count; number++) {
        test_send (producer, "%lu", (unsigned long) number);
        if (number % 10000 == 9999)
            s_check_flushed (producer, number + 1);
    }
    CHECK (dafka_producer_flush (producer, -1) == 0);
    raise (SIGKILL);
    return 1;
}

static void
s_test_killed (void)
{
    test_case ("all records are in the store after a flush and SIGKILL");
    char program [1024];
    ssize_t length = readlink ("/proc/self/exe", program, sizeof (program) - 1);
    CHECK (length > 0);
    program [length] = 0;
    size_t count = test_scale (50000, 1000);
    char *text = zsys_sprintf ("%lu", (unsigned long) count);
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    char *config_file = test_new_path ("config");
    CHECK (zconfig_save (config, config_file) == 0);
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);

    pid_t child = fork ();
    CHECK (child >= 0);
    if (child == 0) {
        execl (program, program, "write", config_file, text, (char *) NULL);
        _exit (127);
    }
    int status = 0;
    CHECK (waitpid (child, &status, 0) == child);
    CHECK (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);

    dafka_consumer_t *consumer = test_consumer_new ("killed", config);
    for (size_t number = 0; number < count; number++) {
        test_at (number);
        test_recv (consumer, "killed", NULL, "%lu", (unsigned long) number);
    }
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zstr_free (&config_file);
    zstr_free (&text);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------
//  A store that comes later

static void *
s_flush (void *producer)
{
    CHECK (dafka_producer_flush ((zactor_t *) producer, -1) == 0);
    return NULL;
}

static void
s_test_late_store (zconfig_t *config)
{
    test_case ("a producer without records");
    zactor_t *producer = test_producer_new ("late", config);
    uint64_t sequence = 7;
    CHECK (dafka_producer_flush (producer, -1) == 0);
    CHECK (dafka_producer_unacked (producer) == 0);
    CHECK_ERRNO (dafka_producer_acked (producer, &sequence), EAGAIN);

    test_case ("without a store, a flush ends after its timeout, and records stay unacknowledged");
    test_log_begin ();
    for (int number = 0; number < 3; number++)
        test_send (producer, "%d", number);
    CHECK (dafka_producer_unacked (producer) == 3);
    CHECK_ERRNO (dafka_producer_flush (producer, 0), EAGAIN);
    int64_t start = zclock_mono ();
    CHECK_ERRNO (dafka_producer_flush (producer, 300), EAGAIN);
    CHECK (zclock_mono () - start >= 300);
    CHECK (dafka_producer_unacked (producer) == 3);
    CHECK_ERRNO (dafka_producer_acked (producer, &sequence), EAGAIN);
    CHECK (sequence == 7);
    CHECK (!test_log_has ("E:", "dafka_producer", NULL));
    test_log_end ();

    test_case ("a flush continues when a store comes");
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_flush, producer) == 0);
    zactor_t *store = test_store_new (config);
    CHECK (pthread_join (thread, NULL) == 0);
    s_check_flushed (producer, 3);
    zactor_destroy (&producer);
    zactor_destroy (&store);
}


//  --------------------------------------------------------------------------
//  Several threads

typedef struct {
    zactor_t *producer;
    volatile bool stops;            //  For the thread that sends until it is stopped
    uint64_t sent;
} sender_t;

static void *
s_send_and_flush (void *args)
{
    zactor_t *producer = (zactor_t *) args;
    for (int round = 0; round < 10; round++) {
        for (int number = 0; number < 100; number++)
            test_send (producer, "%d", number);
        CHECK (dafka_producer_flush (producer, -1) == 0);
    }
    //  At least the records of this thread
    uint64_t sequence = 0;
    CHECK (dafka_producer_acked (producer, &sequence) == 0 && sequence >= 999);
    return NULL;
}

static void *
s_send_until_stopped (void *args)
{
    sender_t *self = (sender_t *) args;
    while (!self->stops) {
        test_send (self->producer, "%d", 1);
        self->sent++;
    }
    return NULL;
}

static void
s_test_threads (zconfig_t *config)
{
    test_case ("%d threads send and flush", THREADS);
    zactor_t *producer = test_producer_new ("threads", config);
    pthread_t threads [THREADS];
    for (int index = 0; index < THREADS; index++)
        CHECK (pthread_create (&threads [index], NULL, s_send_and_flush, producer) == 0);
    for (int index = 0; index < THREADS; index++)
        CHECK (pthread_join (threads [index], NULL) == 0);
    s_check_flushed (producer, THREADS * 1000);

    test_case ("a flush does not wait for records that another thread sends meanwhile");
    sender_t sender = { producer, false, 0 };
    CHECK (pthread_create (&threads [0], NULL, s_send_until_stopped, &sender) == 0);
    for (int round = 0; round < 10; round++)
        CHECK (dafka_producer_flush (producer, -1) == 0);
    sender.stops = true;
    CHECK (pthread_join (threads [0], NULL) == 0);
    s_check_flushed (producer, THREADS * 1000 + sender.sent);
    zactor_destroy (&producer);
}


//  --------------------------------------------------------------------------
//  A full producer

//  Sends records until the budget is used up. Returns their number. The message contains the next one.

static int64_t
s_fill (zactor_t *producer, dafka_producer_msg_t *msg)
{
    byte content [CONTENT_SIZE];
    int64_t count = 0;
    do {
        CHECK (count < 100);
        test_fill (content, sizeof (content), (uint64_t) count++);
        CHECK (dafka_producer_msg_set_content_buffer (msg, content, sizeof (content)) == 0);
        errno = 0;
    }
    while (dafka_producer_msg_try_send (msg, producer) == 0);
    CHECK (errno == EAGAIN);
    CHECK (dafka_producer_unacked (producer) == count - 1);
    return count - 1;
}

static void
s_check_kept (dafka_producer_msg_t *msg, size_t size, uint64_t seed)
{
    CHECK (dafka_producer_msg_content_size (msg) == size);
    CHECK (test_filled (dafka_producer_msg_content (msg), size, seed));
}

static void
s_test_try_send (zconfig_t *config)
{
    test_case ("dafka_producer_msg_try_send returns at once when producer/max_unacked_bytes is used up");
    zactor_t *producer = test_producer_new ("full", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int64_t count = s_fill (producer, msg);
    CHECK (count == 5);
    s_check_kept (msg, CONTENT_SIZE, (uint64_t) count);

    test_case ("the message keeps a short content, and a frame");
    byte content [CONTENT_SIZE];
    test_fill (content, sizeof (content), 46);
    size_t sizes [] = { 10, CONTENT_SIZE };
    for (int index = 0; index < 2; index++) {
        zframe_t *frame = zframe_new (content, sizes [index]);
        dafka_producer_msg_set_content (msg, &frame);
        CHECK_ERRNO (dafka_producer_msg_try_send (msg, producer), EAGAIN);
        s_check_kept (msg, sizes [index], 46);
        CHECK (dafka_producer_msg_set_content_buffer (msg, content, sizes [index]) == 0);
        CHECK_ERRNO (dafka_producer_msg_try_send (msg, producer), EAGAIN);
        s_check_kept (msg, sizes [index], 46);
    }
    CHECK (dafka_producer_unacked (producer) == count);

    test_case ("there is room again when a store comes");
    zactor_t *store = test_store_new (config);
    CHECK (dafka_producer_flush (producer, -1) == 0);
    CHECK (dafka_producer_msg_try_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_content (msg) == NULL);
    s_check_flushed (producer, (uint64_t) count + 1);
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&producer);
    zactor_destroy (&store);
}

//  zsys_interrupted is set by CZMQ's handler.

static void
s_test_signals (zconfig_t *config)
{
    test_case ("a signal ends a send that waits");
    zactor_t *producer = test_producer_new ("signals", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int64_t count = s_fill (producer, msg);
    zactor_t *interrupter = test_interrupter_new ();
    CHECK_ERRNO (dafka_producer_msg_send (msg, producer), EINTR);
    CHECK (zsys_interrupted);
    test_interrupter_destroy (&interrupter);
    s_check_kept (msg, CONTENT_SIZE, (uint64_t) count);
    CHECK (dafka_producer_unacked (producer) == count);

    test_case ("while zsys_interrupted is set, no call waits");
    CHECK_ERRNO (dafka_producer_msg_send (msg, producer), EINTR);
    CHECK_ERRNO (dafka_producer_flush (producer, -1), EINTR);
    CHECK_ERRNO (dafka_producer_flush (producer, 0), EAGAIN);

    test_case ("a signal ends a flush that waits");
    zsys_interrupted = 0;
    interrupter = test_interrupter_new ();
    CHECK_ERRNO (dafka_producer_flush (producer, -1), EINTR);
    test_interrupter_destroy (&interrupter);
    zsys_interrupted = 0;

    test_case ("a full producer ends after signals");
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&producer);
}


//  --------------------------------------------------------------------------
//  Other ways to send, and other actors

static void
s_test_pipe (zconfig_t *config)
{
    test_case ("records that the program writes into the pipe");
    zactor_t *producer = test_producer_new ("pipe", config);
    CHECK (zstr_sendx (producer, "P", "0", NULL) == 0);
    CHECK (dafka_producer_address (producer));
    CHECK_ERRNO (dafka_producer_flush (producer, 100), EAGAIN);
    CHECK_ERRNO (dafka_producer_flush (producer, 0), EAGAIN);
    CHECK (dafka_producer_unacked (producer) == 1);
    zactor_t *store = test_store_new (config);
    s_check_flushed (producer, 1);
    for (uint64_t round = 0; round < 100; round++) {
        CHECK (zstr_sendx (producer, "P", "direct", NULL) == 0);
        test_send (producer, "message");
        CHECK (zstr_sendx (producer, "P", "direct", NULL) == 0);
        s_check_flushed (producer, 4 + 3 * round);
    }
    zactor_destroy (&producer);

    test_case ("records of a publisher");
    zactor_t *publisher = test_publisher_new ("publisher", config);
    CHECK (dafka_producer_flush (publisher, 0) == 0);
    for (int number = 0; number < 10; number++)
        test_publish (publisher, "%d", number);
    s_check_flushed (publisher, 10);
    zactor_destroy (&publisher);
    zactor_destroy (&store);
}

static void
s_check_no_producer (zactor_t *actor, int expected)
{
    uint64_t sequence = 7;
    CHECK_ERRNO (dafka_producer_flush (actor, -1), expected);
    CHECK_ERRNO (dafka_producer_unacked (actor), expected);
    CHECK_ERRNO (dafka_producer_acked (actor, &sequence), expected);
    CHECK (sequence == 7);
}

static void
s_echo (zsock_t *pipe, void *args)
{
    (void) args;
    zsock_signal (pipe, 0);
    char *command = zstr_recv (pipe);       //  $TERM
    zstr_free (&command);
}

static void
s_test_other_actors (zconfig_t *config, zactor_t *tower)
{
    test_log_begin ();
    test_case ("actors that are not producers");
    s_check_no_producer (NULL, EINVAL);
    s_check_no_producer (tower, EINVAL);
    zactor_t *echo = zactor_new (s_echo, NULL);
    s_check_no_producer (echo, EINVAL);
    zactor_destroy (&echo);

    test_case ("a producer that could not start");
    dafka_producer_args_t args = { "", config };
    zactor_t *failed = zactor_new (dafka_producer, &args);
    s_check_no_producer (failed, EPIPE);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK_ERRNO (dafka_producer_msg_try_send (msg, failed), EINVAL);
    CHECK (dafka_producer_msg_set_content_str (msg, "content") == 0);
    CHECK_ERRNO (dafka_producer_msg_try_send (msg, failed), EPIPE);
    CHECK_ERRNO (dafka_producer_msg_send (msg, failed), EPIPE);
    CHECK (dafka_producer_msg_streq (msg, "content"));
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&failed);
    CHECK (test_log_has ("E:", "dafka_producer_flush", "ended"));
    test_log_end ();
}

int
main (int argc, char **argv)
{
    if (argc == 4 && streq (argv [1], "write"))
        return s_write_and_die (argv [2], (size_t) atol (argv [3]));
    test_begin ("test_flush", 120);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "producer/max_unacked_bytes", BUDGET);
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *tower = test_tower_new (config);
    s_test_other_actors (config, tower);
    s_test_late_store (config);
    zactor_t *store = test_store_new (config);
    s_test_threads (config);
    zactor_destroy (&store);
    s_test_try_send (config);
    s_test_pipe (config);
    s_test_signals (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    s_test_killed ();
    return test_end ();
}
