/*  =========================================================================
    test_many_consumers - makes consumers until the process has no sockets or files left: dafka_consumer_new returns
    NULL, and a log line names the limit; a thousand consumers, each of which receives all records

    usage: test_many_consumers sockets | files | default | COUNT
    =========================================================================
*/

//  setrlimit
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <sys/resource.h>

//  Three times: makes consumers until dafka_consumer_new fails, then destroys them. Returns the number of consumers.

static size_t
s_exhaust (zconfig_t *config, size_t maximum, const char *limit, const char *number)
{
    dafka_consumer_t **consumers = (dafka_consumer_t **) zmalloc (maximum * sizeof (dafka_consumer_t *));
    dafka_consumer_args_t args = { config, NULL };
    size_t first = 0;
    //  CZMQ's first socket starts threads, which open files.
    zsock_t *other = zsock_new (ZMQ_PAIR);
    for (int round = 0; round < 3; round++) {
        test_case ("consumers until that fails, round %d", round);
        test_log_begin ();
        size_t files = test_count_entries ("/proc/self/fd");
        size_t count = 0;
        while ((consumers [count] = dafka_consumer_new (&args))) {
            CHECK (dafka_consumer_subscribe (consumers [count], "topic") == 0);
            count++;
            CHECK (count < maximum);
        }
        CHECK (test_log_has ("E:", limit, number));
        for (size_t index = 0; index < count; index++)
            dafka_consumer_destroy (&consumers [index]);
        test_log_end ();
        CHECK (count > 0);
        //  libzmq releases closed sockets a moment later.
        while (test_count_entries ("/proc/self/fd") > files)
            zclock_sleep (1);
        if (round == 0)
            first = count;
        CHECK (count == first);
    }
    zsock_destroy (&other);
    free (consumers);
    return first;
}

static void
s_limit (size_t files)
{
    struct rlimit limit;
    CHECK (getrlimit (RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = files < limit.rlim_max? files: limit.rlim_max;
    CHECK (setrlimit (RLIMIT_NOFILE, &limit) == 0);
}

static void
s_test_sockets (void)
{
    zsys_set_max_sockets (150);
    zconfig_t *config = test_config ("tcp");            //  As in test_no_sockets
    zconfig_put (config, "beacon/connect_timeout", "1");
    s_exhaust (config, 100, "ZMQ_MAX_SOCKETS", " 150 ");
    zconfig_destroy (&config);
}

static void
s_test_files (void)
{
    s_limit (200);
    zsys_set_max_sockets (1000);
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "beacon/connect_timeout", "1");
    s_exhaust (config, 100, "RLIMIT_NOFILE", " 200 ");
    zconfig_destroy (&config);
}

//  An application that has set no limit gets as many sockets as files if its first socket is a consumer's.

static void
s_test_default (void)
{
    s_limit (1500);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "beacon/connect_timeout", "1");
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *first = dafka_consumer_new (&args);
    CHECK (first);
    size_t count = 0;
    void *sockets [2000];
    while (count < 2000 && (sockets [count] = zmq_socket (zsys_init (), ZMQ_PAIR)))
        count++;
    for (size_t index = 0; index < count; index++)
        zmq_close (sockets [index]);
    CHECK (count > 1024 && count < 1500);
    dafka_consumer_destroy (&first);
    zconfig_destroy (&config);
}

static void
s_test_thousand (size_t count)
{
    //  Each consumer uses 14 files, with its connections. The library keeps a sixteenth of all files in reserve.
    s_limit (30000);
    struct rlimit limit;
    CHECK (getrlimit (RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < count * 16) {
        printf ("skipped: %lu consumers take more than the %lu files that are allowed here\n", (unsigned long) count,
            (unsigned long) limit.rlim_cur);
        return;
    }
    zsys_set_max_sockets (0);
    zconfig_t *config = test_config_without_store ();
    //  The defaults, as an application would have them
    zconfig_put (config, "beacon/interval", "1000");
    zconfig_put (config, "beacon/timeout", "4000");
    zconfig_put (config, "producer/head_interval", "1000");
    zactor_t *tower = test_tower_new (config);
    int64_t start_ms = zclock_mono ();
    test_case ("%lu consumers", (unsigned long) count);
    dafka_consumer_t **consumers = (dafka_consumer_t **) zmalloc (count * sizeof (dafka_consumer_t *));
    for (size_t index = 0; index < count; index++) {
        test_at (index);
        consumers [index] = test_consumer_new ("topic", config);
    }
    printf ("%lu consumers after %d ms: %lu files, %lu threads\n", (unsigned long) count,
        (int) (zclock_mono () - start_ms), (unsigned long) test_count_entries ("/proc/self/fd"),
        (unsigned long) test_count_entries ("/proc/self/task"));
    test_case ("each consumer receives all records");
    zactor_t *producer = test_producer_new ("topic", config);
    for (int number = 0; number < 10; number++)
        test_send (producer, "%d", number);
    for (size_t index = 0; index < count; index++) {
        test_at (index);
        for (int number = 0; number < 10; number++)
            test_recv (consumers [index], "topic", NULL, "%d", number);
    }
    printf ("all have read after %d ms: %lu files\n", (int) (zclock_mono () - start_ms),
        (unsigned long) test_count_entries ("/proc/self/fd"));
    test_case ("ending");
    for (size_t index = 0; index < count; index++)
        dafka_consumer_destroy (&consumers [index]);
    printf ("all have ended after %d ms\n", (int) (zclock_mono () - start_ms));
    free (consumers);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    const char *what = argc > 1? argv [1]: "";
    test_begin ("test_many_consumers", 300);
    if (streq (what, "sockets"))
        s_test_sockets ();
    else
    if (streq (what, "files"))
        s_test_files ();
    else
    if (streq (what, "default"))
        s_test_default ();
    else {
        CHECK (atoi (what) > 0);
        s_test_thousand ((size_t) atoi (what));
    }
    test_await_actors ();
    return test_end ();
}
