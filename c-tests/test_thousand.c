/*  =========================================================================
    test_thousand - a thousand actors of each kind, one after the other: no thread, file, socket or memory leaks

    Each ZeroMQ socket has its own file, so the number of files also counts sockets, and what a socket keeps until its
    peers have closed.
    =========================================================================
*/

#include "testing.h"
#include <malloc.h>
#include <pthread.h>
#ifdef __SANITIZE_ADDRESS__
//  Declared in sanitizer/allocator_interface.h, which is missing in some packages.
size_t
    __sanitizer_get_current_allocated_bytes (void);
#endif

//  Less than 40 bytes for each of a thousand rounds
#define MEMORY_SLACK 32768

typedef struct {
    size_t threads;
    size_t files;
    size_t memory;
} held_t;

//  Number of allocated bytes. Always 0 under valgrind, because valgrind itself detects leaks.

static size_t
s_memory (void)
{
#if defined (__SANITIZE_ADDRESS__)
    return __sanitizer_get_current_allocated_bytes ();
#else
    if (test_in_valgrind ())
        return 0;
    struct mallinfo2 info = mallinfo2 ();
    return info.uordblks + info.hblkhd;
#endif
}

static held_t
s_measure (void)
{
    held_t held;
    held.threads = test_count_entries ("/proc/self/task");
    held.files = test_count_entries ("/proc/self/fd");
    held.memory = s_memory ();
    return held;
}

//  Waits until none of the values has decreased for a while, and returns them

static held_t
s_settled (void)
{
    held_t least = s_measure ();
    for (int quiet = 0; quiet < 20; quiet++) {
        zclock_sleep (5);
        held_t now = s_measure ();
        if (now.threads < least.threads || now.files < least.files || now.memory < least.memory)
            quiet = 0;
        least = now;
    }
    return least;
}

//  What has increased: "threads", "files", "memory", or NULL. Threads end and sockets close a moment after the actor
//  has ended, so this waits up to patience_ms.

static const char *
s_grown (held_t before, int patience_ms)
{
    int64_t deadline = zclock_mono () + patience_ms;
    while (true) {
        held_t now = s_measure ();
        const char *grown = now.threads > before.threads ? "threads"
                          : now.files > before.files ? "files"
                          : now.memory > before.memory + MEMORY_SLACK ? "memory"
                          : NULL;
        if (!grown)
            return NULL;
        if (zclock_mono () > deadline) {
            fprintf (stderr, "threads %lu -> %lu, files %lu -> %lu, memory %lu -> %lu\n",
                     (unsigned long) before.threads, (unsigned long) now.threads, (unsigned long) before.files,
                     (unsigned long) now.files, (unsigned long) before.memory, (unsigned long) now.memory);
            return grown;
        }
        zclock_sleep (10);
    }
}


//  --------------------------------------------------------------------------
//  Shows that leaks are detected

static void *
s_wait_for_read (void *handle)
{
    char octet;
    return read (*(int *) handle, &octet, 1) == 1 ? handle : NULL;
}

static void
s_test_detection (void)
{
    //  Nothing is about to end, since no actor has run before
    held_t before = s_settled ();
    CHECK (s_grown (before, 0) == NULL);

    test_case ("a leaked thread is detected");
    int handles [2];
    CHECK (pipe (handles) == 0);
    before = s_measure ();
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_wait_for_read, &handles [0]) == 0);
    const char *grown = s_grown (before, 50);
    CHECK_STR (grown, "threads");
    CHECK (write (handles [1], "x", 1) == 1);
    void *result;
    CHECK (pthread_join (thread, &result) == 0 && result);
    CHECK (s_grown (before, 60000) == NULL);

    test_case ("a leaked file is detected");
    close (handles [0]);
    close (handles [1]);
    before = s_measure ();
    int handle = dup (0);
    CHECK (handle >= 0);
    CHECK_STR (s_grown (before, 50), "files");
    close (handle);

    test_case ("a leaked socket is detected");
    zsock_t *socket = zsock_new (ZMQ_PUB);
    CHECK_STR (s_grown (before, 50), "files");
    zsock_destroy (&socket);
    CHECK (s_grown (before, 60000) == NULL);

    if (test_in_valgrind ()) {
        fprintf (stderr, "test_thousand: memory is not measured under valgrind, it looks for leaks itself\n");
        return;
    }
    test_case ("a leak of 40 bytes in each of a thousand rounds is detected");
    before = s_measure ();
    void *leaked [1000];
    for (int number = 0; number < 1000; number++)
        CHECK ((leaked [number] = malloc (40)));
    CHECK_STR (s_grown (before, 0), "memory");
    for (int number = 0; number < 1000; number++)
        free (leaked [number]);
    CHECK (s_grown (before, 0) == NULL);
}


//  --------------------------------------------------------------------------

//  This kind starts its own tower.
#define NETWORK "network with a record"

static zconfig_t *
s_config (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "beacon/timeout", "200");
    return config;
}

