/*  =========================================================================
    test_commit - a consumer with a name continues where it has stopped: automatic and manual commits, SIGKILL, a store
    that was down when the commit was made
    =========================================================================
*/

#define _DEFAULT_SOURCE                 //  fork, kill, readlink

#include "testing.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOPIC "commit"

static dafka_consumer_t *
s_named (zconfig_t *config, const char *name, const char *commit)
{
    zconfig_t *own = test_config_copy (config);
    zconfig_put (own, "consumer/name", name);
    zconfig_put (own, "consumer/commit", commit);
    zconfig_put (own, "consumer/commit_interval", "20");
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, own);
    zconfig_destroy (&own);
    return consumer;
}

//  Reads the records first to end - 1.
static void
s_read (dafka_consumer_t *consumer, dafka_consumer_msg_t *msg, uint64_t first, uint64_t end)
{
    for (uint64_t number = first; number < end; number++) {
        test_at ((size_t) number);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK (dafka_consumer_msg_sequence (msg) == number);
    }
}

#define CHECK_ERRNO(call, expected) \
    do { \
        errno = 0; \
        CHECK ((call) == -1); \
        CHECK (errno == (expected)); \
    } while (0)

//  --------------------------------------------------------------------------

static void
s_test_manual (zconfig_t *config)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    test_case ("nothing is committed without a call");
    dafka_consumer_t *consumer = s_named (config, "manual", "manual");
    CHECK_ERRNO (dafka_consumer_commit_msg (consumer, msg), EINVAL);
    s_read (consumer, msg, 0, 10);
    dafka_consumer_destroy (&consumer);

    test_case ("all received records are committed");
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 0, 10);
    CHECK (dafka_consumer_commit (consumer) == 0);
    s_read (consumer, msg, 10, 20);
    dafka_consumer_destroy (&consumer);

    test_case ("one record is committed, also while many records wait");
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 10, 15);
    CHECK (test_poll (dafka_consumer_record_source (consumer), 30000));
    CHECK (dafka_consumer_commit_msg (consumer, msg) == 0);
    s_read (consumer, msg, 15, 40);
    dafka_consumer_destroy (&consumer);

    test_case ("a position moves back, and a seek comes first");
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 15, 16);
    CHECK (dafka_consumer_seek (consumer, TOPIC, dafka_consumer_msg_address (msg), 3) == 0);
    s_read (consumer, msg, 3, 5);
    CHECK (dafka_consumer_commit (consumer) == 0);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 5, 6);
    dafka_consumer_destroy (&consumer);

    test_case ("positions of before a seek are not committed");
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 5, 10);
    CHECK (dafka_consumer_seek_end (consumer, TOPIC) == 0);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 5, 6);
    CHECK (dafka_consumer_seek_time (consumer, TOPIC, 0) == 0);
    s_read (consumer, msg, 0, 3);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    consumer = s_named (config, "manual", "manual");
    s_read (consumer, msg, 3, 4);
    dafka_consumer_destroy (&consumer);

    test_case ("names do not share positions");
    consumer = s_named (config, "other", "manual");
    s_read (consumer, msg, 0, 1);
    dafka_consumer_destroy (&consumer);

    test_case ("a consumer without a name");
    consumer = test_consumer_new (TOPIC, config);
    CHECK_ERRNO (dafka_consumer_commit (consumer), EINVAL);
    dafka_consumer_destroy (&consumer);

    test_case ("a sink of the application");
    zsock_t *sink = NULL;
    zsock_t *source = zsys_create_pipe (&sink);
    dafka_consumer_args_t args = { config, sink };
    consumer = dafka_consumer_new (&args);
    CHECK (consumer);
    CHECK_ERRNO (dafka_consumer_commit (consumer), ENOTSUP);
    dafka_consumer_destroy (&consumer);
    zsock_destroy (&source);
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_auto (zconfig_t *config)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    test_case ("the last received record counts as processed when the application asks for the next one");
    dafka_consumer_t *consumer = s_named (config, "auto", "auto");
    s_read (consumer, msg, 0, 100);
    dafka_consumer_destroy (&consumer);
    consumer = s_named (config, "auto", "auto");
    s_read (consumer, msg, 99, 150);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    consumer = s_named (config, "auto", "auto");
    s_read (consumer, msg, 150, 151);
    dafka_consumer_destroy (&consumer);
    dafka_consumer_msg_destroy (&msg);
}

//  --------------------------------------------------------------------------
//  A consumer that another process runs, and SIGKILL

static int
s_main_of_child (const char *config_file)
{
    zconfig_t *config = zconfig_load (config_file);
    CHECK (config);
    dafka_consumer_t *consumer = s_named (config, "killed", "auto");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    while (dafka_consumer_msg_recv (msg, consumer) == 0) {
        uint64_t number = dafka_consumer_msg_sequence (msg);
        CHECK (write (STDOUT_FILENO, &number, sizeof (number)) == sizeof (number));
    }
    return 1;
}

