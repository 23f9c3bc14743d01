/*  =========================================================================
    test_no_sockets - actors and consumers in a process that runs out of sockets, at each point of their start: the
    error is logged, all calls return errors, all destructors return, and nothing leaks

    A node that has no socket left cannot start, whatever its configuration is.
    =========================================================================
*/

#include "testing.h"

#define MAX_SOCKETS 60

static void *s_dummies [MAX_SOCKETS];
static size_t s_count = 0;

//  Takes all sockets that are left

static void
s_take_all (void)
{
    void *handle;
    while ((handle = zmq_socket (zsys_init (), ZMQ_PAIR))) {
        CHECK (s_count < MAX_SOCKETS);
        s_dummies [s_count++] = handle;
    }
    CHECK (zmq_errno () == EMFILE);
}

//  libzmq releases closed sockets a moment later. It closes their files last.

static void
s_await_files (size_t count)
{
    while (test_count_entries ("/proc/self/fd") > count)
        zclock_sleep (1);
    CHECK (test_count_entries ("/proc/self/fd") == count);
}

static void
s_give (size_t count)
{
    size_t files = test_count_entries ("/proc/self/fd");
    for (size_t number = 0; number < count; number++)
        zmq_close (s_dummies [--s_count]);
    s_await_files (files - count);
}


//  --------------------------------------------------------------------------
//  Returns true when the actor has started. Otherwise the actor has ended or is about to end: then calls functions on
//  it. All calls return, and they fail once the actor has ended.

static bool
s_call_producer (zactor_t *actor)
{
    if (dafka_producer_address (actor))
        return true;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    do
        CHECK (dafka_producer_msg_set_content_str (msg, "hello") == 0);
    while (dafka_producer_msg_send (msg, actor) == 0);
    dafka_producer_msg_destroy (&msg);
    CHECK (dafka_producer_address (actor) == NULL);
    return false;
}

static bool
s_call_publisher (zactor_t *actor)
{
    if (dafka_publisher_address (actor))
        return true;
    zframe_t *frame;
    do
        frame = zframe_from ("hello");
    while (dafka_publisher_publish (actor, &frame) == 0);
    CHECK (frame == NULL);
    CHECK (dafka_publisher_address (actor) == NULL);
    return false;
}

static bool
s_call_subscriber (zactor_t *actor)
{
    if (!test_log_has ("E:", "Consumer", NULL))
        return dafka_subscriber_subscribe (actor, "topic") == 0;
    while (dafka_subscriber_subscribe (actor, "topic") == 0)
        zclock_sleep (1);
    return false;
}

static bool
s_call_other (zactor_t *actor)
{
    (void) actor;
    return !test_log_has ("E:", "Too many open files", NULL);
}

static void
s_test_actor (const char *name, zactor_fn task, void *args, bool (*call) (zactor_t *))
{
    s_take_all ();
    bool started = false;
    //  CZMQ itself needs two sockets for the pipe.
    for (size_t spare = 2; !started; spare++) {
        test_case ("%s, with %lu sockets", name, (unsigned long) spare);
        s_give (spare == 2 ? 2 : 1);
        test_log_begin ();
        size_t files = test_count_entries ("/proc/self/fd");
        zactor_t *actor = zactor_new (task, args);
        CHECK (actor);
        started = call (actor);
        zactor_destroy (&actor);
        CHECK (started || test_log_has ("E:", "Too many open files", "ZMQ_MAX_SOCKETS"));
        test_log_end ();
        s_await_files (files);
        CHECK (spare > 2 || !started);
    }
}

static void
s_test_consumer (zconfig_t *config, bool with_sink)
{
    //  The sinks, one for each attempt, need sockets too.
    zsock_t *sinks [24], *readers [24];
    size_t attempts = sizeof (sinks) / sizeof (sinks [0]);
    if (with_sink)
        for (size_t number = 0; number < attempts; number++)
            readers [number] = zsys_create_pipe (&sinks [number]);
    s_take_all ();

    bool started = false;
    for (size_t spare = 0; !started; spare++) {
        test_case ("a consumer %s sink, with %lu sockets", with_sink ? "with a" : "without", (unsigned long) spare);
        CHECK (spare < attempts);
        if (spare)
            s_give (1);
        test_log_begin ();
        size_t files = test_count_entries ("/proc/self/fd");
        dafka_consumer_args_t args = { config, with_sink ? sinks [spare] : NULL };
        dafka_consumer_t *consumer = dafka_consumer_new (&args);
        if (with_sink) {
            CHECK (zsock_wait (readers [spare]) >= 0);
            sinks [spare] = NULL;
        }
        started = consumer != NULL;
        if (started) {
            CHECK ((dafka_consumer_record_source (consumer) == NULL) == with_sink);
            CHECK (dafka_consumer_subscribe (consumer, "topic") == 0);
            CHECK (!test_log_has ("E:", "onsumer", NULL));
        }
        else {
            CHECK (test_log_has ("E:", "dafka_consumer_new", NULL));
            CHECK (test_log_has ("E:", "all 60 ZeroMQ sockets", "ZMQ_MAX_SOCKETS"));
        }
        dafka_consumer_destroy (&consumer);
        test_log_end ();
        //  The consumer owns the sink in any case. (It closes after its other end has closed.)
        if (with_sink)
            zsock_destroy (&readers [spare]);
        s_await_files (with_sink ? files - 2 : files);
        CHECK (spare > 0 || !started);
    }
    if (with_sink) {
        size_t files = test_count_entries ("/proc/self/fd");
        for (size_t number = 0; number < attempts; number++) {
            if (sinks [number])
                files -= 2;
            zsock_destroy (&sinks [number]);
            zsock_destroy (&readers [number]);
        }
        s_await_files (files);
    }
}

int
main (void)
{
    test_begin ("test_no_sockets", 60);
    zsys_set_max_sockets (MAX_SOCKETS);
    //  Not over inproc: a socket that waits for an inproc:// address to be bound stays until the end of the process.
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "beacon/connect_timeout", "1");
    dafka_producer_args_t producer_args = { "topic", config };
    dafka_publisher_args_t publisher_args = { "topic", config };
    dafka_beacon_args_t beacon_args = { "Beacon", config };
    s_test_actor ("a producer", dafka_producer, &producer_args, s_call_producer);
    s_test_actor ("a publisher", dafka_publisher_actor, &publisher_args, s_call_publisher);
    s_test_actor ("a subscriber", dafka_subscriber_actor, config, s_call_subscriber);
    s_test_actor ("a store", dafka_store_actor, config, s_call_other);
    s_test_actor ("a beacon", dafka_beacon_actor, &beacon_args, s_call_other);
    s_test_actor ("a tower", dafka_tower_actor, config, s_call_other);
    s_test_consumer (config, false);
    s_give (s_count);
    s_test_consumer (config, true);

    test_case ("ending");
    s_give (s_count);
    zconfig_destroy (&config);
    return test_end ();
}
