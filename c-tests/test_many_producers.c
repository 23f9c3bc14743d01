/*  =========================================================================
    test_many_producers - producers, a consumer and a tower in one process: each producer takes one thread and a few
    files; makes producers until the process has no files left: a log line names the limit; many producers, whose
    records a consumer receives and a store acknowledges

    usage: test_many_producers files | COUNT [store]
    =========================================================================
*/

//  setrlimit
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <sys/resource.h>

static rlim_t
s_limit (rlim_t files)
{
    struct rlimit limit;
    CHECK (getrlimit (RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = files < limit.rlim_max? files: limit.rlim_max;
    CHECK (setrlimit (RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur;
}

//  The defaults, as an application would have them

static zconfig_t *
s_config (bool has_store)
{
    zconfig_t *config = test_config_without_store ();
    zconfig_put (config, "beacon/interval", "1000");
    zconfig_put (config, "beacon/timeout", "4000");
    zconfig_put (config, "producer/head_interval", "1000");
    zconfig_put (config, "producer/terminate_unacked", has_store? "0": "1");
    return config;
}

typedef struct {
    size_t files;
    size_t threads;
} taken_t;

static void
s_destroy (zactor_t **producers, size_t count)
{
    for (size_t index = 0; index < count; index++)
        zactor_destroy (&producers [index]);
    free (producers);
}

//  Starts producers; a consumer receives one record of each. With a store, the producers end when it has acknowledged
//  their records. Returns what the producers take.

static taken_t
s_records_of (size_t count, bool has_store)
{
    test_case ("a record of each of %lu producers", (unsigned long) count);
    zconfig_t *config = s_config (has_store);
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = has_store? test_store_new (config): NULL;
    dafka_consumer_t *consumer = test_consumer_new ("topic", config);
    size_t files = test_count_entries ("/proc/self/fd");
    size_t threads = test_count_entries ("/proc/self/task");
    int64_t start_ms = zclock_mono ();
    zactor_t **producers = (zactor_t **) zmalloc (count * sizeof (zactor_t *));
    for (size_t index = 0; index < count; index++) {
        test_at (index);
        producers [index] = test_producer_new ("topic", config);
    }
    for (size_t index = 0; index < count; index++) {
        test_at (index);
        CHECK (dafka_producer_address (producers [index]));
    }
    int64_t started_ms = zclock_mono ();
    for (size_t index = 0; index < count; index++)
        test_send (producers [index], "record");
    for (size_t index = 0; index < count; index++) {
        test_at (index);
        test_recv (consumer, "topic", NULL, "record");
    }
    files = test_count_entries ("/proc/self/fd") - files;
    int64_t read_ms = zclock_mono ();
    threads = test_count_entries ("/proc/self/task") - threads;
    s_destroy (producers, count);
    printf ("%lu producers: started after %d ms, read after %d ms, ended after %d ms; %lu files, %lu threads\n",
        (unsigned long) count, (int) (started_ms - start_ms), (int) (read_ms - start_ms),
        (int) (zclock_mono () - start_ms), (unsigned long) files, (unsigned long) threads);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    taken_t taken = { files, threads };
    return taken;
}

//  Makes producers until one does not start. The library reports that before CZMQ ends the process.

static void
s_exhaust (size_t maximum)
{
    test_case ("producers until there are no more files");
    zconfig_t *config = s_config (false);
    zactor_t *tower = test_tower_new (config);
    zactor_t **producers = (zactor_t **) zmalloc (maximum * sizeof (zactor_t *));
    size_t count = 0;
    test_log_begin ();
    bool is_started = true;
    while (is_started) {
        CHECK (count < maximum);
        producers [count] = test_producer_new ("topic", config);
        is_started = dafka_producer_address (producers [count]) != NULL;
        count++;
    }
    s_destroy (producers, count);
    //  Reading the log takes a file
    CHECK (test_log_has ("E:", "RLIMIT_NOFILE", " 1024 "));
    test_log_end ();
    printf ("%lu producers\n", (unsigned long) (count - 1));
    CHECK (count > 40);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    const char *what = argc > 1? argv [1]: "";
    test_begin ("test_many_producers", 300);
    if (streq (what, "files")) {
        CHECK (s_limit (1024) == 1024);
        taken_t ten = s_records_of (10, false), twenty = s_records_of (20, false);
        CHECK (twenty.threads == ten.threads + 10);
        CHECK (twenty.files <= ten.files + 10 * 12);
        s_exhaust (200);
    }
    else {
        size_t count = (size_t) atoi (what);
        CHECK (count > 0);
        bool has_store = argc > 2 && streq (argv [2], "store");
        //  Each producer takes 12 files, with its connections to the consumer, and 8 more for those to a store. The
        //  library keeps a sixteenth of all files in reserve. The consumer, the tower and the process itself take some,
        //  too.
        size_t needed = count * (has_store? 18: 13) + 200;
        if (s_limit (needed) < needed)
            printf ("skipped: %lu producers take more files than are allowed here\n", (unsigned long) count);
        else {
            zsys_set_max_sockets (0);
            s_records_of (count, has_store);
        }
    }
    test_await_actors ();
    return test_end ();
}
