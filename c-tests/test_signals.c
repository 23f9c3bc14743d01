/*  =========================================================================
    test_signals - signals and the library: a storm of signals costs no record and no connection; a signal during
    zactor_new makes that function return before the actor is ready (CZMQ 4.2.1), and all functions work nevertheless;
    SIGINT, when CZMQ handles it, ends a wait
    =========================================================================
*/

//  sigaction, setitimer
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#define RECORDS 10

//  valgrind needs most of a processor for a signal each 50 us.
#define STORM_INTERVAL_US (test_in_valgrind ()? 1000: 50)

static volatile sig_atomic_t s_signals;

static void
s_count (int signal_value)
{
    (void) signal_value;
    s_signals++;
}

//  Sends SIGALRM every interval_us microseconds, to any thread. 0 stops it, and discards pending signals.
static void
s_storm (long interval_us)
{
    struct sigaction action;
    memset (&action, 0, sizeof action);
    action.sa_handler = interval_us? s_count: SIG_IGN;      //  No SA_RESTART: calls fail with EINTR
    //  Under valgrind, even a write that does not wait fails with EINTR, which libzmq does not expect. SA_RESTART
    //  avoids that. poll fails with EINTR in any case.
    if (test_in_valgrind ())
        action.sa_flags = SA_RESTART;
    struct itimerval timer = { { 0, interval_us }, { 0, interval_us } };
    if (interval_us)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
    CHECK (setitimer (ITIMER_REAL, &timer, NULL) == 0);
    if (!interval_us)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
}


//  --------------------------------------------------------------------------
//  While nodes run

static void
s_test_records (zconfig_t *config)
{
    test_case ("records in a storm of signals");
    size_t count = test_scale (100000, 1000);
    zactor_t *producer = test_producer_new ("storm", config);
    dafka_consumer_t *consumer = test_consumer_new ("storm", config);
    const sig_atomic_t before = s_signals;
    s_storm (STORM_INTERVAL_US);
    for (size_t i = 0; i < count; i++)
        test_send (producer, "%zu", i);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t i = 0; i < count; i++) {
        test_at (i);
        while (dafka_consumer_msg_recv (msg, consumer) == -1)
            CHECK (!zsys_interrupted);
        char content [32];
        snprintf (content, sizeof content, "%zu", i);
        char *received = dafka_consumer_msg_strdup (msg);
        CHECK_STR (received, content);
        zstr_free (&received);
    }
    CHECK (s_signals > before);
    s_storm (0);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

//  Only the consumer's threads get the signals. The main thread blocks them, and the producers' threads inherit that:
//  if a signal interrupts the wait of CZMQ's zactor_new or zactor_destroy, the function returns as if the actor had
//  answered.

static void
s_test_peers (zconfig_t *config)
{
    test_case ("peers connect and disconnect in a storm of signals");
    dafka_consumer_t *consumer = test_consumer_new ("peers", config);
    sigset_t storm;
    sigemptyset (&storm);
    sigaddset (&storm, SIGALRM);
    CHECK (pthread_sigmask (SIG_BLOCK, &storm, NULL) == 0);
    s_storm (STORM_INTERVAL_US);
    for (size_t i = 0; i < test_scale (20, 2); i++) {
        test_at (i);
        zactor_t *producer = test_producer_new ("peers", config);
        test_send (producer, "hello");
        test_recv (consumer, "peers", dafka_producer_address (producer), "hello");
        zactor_destroy (&producer);
    }
    s_storm (0);
    dafka_consumer_destroy (&consumer);
    CHECK (pthread_sigmask (SIG_UNBLOCK, &storm, NULL) == 0);
}


//  --------------------------------------------------------------------------
//  While actors start

//  Calls zactor_new in a storm that begins when the actor's thread begins. If the storm began earlier, a signal could
//  interrupt zsys_create_pipe, and CZMQ (4.2.1) would end the process.

#define START_INTERVAL_US (test_in_valgrind ()? 50000: 1000)

static zactor_fn *s_task;

static void
s_start_storm (zsock_t *pipe, void *args)
{
    s_storm (START_INTERVAL_US);
    s_task (pipe, args);
}

static zactor_t *
s_start (zactor_fn *task, void *args)
{
    s_storm (0);
    s_task = task;
    zactor_t *actor = zactor_new (s_start_storm, args);
    CHECK (actor);
    return actor;
}

static void
s_start_producer (zconfig_t *config)
{
    s_storm (START_INTERVAL_US);
    dafka_consumer_t *consumer = test_consumer_new ("start", config);
    dafka_producer_args_t args = { "start", config };
    zactor_t *producer = s_start (dafka_producer, &args);
    for (int number = 0; number < RECORDS; number++)
        test_send (producer, "%d", number);
    const char *address = dafka_producer_address (producer);
    CHECK (address);
    s_storm (0);
    zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), 60000);
    for (int number = 0; number < RECORDS; number++)
        test_recv (consumer, "start", address, "%d", number);
    s_storm (START_INTERVAL_US);
    CHECK (dafka_consumer_unsubscribe (consumer, "start") == 0);
    dafka_consumer_destroy (&consumer);
    s_storm (0);
    zactor_destroy (&producer);
}

//  The first generation of the API: the application reads the pipe