static void
s_round (const char *kind, zconfig_t *config)
{
    if (streq (kind, "tower")) {
        zactor_t *tower = test_tower_new (config);
        zactor_destroy (&tower);
    }
    else
    if (streq (kind, "store")) {
        zactor_t *store = test_store_new (config);
        zactor_destroy (&store);
    }
    else
    if (streq (kind, "beacon")) {
        dafka_beacon_args_t args = { "Beacon", config };
        zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
        CHECK (beacon);
        CHECK (zsock_send (beacon, "ssi", "START", "0123456789ABCDEF0123456789ABCDEF", 12345) == 0);
        zactor_destroy (&beacon);
    }
    else
    if (streq (kind, "producer")) {
        zactor_t *producer = test_producer_new ("thousand", config);
        CHECK (dafka_producer_address (producer));
        test_send (producer, "a record that nobody acknowledges");
        zactor_destroy (&producer);
    }
    else
    if (streq (kind, "publisher")) {
        zactor_t *publisher = test_publisher_new ("thousand", config);
        CHECK (dafka_publisher_address (publisher));
        test_publish (publisher, "a record that nobody acknowledges");
        zactor_destroy (&publisher);
    }
    else
    if (streq (kind, "subscriber")) {
        zactor_t *subscriber = test_subscriber_new (config);
        CHECK (dafka_subscriber_subscribe (subscriber, "thousand") == 0);
        zactor_destroy (&subscriber);
    }
    else
    if (streq (kind, "consumer")) {
        dafka_consumer_t *consumer = test_consumer_new ("thousand", config);
        CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 1);
        dafka_consumer_destroy (&consumer);
    }
    else
    if (streq (kind, NETWORK)) {
        //  The store has the records of the earlier rounds
        char *topic = zsys_sprintf ("thousand %" PRId64, zclock_usecs ());
        zactor_t *tower = test_tower_new (config);
        zactor_t *store = test_store_new (config);
        dafka_consumer_t *consumer = test_consumer_new (topic, config);
        zactor_t *producer = test_producer_new (topic, config);
        test_send (producer, "a record");
        test_recv (consumer, topic, dafka_producer_address (producer), "a record");
        zactor_destroy (&producer);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&store);
        zactor_destroy (&tower);
        zstr_free (&topic);
    }
    else
        CHECK (false);
}

typedef struct {
    const char *kind;
    zconfig_t *config;
    size_t rounds;
} share_t;

//  On a loaded machine, rounds may begin faster than the sockets of earlier rounds close. CZMQ ends a process that runs
//  out of sockets. So each thread waits before its next round while the process has more files than this.
#define MOST_FILES 500

static void *
s_rounds (void *args)
{
    share_t *share = (share_t *) args;
    for (size_t number = 0; number < share->rounds; number++) {
        while (test_count_entries ("/proc/self/fd") > MOST_FILES)
            zclock_sleep (1);
        s_round (share->kind, share->config);
    }
    return args;
}

static void
s_test_kind (const char *kind, zconfig_t *config, size_t rounds)
{
    test_case ("the first of kind: %s", kind);
    share_t share = { kind, config, rounds / 20 + 1 };
    s_rounds (&share);
    held_t before = s_settled ();
    test_case ("%lu of kind: %s", (unsigned long) rounds, kind);
    share.rounds = rounds;
    s_rounds (&share);
    test_case ("after %lu of kind: %s", (unsigned long) rounds, kind);
    CHECK (s_grown (before, 30000) == NULL);
}

//  When producers and stores start, they wait for peers and for the disk. Therefore several threads, each with its own
//  network, share the rounds.

#define THREADS 20

//  A network has about 70 sockets, and CZMQ allows 1,024
#define NETWORK_THREADS 5

static void
s_share (const char *kind, size_t rounds)
{
    zactor_t *towers [THREADS];
    share_t shares [THREADS];
    pthread_t threads [THREADS];
    //  valgrind runs one thread at a time, and few rounds
    const size_t count = test_in_valgrind () ? 2 : streq (kind, NETWORK) ? NETWORK_THREADS : THREADS;
    for (size_t number = 0; number < count; number++) {
        shares [number].kind = kind;
        shares [number].config = s_config ();
        shares [number].rounds = (rounds + count - 1) / count;
        towers [number] = streq (kind, NETWORK) ? NULL : test_tower_new (shares [number].config);
        CHECK (pthread_create (&threads [number], NULL, s_rounds, &shares [number]) == 0);
    }
    for (size_t number = 0; number < count; number++) {
        CHECK (pthread_join (threads [number], NULL) == 0);
        zactor_destroy (&towers [number]);
        zconfig_destroy (&shares [number].config);
    }
}

static void
s_test_waiting_kind (const char *kind, size_t rounds)
{
    test_case ("the first of kind: %s", kind);
    s_share (kind, 1);
    held_t before = s_settled ();
    test_case ("%lu of kind: %s", (unsigned long) rounds, kind);
    s_share (kind, rounds);
    test_case ("after %lu of kind: %s", (unsigned long) rounds, kind);
    CHECK (s_grown (before, 30000) == NULL);
}

//  glibc counts memory in its caches as in use: up to some ten kilobytes for each running thread, depending on chance.
//  So the program starts itself again without these caches.

static void
s_disable_thread_caches (char *argv [])
{
#if !defined (__SANITIZE_ADDRESS__)
    if (test_in_valgrind () || getenv ("GLIBC_TUNABLES"))
        return;
    CHECK (setenv ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1) == 0);
    execv ("/proc/self/exe", argv);
    CHECK (false);
#else
    (void) argv;
#endif
}

int
main (int argc, char *argv [])
{
    (void) argc;
    s_disable_thread_caches (argv);
    test_begin ("test_thousand", 240);
    zconfig_t *config = s_config ();
    s_round ("tower", config);
    s_test_detection ();

    size_t rounds = test_scale (1000, 10);
    s_test_kind ("tower", config, rounds);
    zactor_t *tower = test_tower_new (config);
    s_test_kind ("beacon", config, rounds);
    s_test_kind ("subscriber", config, rounds);
    s_test_kind ("consumer", config, rounds);
    zactor_destroy (&tower);
    s_test_waiting_kind ("store", rounds);
    s_test_waiting_kind ("producer", rounds);
    s_test_waiting_kind ("publisher", rounds);
    s_test_waiting_kind (NETWORK, rounds / 20);
    zconfig_destroy (&config);
    return test_end ();
}
