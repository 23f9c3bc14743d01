/*  =========================================================================
    test_shutdown - after all classes have been used, zsys_shutdown finds no open socket, and names one that is open

    usage: test_shutdown clean | dangling

    A process can test this only once: after zsys_shutdown, CZMQ 4.2.1 starts again without its mutex, so it must not be
    used by several threads.
    =========================================================================
*/

#include "testing.h"

static void
s_use_all (const char *transport)
{
    test_case ("using every class, over %s", transport);
    zconfig_t *config = test_config (transport);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *subscriber = test_subscriber_new (config);
    dafka_beacon_args_t args = { "Beacon", config };
    zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
    CHECK (beacon);
    dafka_consumer_t *consumer = test_consumer_new ("shutdown", config);
    CHECK (dafka_subscriber_subscribe (subscriber, "shutdown") == 0);
    zactor_t *producer = test_producer_new ("shutdown", config);
    zactor_t *publisher = test_publisher_new ("shutdown", config);

    test_send (producer, "hello");
    test_recv (consumer, "shutdown", dafka_producer_address (producer), "hello");
    test_publish (publisher, "hello again");
    test_recv (consumer, "shutdown", dafka_publisher_address (publisher), "hello again");
    char *subject, *address;
    zframe_t *frame;
    CHECK (zsock_brecv (subscriber, "ssf", &subject, &address, &frame) == 0);
    zframe_destroy (&frame);
    CHECK (zsock_send (beacon, "ssi", "START", "0123456789ABCDEF0123456789ABCDEF", 12345) == 0);
    zsock_t *sub = zsock_new_sub (NULL, NULL);
    dafka_proto_subscribe (sub, DAFKA_PROTO_RECORD, "shutdown");
    dafka_beacon_recv (beacon, sub, false, "Beacon");

    //  A consumer that owns a sink
    zsock_t *sink;
    zsock_t *source = zsys_create_pipe (&sink);
    dafka_consumer_args_t sink_args = { config, sink };
    dafka_consumer_t *sink_consumer = dafka_consumer_new (&sink_args);
    CHECK (sink_consumer && zsock_wait (source) == 0);

    //  Nodes that cannot start
    zconfig_t *impossible = test_config_copy (config);
    zconfig_put (impossible, "store/db", "/proc/self");
    zactor_t *failed = test_store_new (impossible);
    zactor_destroy (&failed);
    failed = test_tower_new (config);        //  The address is in use
    zactor_destroy (&failed);
    zconfig_destroy (&impossible);

    test_case ("destroying every class, over %s", transport);
    dafka_consumer_destroy (&sink_consumer);
    zsock_destroy (&source);
    zsock_destroy (&sub);
    zactor_destroy (&publisher);
    zactor_destroy (&producer);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&beacon);
    zactor_destroy (&subscriber);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    bool dangling = argc == 2 && streq (argv [1], "dangling");
    if (!dangling && !(argc == 2 && streq (argv [1], "clean"))) {
        fprintf (stderr, "usage: test_shutdown clean | dangling\n");
        return 1;
    }
    test_begin ("test_shutdown", 60);
    s_use_all ("inproc");
    s_use_all ("tcp");
    zsock_t *left_open = dangling ? zsock_new (ZMQ_PULL) : NULL;

    test_case ("zsys_shutdown");
    test_await_actors ();
    test_log_begin ();
    zsys_shutdown ();
    CHECK (test_log_has ("E:", "dangling", NULL) == dangling);
    CHECK (test_log_has ("E:", "dangling 'PULL' socket", "test_shutdown.c") == dangling);
    test_log_end ();
    free (left_open);           //  CZMQ has closed the socket, but not freed this
    return test_end ();
}
