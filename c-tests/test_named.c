/*  =========================================================================
    test_named - producers with a name: the next one continues the partition of the last one, also after SIGKILL and
    without losing a record; a second one at a time is refused; an outbox on a full disk; the limit without a store

    usage: test_named [write CONFIG COUNT | full CONFIG FILE | late CONFIG FILE]
    =========================================================================
*/

//  readlink
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

//  Runs this program with three arguments. Returns its status.

static int
s_run (const char *mode, const char *config_file, const char *argument)
{
    char program [1024];
    ssize_t length = readlink ("/proc/self/exe", program, sizeof (program) - 1);
    CHECK (length > 0);
    program [length] = 0;
    pid_t child = fork ();
    CHECK (child >= 0);
    if (child == 0) {
        execl (program, program, mode, config_file, argument, (char *) NULL);
        _exit (127);
    }
    int status = 0;
    CHECK (waitpid (child, &status, 0) == child);
    return status;
}

static void
s_test_killed (void)
{
    test_case ("lives that are killed leave one partition");
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
    char *unused = strdup (dafka_producer_address (zeroth));
    zactor_destroy (&zeroth);
    for (int life = 0; life < 3; life++) {
        int status = s_run ("write", config_file, text);
        CHECK (WIFSIGNALED (status) && WTERMSIG (status) == SIGKILL);
    }
    zactor_t *producer = test_producer_new ("named", config);
    test_send (producer, "%s", "end");
    CHECK (dafka_producer_flush (producer, -1) == 0);
    uint64_t acked = 0;
    CHECK (dafka_producer_acked (producer, &acked) == 0);
    CHECK (dafka_producer_unacked (producer) == 0);
    //  An outbox without records may have been copied, so its address was not used
    char *address = strdup (dafka_producer_address (producer));
    CHECK (!streq (address, unused));
    free (unused);

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

//  The limit of the length of a file, instead of a full disk.

static const off_t s_limit = 3000000;

static void
s_limit_files (rlim_t length)
{
    struct rlimit limit = { length, RLIM_INFINITY };
    CHECK (setrlimit (RLIMIT_FSIZE, &limit) == 0);
}

static off_t
s_length (const char *file)
{
    struct stat status;
    CHECK (stat (file, &status) == 0);
    return status.st_size;
}

//  Sends numbers with many digits, until the producer accepts none for a while. It must not accept max of them.

static void
s_send_until_full (zactor_t *producer, int digits, size_t max)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int64_t full_since = 0;
    for (size_t number = 0; full_since == 0 || zclock_mono () < full_since + 1500;) {
        char *content = zsys_sprintf ("%0*lu", digits, (unsigned long) number);
        dafka_producer_msg_set_content_str (msg, content);
        zstr_free (&content);
        if (dafka_producer_msg_try_send (msg, producer) == 0) {
            full_since = 0;
            CHECK (++number < max);
        }
        else {
            CHECK (errno == EAGAIN);
            if (full_since == 0)
                full_since = zclock_mono ();
            zclock_sleep (1);
        }
    }
    dafka_producer_msg_destroy (&msg);
}

//  Sends records to a producer whose outbox refuses them, until sending waits. Then ends the producer.

static int
s_write_to_full_disk (const char *config_file, const char *file)
{
    zconfig_t *config = zconfig_load (config_file);
    CHECK (config);
    zactor_t *producer = test_producer_new ("full", config);
    s_limit_files ((rlim_t) s_limit);
    test_log_begin ();
    //  The queue takes 16 MiB
    s_send_until_full (producer, 10000, 3000);
    CHECK (test_log_has ("E:", "cannot write to the outbox", NULL));
    //  Between two attempts, no incomplete write keeps the disk full
    for (int samples = 0; samples < 100;) {
        samples = s_length (file) < s_limit ? samples + 1 : 0;
        zclock_sleep (1);
    }
    zactor_destroy (&producer);
    CHECK (test_log_has ("E:", "records that its outbox has refused", NULL));
    test_log_end ();
    zconfig_destroy (&config);
    return test_end ();
}

//  Sends records to a producer whose outbox refuses them. The outbox accepts records again just before the producer ends
//  because it finds no store. Returns 2 when that did not succeed.

