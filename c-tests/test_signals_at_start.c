/*  =========================================================================
    test_signals_at_start - a signal during zactor_new makes it return before the actor is ready (CZMQ 4.2.1), and leaves
    the actor's ready signal in the pipe: everything works all the same, and zactor_destroy waits for the actor's end
    =========================================================================
*/

//  sigaction, setitimer
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#define RECORDS 10

static volatile sig_atomic_t s_signals;

static void
s_count (int signal_value)
{
    (void) signal_value;
    s_signals++;
}

//  SIGALRM every millisecond, to the thread that waits
static void
s_storm (bool on)
{
    struct sigaction action;
    memset (&action, 0, sizeof action);
    action.sa_handler = on? s_count: SIG_IGN;       //  No SA_RESTART; a wait in poll ends in any case
    //  libzmq does not expect EINTR from a write that cannot wait, which valgrind lets happen.
    if (test_in_valgrind ())
        action.sa_flags = SA_RESTART;
    long interval_us = on? test_in_valgrind ()? 50000: 1000: 0;
    struct itimerval timer = { { 0, interval_us }, { 0, interval_us } };
    if (on)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
    CHECK (setitimer (ITIMER_REAL, &timer, NULL) == 0);
    if (!on)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
}

//  zactor_new with the storm from the moment on in which the actor's thread begins. Not before: CZMQ (4.2.1) ends the
//  process when a signal interrupts zsys_create_pipe.

static zactor_fn *s_task;

static void
s_begin (zsock_t *pipe, void *args)
{
    s_storm (true);
    s_task (pipe, args);
}

static zactor_t *
s_start (zactor_fn *task, void *args)
{
    s_storm (false);
    s_task = task;
    zactor_t *actor = zactor_new (s_begin, args);
    CHECK (actor);
    return actor;
}

static void
s_test_producer (zconfig_t *config)
{
    s_storm (true);
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    CHECK (consumer);
    CHECK (dafka_consumer_subscribe (consumer, "start") == 0);
    dafka_producer_args_t args = { "start", config };
    zactor_t *producer = s_start (dafka_producer, &args);
    for (int number = 0; number < RECORDS; number++)
        test_send (producer, "%d", number);
    const char *address = dafka_producer_address (producer);
    CHECK (address);
    s_storm (false);
    zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), 60000);
    for (int number = 0; number < RECORDS; number++) {
        char content [32];
        snprintf (content, sizeof content, "%d", number);
        test_recv (consumer, "start", address, content);
    }
    s_storm (true);
    CHECK (dafka_consumer_unsubscribe (consumer, "start") == 0);
    dafka_consumer_destroy (&consumer);
    s_storm (false);
    zactor_destroy (&producer);
}

//  The first generation: the application reads the pipe itself

static void
s_test_publisher (zconfig_t *config)
{
    zactor_t *subscriber = s_start (dafka_subscriber_actor, config);
    CHECK (dafka_subscriber_subscribe (subscriber, "first") == 0);
    dafka_publisher_args_t args = { "first", config };
    zactor_t *publisher = s_start (dafka_publisher_actor, &args);
    for (int number = 0; number < RECORDS; number++)
        test_publish (publisher, "%d", number);
    const char *address = dafka_publisher_address (publisher);
    CHECK (address);
    s_storm (false);
    zsock_set_rcvtimeo (zactor_sock (subscriber), 60000);
    for (int number = 0; number < RECORDS; number++) {
        char *subject, *partition, expected [32];
        zframe_t *content;
        CHECK (zsock_brecv (subscriber, "ssf", &subject, &partition, &content) == 0);
        CHECK_STR (subject, "first");
        CHECK_STR (partition, address);
        snprintf (expected, sizeof expected, "%d", number);
        CHECK (zframe_streq (content, expected));
        zframe_destroy (&content);
    }
    zactor_destroy (&publisher);
    zactor_destroy (&subscriber);
}