static void
s_test_killed (zconfig_t *config, uint64_t count)
{
    test_case ("no record is missed when the consumer is killed");
    char program [1024];
    ssize_t length = readlink ("/proc/self/exe", program, sizeof (program) - 1);
    CHECK (length > 0);
    program [length] = 0;
    char *config_file = test_new_path ("config");
    CHECK (zconfig_save (config, config_file) == 0);
    uint64_t next = 0, read_again = 0;
    for (int turn = 0; next < count; turn++) {
        int ends [2];
        CHECK (pipe (ends) == 0);
        pid_t child = fork ();
        CHECK (child >= 0);
        if (child == 0) {
            dup2 (ends [1], STDOUT_FILENO);
            close (ends [0]);
            execl (program, program, "read", config_file, (char *) NULL);
            _exit (127);
        }
        close (ends [1]);
        //  The last child reads the rest.
        uint64_t most = turn < 5 ? count / 10 : UINT64_MAX, number = 0;
        for (uint64_t i = 0; i < most && next < count; i++) {
            test_at ((size_t) next);
            CHECK (read (ends [0], &number, sizeof (number)) == sizeof (number));
            CHECK (number <= next);
            read_again += number < next;
            next = number < next ? next : number + 1;
        }
        CHECK (kill (child, SIGKILL) == 0);
        //  What it has written before it was killed.
        while (read (ends [0], &number, sizeof (number)) == sizeof (number)) {
            CHECK (number <= next);
            next = number < next ? next : number + 1;
        }
        close (ends [0]);
        CHECK (waitpid (child, NULL, 0) == child);
    }
    //  Without commits, each child would begin at the first record.
    CHECK (read_again < count);
    zstr_free (&config_file);
}

//  --------------------------------------------------------------------------

static void
s_test_stores (zconfig_t *config, zconfig_t *second_config, zactor_t **first_p, zactor_t **second_p)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    test_case ("a store that was down has the commit later");
    zactor_destroy (second_p);
    dafka_consumer_t *consumer = s_named (config, "stores", "manual");
    s_read (consumer, msg, 0, 30);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    *second_p = test_store_new (second_config);

    test_case ("the store that was down is the only one");
    //  It has the commit of the other store soon, but nothing tells when.
    for (uint64_t number = 0; number != 30;) {
        consumer = s_named (config, "stores", "manual");
        s_read (consumer, msg, 30, 31);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (first_p);
        consumer = s_named (config, "stores", "manual");
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        number = dafka_consumer_msg_sequence (msg);
        CHECK (number == 0 || number == 30);
        dafka_consumer_destroy (&consumer);
        *first_p = test_store_new (config);
    }
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_no_store (zconfig_t *config)
{
    test_case ("without a store, consumer/offset/reset applies, and commits are not confirmed");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    zactor_t *producer = test_producer_new (TOPIC, config);
    test_send (producer, "0");
    dafka_consumer_t *consumer = s_named (config, "alone", "auto");
    s_read (consumer, msg, 0, 1);
    CHECK_ERRNO (dafka_consumer_commit (consumer), EAGAIN);

    test_case ("a store that comes later gets the commit");
    zactor_t *store = test_store_new (config);
    CHECK (dafka_consumer_commit (consumer) == 0);
    dafka_consumer_destroy (&consumer);
    test_send (producer, "1");
    consumer = s_named (config, "alone", "auto");
    s_read (consumer, msg, 1, 2);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_two_consumers (zconfig_t *config)
{
    test_case ("two consumers of one name read all records, and a store logs it");
    test_log_begin ();
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    dafka_consumer_t *first = s_named (config, "two", "manual");
    dafka_consumer_t *second = s_named (config, "two", "manual");
    for (uint64_t number = 0; number < 3; number++) {
        s_read (first, msg, number, number + 1);
        CHECK (dafka_consumer_commit (first) == 0);
        s_read (second, msg, number, number + 1);
        CHECK (dafka_consumer_commit (second) == 0);
    }
    test_log_await ("W:", "two consumers have the name two", NULL);
    test_log_end ();
    dafka_consumer_destroy (&first);
    dafka_consumer_destroy (&second);
    dafka_consumer_msg_destroy (&msg);
}

int
main (int argc, char **argv)
{
    if (argc == 3)
        return s_main_of_child (argv [2]);
    test_begin ("commit", 240);
    const size_t count = test_scale (20000, 1000);
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_t *second_config = test_config_copy (config);
    char *second_db = test_new_path ("second");
    zconfig_put (second_config, "store/db", second_db);
    zactor_t *tower = test_tower_new (config);
    zactor_t *first = test_store_new (config);
    zactor_t *second = test_store_new (second_config);
    zactor_t *producer = test_producer_new (TOPIC, config);
    for (size_t number = 0; number < count; number++)
        test_send (producer, "%lu", (unsigned long) number);
    CHECK (dafka_producer_flush (producer, -1) == 0);
    s_test_manual (config);
    s_test_auto (config);
    s_test_two_consumers (config);
    s_test_killed (config, count);
    s_test_stores (config, second_config, &first, &second);
    zactor_destroy (&producer);
    zactor_destroy (&first);
    zactor_destroy (&second);
    zactor_destroy (&tower);

    zconfig_t *new_config = test_config ("inproc");
    zconfig_put (new_config, "consumer/offset/reset", "earliest");
    zconfig_put (new_config, "producer/terminate_unacked", "1");
    tower = test_tower_new (new_config);
    s_test_no_store (new_config);
    zactor_destroy (&tower);
    zconfig_destroy (&new_config);
    zstr_free (&second_db);
    zconfig_destroy (&second_config);
    zconfig_destroy (&config);
    return test_end ();
}