static int
s_write_late (const char *config_file, const char *file)
{
    zconfig_t *config = zconfig_load (config_file);
    CHECK (config);
    zconfig_put (config, "producer/start_timeout", "900");
    s_limit_files ((rlim_t) s_length (file));
    test_log_begin ();
    zactor_t *producer = test_producer_new ("full", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    bool is_sent = true;
    for (int number = 0; number < 10; number++) {
        char content [20];
        snprintf (content, sizeof (content), "late %d", number);
        dafka_producer_msg_set_content_str (msg, content);
        is_sent = is_sent && dafka_producer_msg_send (msg, producer) == 0;
    }
    while (!test_log_has ("E:", "cannot write to the outbox", NULL)
           && !test_log_has ("E:", "cannot continue its partition", NULL))
        zclock_sleep (1);
    s_limit_files (RLIM_INFINITY);
    test_log_await ("E:", "cannot continue its partition", NULL);
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&producer);
    bool is_done = is_sent && test_log_has ("E:", "cannot write to the outbox", NULL)
        && !test_log_has ("E:", "records that its outbox has refused", NULL);
    test_log_end ();
    zconfig_destroy (&config);
    int rc = test_end ();
    return is_done ? rc : 2;
}

static void
s_test_full_disk (void)
{
    zconfig_t *config = test_config ("tcp");
    char *directory = test_new_path ("outboxes");
    char *file = zsys_sprintf ("%s/full/me/%016X.outbox", directory, 0);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "beacon/timeout", "1000");
    zconfig_put (config, "producer/name", "me");
    zconfig_put (config, "producer/directory", directory);
    zconfig_put (config, "producer/sync", "never");
    char *config_file = test_new_path ("config");
    CHECK (zconfig_save (config, config_file) == 0);
    zactor_t *tower = test_tower_new (config);

    test_case ("sending waits while the outbox is on a full disk, and the producer ends");
    CHECK (s_run ("full", config_file, file) == 0);

    test_case ("a producer that ends with an error writes its records to its outbox");
    int attempts = 0;
    int status;
    do
        status = s_run ("late", config_file, file);
    while (status == 2 << 8 && ++attempts < 10);
    CHECK (status == 0);

    test_case ("the next life publishes the records in the outbox");
    zactor_t *store = test_store_new (config);
    zactor_t *producer = test_producer_new ("full", config);
    test_send (producer, "%s", "end");
    dafka_consumer_t *consumer = test_consumer_new ("full", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int late = 0;
    for (uint64_t number = 0; late < 10 || !dafka_consumer_msg_streq (msg, "end"); number++) {
        test_at ((size_t) number);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK (dafka_consumer_msg_sequence (msg) == number);
        char content [20];
        snprintf (content, sizeof (content), "late %d", late);
        if (dafka_consumer_msg_streq (msg, content))
            late++;
        else
        if (dafka_consumer_msg_streq (msg, "late 0"))
            late = 1;
        else
        if (dafka_consumer_msg_streq (msg, "end"))
            CHECK (late == 10);
        else {
            char *text = dafka_consumer_msg_strdup (msg);
            CHECK (text && strtoul (text, NULL, 10) == number);
            zstr_free (&text);
        }
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zstr_free (&config_file);
    zstr_free (&file);
    zstr_free (&directory);
    zconfig_destroy (&config);
}

static void
s_test_limit (void)
{
    test_case ("without a store, a named producer keeps at most 256 MiB");
    zconfig_t *config = test_config_without_store ();
    char *directory = test_new_path ("outboxes");
    zconfig_put (config, "producer/name", "me");
    zconfig_put (config, "producer/directory", directory);
    zconfig_put (config, "producer/sync", "never");
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("limit", config);
    s_send_until_full (producer, 4 << 20, 80);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zstr_free (&directory);
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

    test_case ("a producer with an invalid name does not run without one");
    zconfig_t *invalid = test_config_copy (config);
    char name [100] = "";
    memset (name, '/', 86);
    zconfig_put (invalid, "producer/name", name);
    dafka_producer_args_t invalid_args = { "lives", invalid };
    test_log_begin ();
    zactor_t *nameless = zactor_new (dafka_producer, &invalid_args);
    CHECK (nameless);
    CHECK (dafka_producer_address (nameless) == NULL);
    CHECK (test_log_has ("E:", "the producer does not start", NULL));
    CHECK (test_log_has ("E:", "the name is too long for a named producer", NULL));
    test_log_end ();
    zactor_destroy (&nameless);
    zconfig_destroy (&invalid);

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
    if (argc == 4) {
        signal (SIGXFSZ, SIG_IGN);
        test_begin ("test_named", 60);
        return streq (argv [1], "full") ? s_write_to_full_disk (argv [2], argv [3])
                                        : s_write_late (argv [2], argv [3]);
    }
    test_begin ("test_named", 120);
    s_test_lives ();
    s_test_killed ();
    s_test_full_disk ();
    if (!test_in_valgrind ())
        s_test_limit ();
    return test_end ();
}