//  Words that the application writes to a pipe itself come before the actor is ready.

static void
s_test_raw (zconfig_t *config)
{
    zconfig_t *lonely = test_config_copy (config);
    zconfig_put (lonely, "beacon/connect_timeout", "1000");
    zconfig_put (lonely, "beacon/pub_address", "inproc://no-tower-pub");
    zconfig_put (lonely, "beacon/sub_address", "inproc://no-tower-sub");
    dafka_producer_args_t args = { "raw", lonely };
    int64_t start_ms = zclock_mono ();
    zactor_t *producer = s_start (dafka_producer, &args);
    s_storm (false);
    CHECK (test_in_valgrind () || zclock_mono () - start_ms < 900);
    CHECK (zstr_send (producer, "GET ADDRESS") == 0);
    void *address = NULL;
    zsock_set_rcvtimeo (zactor_sock (producer), 60000);
    CHECK (zsock_brecv (producer, "p", &address) == 0);
    CHECK (strlen ((char *) address) == 32);
    CHECK (address == (const void *) dafka_producer_address (producer));
    zactor_destroy (&producer);
    zconfig_destroy (&lonely);
}

static void
s_test_beacon (zconfig_t *config)
{
    zsock_t *pub = zsock_new (ZMQ_XPUB), *sub = zsock_new (ZMQ_SUB);
    int port = zsock_bind (pub, "tcp://127.0.0.1:*");
    zsock_set_subscribe (sub, "");
    dafka_beacon_args_t args = { "Beacon", config };
    zactor_t *seeker = s_start (dafka_beacon_actor, &args);
    zactor_t *other = s_start (dafka_beacon_actor, &args);
    s_storm (false);
    //  The one has been ready for a while; the other one gets its command at once.
    zsock_send (other, "ssi", "START", "0123456789ABCDEF0123456789ABCDE0", port);
    zclock_sleep (50);
    zsock_send (seeker, "ssi", "START", "0123456789ABCDEF0123456789ABCDE1", 9);
    zsock_set_rcvtimeo (zactor_sock (seeker), 60000);
    dafka_beacon_recv (seeker, sub, false, "Seeker");
    zsock_set_rcvtimeo (pub, 60000);
    zframe_t *frame = zframe_recv (pub);            //  Its subscription: it has connected
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
    return zactor_new (dafka_store_actor, config);
}

//  What was sent is acknowledged when zactor_destroy returns: there is a store only after a while

static void
s_test_end (zconfig_t *config)
{
    zconfig_t *patient = test_config_copy (config);
    zconfig_put (patient, "producer/terminate_unacked", "0");
    dafka_producer_args_t args = { "end", patient };
    zactor_t *producer = s_start (dafka_producer, &args);
    test_send (producer, "hello");
    s_storm (false);
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, s_store_later, patient) == 0);
    int64_t start_ms = zclock_mono ();
    zactor_destroy (&producer);
    CHECK (zclock_mono () - start_ms >= 400);
    void *store = NULL;
    CHECK (pthread_join (thread, &store) == 0 && store);
    zactor_destroy ((zactor_t **) &store);
    zconfig_destroy (&patient);
}

int
main (void)
{
    test_begin ("test_signals_at_start", 120);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *tower = s_start (dafka_tower_actor, config);
    s_storm (false);
    CHECK (tower);
    for (size_t round = 0; round < test_scale (30, 2); round++) {
        test_case ("a consumer and a producer, round %lu", (unsigned long) round);
        s_test_producer (config);
        test_case ("a subscriber and a publisher, round %lu", (unsigned long) round);
        s_test_publisher (config);
    }
    test_case ("a producer whose pipe the application uses");
    s_test_raw (config);
    test_case ("a beacon");
    s_test_beacon (config);
    test_case ("a producer that waits for a store at its end");
    s_test_end (config);
    CHECK (s_signals > 0);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    test_await_actors ();
    return test_end ();
}