static void
s_start_publisher (zconfig_t *config)
{
    zactor_t *subscriber = s_start (dafka_subscriber_actor, config);
    CHECK (dafka_subscriber_subscribe (subscriber, "first") == 0);
    dafka_publisher_args_t args = { "first", config };
    zactor_t *publisher = s_start (dafka_publisher_actor, &args);
    for (int number = 0; number < RECORDS; number++)
        test_publish (publisher, "%d", number);
    const char *address = dafka_publisher_address (publisher);
    CHECK (address);
    s_storm (0);
    zsock_set_rcvtimeo (zactor_sock (subscriber), 60000);
    for (int number = 0; number < RECORDS; number++)
        test_recv_from (subscriber, "first", address, "%d", number);
    zactor_destroy (&publisher);
    zactor_destroy (&subscriber);
}

//  The application writes to the pipe before the actor is ready.

static void
s_start_raw (zconfig_t *config)
{
    zconfig_t *no_tower = test_config_copy (config);
    zconfig_put (no_tower, "beacon/connect_timeout", "1000");
    zconfig_put (no_tower, "beacon/pub_address", "inproc://no-tower-pub");
    zconfig_put (no_tower, "beacon/sub_address", "inproc://no-tower-sub");
    dafka_producer_args_t args = { "raw", no_tower };
    int64_t start_ms = zclock_mono ();
    zactor_t *producer = s_start (dafka_producer, &args);
    s_storm (0);
    CHECK (test_in_valgrind () || zclock_mono () - start_ms < 900);
    CHECK (zstr_send (producer, "GET ADDRESS") == 0);
    void *address = NULL;
    zsock_set_rcvtimeo (zactor_sock (producer), 60000);
    CHECK (zsock_brecv (producer, "p", &address) == 0);
    CHECK (strlen ((char *) address) == 32);
    CHECK (address == (const void *) dafka_producer_address (producer));
    zactor_destroy (&producer);
    zconfig_destroy (&no_tower);
}

static void
s_start_beacon (zconfig_t *config)
{
    zsock_t *pub = zsock_new (ZMQ_XPUB), *sub = zsock_new (ZMQ_SUB);
    int port = zsock_bind (pub, "tcp://127.0.0.1:*");
    zsock_set_subscribe (sub, "");
    dafka_beacon_args_t args = { "Beacon", config };
    zactor_t *seeker = s_start (dafka_beacon_actor, &args);
    zactor_t *other = s_start (dafka_beacon_actor, &args);
    s_storm (0);
    //  One has been ready for a while; the other one gets its command at once.
    zsock_send (other, "ssi", "START", "0123456789ABCDEF0123456789ABCDE0", port);
    zclock_sleep (50);
    zsock_send (seeker, "ssi", "START", "0123456789ABCDEF0123456789ABCDE1", 9);
    zsock_set_rcvtimeo (zactor_sock (seeker), 60000);
    dafka_beacon_recv (seeker, sub, false, "Seeker");
    zsock_set_rcvtimeo (pub, 60000);
    zframe_t *frame = zframe_recv (pub);            //  A subscription: the socket has connected
    CHECK (frame && zframe_size (frame) == 1);
    zframe_destroy (&frame);
    zactor_destroy (&seeker);
    zactor_destroy (&other);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
}

static void *
s_store_later (void *config)
{
    zclock_sleep (500);
    return test_store_new (config);
}

//  zactor_destroy waits for a store that starts later: all records are acknowledged when it returns.

static void
s_start_end (zconfig_t *config)
{
    zconfig_t *waiting = test_config_copy (config);
    zconfig_put (waiting, "producer/terminate_unacked", "0");
    dafka_producer_args_t args = { "end", waiting };
    zactor_t *producer = s_start (dafka_producer, &args);
    test_send (producer, "hello");
    s_storm (0);
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_store_later, waiting) == 0);
    int64_t start_ms = zclock_mono ();
    zactor_destroy (&producer);
    CHECK (zclock_mono () - start_ms >= 400);
    void *store = NULL;
    CHECK (pthread_join (thread, &store) == 0 && store);
    zactor_destroy ((zactor_t **) &store);
    zconfig_destroy (&waiting);
}

//  --------------------------------------------------------------------------
//  SIGINT. This comes last: everything is destroyed while zsys_interrupted is set.

static void
s_test_interrupt (zconfig_t *config)
{
    test_case ("SIGINT interrupts dafka_consumer_msg_recv");
    zactor_t *producer = test_producer_new ("interrupt", config);
    dafka_consumer_t *consumer = test_consumer_new ("interrupt", config);
    test_send (producer, "before");
    test_recv (consumer, "interrupt", dafka_producer_address (producer), "before");
    zactor_t *interrupter = test_interrupter_new ();
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
    CHECK (zsys_interrupted);
    dafka_consumer_msg_destroy (&msg);
    test_interrupter_destroy (&interrupter);

    test_case ("destroying all after an interrupt");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

int
main (void)
{
    test_begin ("test_signals", 120);
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = s_start (dafka_tower_actor, config);
    s_storm (0);
    for (size_t round = 0; round < test_scale (30, 2); round++) {
        test_case ("signals at the start of a consumer and a producer, round %lu", (unsigned long) round);
        s_start_producer (config);
        test_case ("signals at the start of a subscriber and a publisher, round %lu", (unsigned long) round);
        s_start_publisher (config);
    }
    test_case ("signals at the start of a producer whose pipe the application uses");
    s_start_raw (config);
    test_case ("signals at the start of a beacon");
    s_start_beacon (config);
    test_case ("signals at the start of a producer that waits for a store when it ends");
    s_start_end (config);
    CHECK (s_signals > 0);

    s_test_records (config);
    s_test_peers (config);
    s_test_interrupt (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
