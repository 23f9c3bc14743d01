/*  =========================================================================
    test_named - producers with a name: the next one continues the partition of the last one, also after SIGKILL and
    without losing a record; a second one at a time is refused

    usage: test_named [write CONFIG COUNT]
    =========================================================================
*/

//  readlink
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

//  Sends records after those of the earlier lives, and dies when at least half of them are acknowledged.

static int
s_write_and_die (const char *config_file, size_t count)
{
    zconfig_t *config = zconfig_load (config_file);
    CHECK (config);
    zactor_t *producer = test_producer_new ("named", config);
    for (size_t number = 0; number < count / 2; number++)
        test_send (producer, "%lu", (unsigned long) number);
    CHECK (dafka_producer_flush (producer, -1) == 0);
    for (size_t number = count / 2; number < count; number++)
        test_send (producer, "%lu", (unsigned long) number);
    raise (SIGKILL);
    return 1;
}

static void
s_test_killed (void)
{
    test_case ("lives that are killed leave one partition");
    char program [1024];
    ssize_t length = readlink ("/proc/self/exe", program, sizeof (program) - 1);
    CHECK (length > 0);
    program [length] = 0;
    size_t count = test_scale (10000, 1000);
    char *text = zsys_sprintf ("%lu", (unsigned long) count);
    zconfig_t *config = test_config ("tcp");
    char *directory = test_new_path ("outboxes");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/name", "me");
    zconfig_put (config, "producer/directory", directory);
    char *config_file = test_new_path ("config");
    CHECK (zconfig_save (config, config_file) == 0);
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *zeroth = test_producer_new ("named", config);
    char *address = strdup (dafka_producer_address (zeroth));
    zactor_destroy (&zeroth);
    for (int life = 0; life < 3; life++) {
        pid_t child = fork ();
        CHECK (child >= 0);
        if (child == 0) {
            execl (program, program, "write", config_file, text, (char *) NULL);
            _exit (127);
        }
        int status = 0;
        CHECK (waitpid (child, &status, 0) == child);
        CHECK (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);
    }
    zactor_t *producer = test_producer_new ("named", config);
    test_send (producer, "%s", "end");
    CHECK (dafka_producer_flush (producer, -1) == 0);
    uint64_t acked = 0;
    CHECK (dafka_producer_acked (producer, &acked) == 0);
    CHECK (dafka_producer_unacked (producer) == 0);
    CHECK_STR (dafka_producer_address (producer), address);

    //  Each life has sent its records from 0 on. At least the first half of them is there
    dafka_consumer_t *consumer = test_consumer_new ("named", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t number = 0;
    int lives = 0;
    bool is_over = false;
    for (uint64_t expected = 0; !is_over; expected++) {
        test_at ((size_t) expected);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_address (msg), address);
        CHECK (dafka_consumer_msg_sequence (msg) == expected && expected <= acked);
        is_over = dafka_consumer_msg_streq (msg, "end");
        if (is_over || dafka_consumer_msg_streq (msg, "0")) {
            CHECK (lives == 0 || number >= count / 2);
            number = 0;
            lives++;
        }
        char *text_of_number = zsys_sprintf ("%lu", (unsigned long) number);
        CHECK (is_over || dafka_consumer_msg_streq (msg, text_of_number));
        zstr_free (&text_of_number);
        number++;
    }
    CHECK (lives == 4 && dafka_consumer_msg_sequence (msg) == acked);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zstr_free (&config_file);
    zstr_free (&directory);
    zstr_free (&text);
    free (address);
    zconfig_destroy (&config);
}

static void
s_test_lives (void)
{
    zconfig_t *config = test_config ("inproc");
    char *directory = test_new_path ("outboxes");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/name", "me");
    zconfig_put (config, "producer/directory", directory);
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);

    test_case ("the next life has the same address, and continues the sequence");
    char *address = NULL;
    for (uint64_t life = 0; life < 3; life++) {
        zactor_t *producer = test_producer_new ("lives", config);
        if (life == 0)
            address = strdup (dafka_producer_address (producer));
        CHECK_STR (dafka_producer_address (producer), address);
        uint64_t sequence = 7;
        CHECK (dafka_producer_acked (producer, &sequence) == (life == 0 ? -1 : 0));
        CHECK (sequence == (life == 0 ? 7 : life * 10 - 1));
        for (int number = 0; number < 10; number++)
            test_send (producer, "%d of %d", number, (int) life);
        CHECK (dafka_producer_flush (producer, -1) == 0);
        CHECK (dafka_producer_acked (producer, &sequence) == 0 && sequence == life * 10 + 9);
        zactor_destroy (&producer);
    }
    dafka_consumer_t *consumer = test_consumer_new ("lives", config);
    for (int number = 0; number < 30; number++)
        test_recv (consumer, "lives", address, "%d of %d", number % 10, number / 10);
    dafka_consumer_destroy (&consumer);

    test_case ("a second life is refused while the first one runs");
    zactor_t *first = test_producer_new ("lives", config);
    dafka_producer_args_t args = { "lives", config };
    test_log_begin ();
    zactor_t *second = zactor_new (dafka_producer, &args);
    CHECK (second);
    CHECK (dafka_producer_address (second) == NULL);
    CHECK (test_log_has ("E:", "another producer with the same name uses the outbox", directory));
    test_log_end ();
    zactor_destroy (&second);

    test_case ("without a store, a life waits, and its end loses no record");
    zactor_destroy (&first);
    zactor_destroy (&store);
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *waiting = test_producer_new ("lives", config);
    test_send (waiting, "%s", "waiting");
    CHECK (dafka_producer_flush (waiting, 100) == -1 && errno == EAGAIN);
    CHECK (dafka_producer_unacked (waiting) == 1);
    zactor_destroy (&waiting);
    store = test_store_new (config);
    zconfig_put (config, "producer/terminate_unacked", "0");
    zactor_t *last = test_producer_new ("lives", config);
    test_send (last, "%s", "last");
    zactor_destroy (&last);
    consumer = test_consumer_new ("lives", config);
    for (int number = 0; number < 30; number++)
        test_recv (consumer, "lives", address, "%d of %d", number % 10, number / 10);
    test_recv (consumer, "lives", address, "%s", "waiting");
    test_recv (consumer, "lives", address, "%s", "last");
    dafka_consumer_destroy (&consumer);

    test_case ("a publisher has an outbox, too");
    dafka_publisher_args_t publisher_args = { "published", config };
    for (int life = 0; life < 2; life++) {
        zactor_t *publisher = zactor_new (dafka_publisher_actor, &publisher_args);
        CHECK (publisher);
        zframe_t *frame = zframe_from (life == 0 ? "zero" : "one");
        CHECK (dafka_publisher_publish (publisher, &frame) == 0);
        zactor_destroy (&publisher);
    }
    consumer = test_consumer_new ("published", config);
    test_recv (consumer, "published", NULL, "%s", "zero");
    test_recv (consumer, "published", NULL, "%s", "one");
    dafka_consumer_destroy (&consumer);

    zactor_destroy (&store);
    zactor_destroy (&tower);
    free (address);
    zstr_free (&directory);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    if (argc == 4 && streq (argv [1], "write"))
        return s_write_and_die (argv [2], (size_t) atol (argv [3]));
    test_begin ("test_named", 120);
    s_test_lives ();
    s_test_killed ();
    return test_end ();
}
