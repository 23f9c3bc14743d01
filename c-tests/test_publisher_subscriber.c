/*  =========================================================================
    test_publisher_subscriber - the first generation of the API: publisher and subscriber are actors, records arrive on
    the subscriber's pipe
    =========================================================================
*/

#include "testing.h"

//  Publishes and reads until no record of the unsubscribed topic has arrived for ten rounds. The witness receives all.

static void
s_check_silence (zactor_t *subscriber, zactor_t *witness, zactor_t *silent, zactor_t *other)
{
    int quiet_rounds = 0;
    for (int round = 0; quiet_rounds < 10; round++) {
        CHECK (round < 200);
        char *content = zsys_sprintf ("round %d", round);
        test_publish (silent, "%s", content);
        test_recv_from (witness, "first", dafka_publisher_address (silent), "%s", content);
        test_publish (other, "%s", content);
        quiet_rounds++;
        bool arrived = false;
        while (!arrived) {
            char *subject = NULL, *address = NULL;
            zframe_t *frame = NULL;
            CHECK (zsock_brecv (subscriber, "ssf", &subject, &address, &frame) == 0);
            if (streq (subject, "first"))
                quiet_rounds = 0;
            else {
                CHECK_STR (subject, "second");
                CHECK (zframe_streq (frame, content));
                arrived = true;
            }
            zframe_destroy (&frame);
        }
        zstr_free (&content);
    }
}

//  A subscriber with a full pipe must still send its last signal, for which zactor_destroy waits.
static void
s_destroy_while_full (zactor_t *publisher, zconfig_t *config)
{
    //  More than a pipe holds, with CZMQ's default high-water marks on both sides
    size_t count = test_scale (20000, 3000);
    for (size_t number = 0; number < count; number++)
        test_publish (publisher, "%lu", (unsigned long) number);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    for (size_t round = 0; round < test_scale (10, 3); round++) {
        test_case ("destroying an unread subscriber, round %lu", (unsigned long) round);
        zactor_t *subscriber = test_subscriber_new (config);
        CHECK (dafka_subscriber_subscribe (subscriber, "first") == 0);
        test_recv_from (subscriber, "first", NULL, "before anybody subscribed");
        //  This thread has no way to wait until the pipe is full. It does not read meanwhile, and this time is enough
        //  to fill the pipe.
        zclock_sleep (50);
        zactor_destroy (&subscriber);
    }
}

//  Plays a slow store. It sends RECEIVED on its pipe when it has received a record (or its HEAD, if the record was
//  published before this store connected), and acknowledges the record two seconds later.
static void
s_late_store (zsock_t *pipe, void *args)
{
    zsock_t *pub = zsock_new (ZMQ_PUB);
    int port = zsock_bind (pub, "tcp://127.0.0.1:*");
    CHECK (port > 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_subscribe (sub, "M");
    zsock_set_subscribe (sub, "H");
    dafka_beacon_args_t beacon_args = { "Late store", (zconfig_t *) args };
    zactor_t *beacon = zactor_new (dafka_beacon_actor, &beacon_args);
    CHECK (beacon);
    CHECK (zsock_send (beacon, "ssi", "START", "LATE", port) == 0);
    zpoller_t *poller = zpoller_new (pipe, beacon, sub, NULL);
    dafka_proto_t *record = dafka_proto_new ();
    CHECK (poller && record);
    zsock_signal (pipe, 0);

    int64_t ack_at = INT64_MAX;
    while (true) {
        void *which = zpoller_wait (poller, 50);
        if (which == beacon)
            dafka_beacon_recv (beacon, sub, false, "Late store");
        else if (which == sub && dafka_proto_recv (record, sub) == 0 && ack_at == INT64_MAX) {
            ack_at = zclock_mono () + 2000;
            zstr_send (pipe, "RECEIVED");
        }
        else if (which == pipe)
            break;                                  //  $TERM
        if (zclock_mono () >= ack_at) {
            dafka_proto_t *ack = dafka_proto_new ();
            dafka_proto_set_id (ack, DAFKA_PROTO_ACK);
            dafka_proto_set_topic (ack, dafka_proto_address (record));
            dafka_proto_set_subject (ack, dafka_proto_subject (record));
            dafka_proto_set_sequence (ack, dafka_proto_sequence (record));
            CHECK (dafka_proto_send (ack, pub) == 0);
            dafka_proto_destroy (&ack);
        }
    }
    zpoller_destroy (&poller);
    dafka_proto_destroy (&record);
    zactor_destroy (&beacon);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
}

//  Without a store a publisher ends at once. With a store that does not respond, it ends after a timeout.
static void
s_test_end (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "publisher/terminate_timeout", "60000");
    zactor_t *tower = test_tower_new (config);

    test_case ("zactor_destroy of a publisher without a store");
    zactor_t *publisher = test_publisher_new ("ends", config);
    dafka_consumer_t *mirror = test_consumer_new ("", config);
    test_publish (publisher, "%s", "nobody stores this");
    test_recv (mirror, "ends", dafka_publisher_address (publisher), "nobody stores this");
    int64_t start = zclock_mono ();
    zactor_destroy (&publisher);
    CHECK (zclock_mono () - start < 20000);
    dafka_consumer_destroy (&mirror);

    test_case ("zactor_destroy of a publisher whose store has not acknowledged anything yet");
    zactor_t *late = zactor_new (s_late_store, config);
    CHECK (late);
    publisher = test_publisher_new ("ends", config);
    test_publish (publisher, "%s", "acknowledged late");
    char *word = zstr_recv (late);
    CHECK_STR (word, "RECEIVED");
    zstr_free (&word);
    test_log_begin ();
    zactor_destroy (&publisher);
    CHECK (!test_log_has ("W:", "unacknowledged", NULL));
    test_log_end ();
    zactor_destroy (&late);

    test_case ("zactor_destroy of a new publisher without a store: publisher/terminate_timeout holds from the start");
    zconfig_put (config, "publisher/terminate_timeout", "0");
    //  Without the timeout, a publisher runs for at least a second. A slow machine gets several attempts.
    bool in_time = false;
    for (int number = 0; number < 10 && !in_time; number++) {
        start = zclock_mono ();
        publisher = test_publisher_new ("ends", config);
        test_publish (publisher, "%s", "nobody stores this");
        zactor_destroy (&publisher);
        in_time = zclock_mono () - start < 1000;
    }
    CHECK (in_time);
    zconfig_put (config, "publisher/terminate_timeout", "700");

    test_case ("zactor_destroy of a publisher whose store has ended: it waits for publisher/terminate_timeout");
    zactor_t *store = test_store_new (config);
    publisher = test_publisher_new ("ends", config);
    zconfig_put (config, "consumer/isolation", "acknowledged");
    dafka_consumer_t *isolated = test_consumer_new ("ends", config);
    test_publish (publisher, "%s", "stored");
    //  A store has acknowledged the record
    test_recv (isolated, "ends", dafka_publisher_address (publisher), "stored");
    dafka_consumer_destroy (&isolated);
    zactor_destroy (&store);
    test_publish (publisher, "%s", "not stored");
    start = zclock_mono ();
    zactor_destroy (&publisher);
    int64_t took = zclock_mono () - start;
    CHECK (took >= 690 && took < 10000);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("test_publisher_subscriber", 120);
    s_test_end ();
    //  No consumer/offset/reset: by default, a subscriber reads all.
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "producer/terminate_unacked", "1");    //  There is no store
    test_case ("starting the tower");
    zactor_t *tower = test_tower_new (config);

    test_case ("publisher address");
    zactor_t *first = test_publisher_new ("first", config);
    zactor_t *second = test_publisher_new ("second", config);
    char *address = strdup (dafka_publisher_address (first));
    CHECK (strlen (address) == 32 && strspn (address, "0123456789ABCDEF") == 32);
    CHECK_STR (dafka_publisher_address (first), address);
    CHECK (strneq (dafka_publisher_address (second), address));

    test_case ("publish takes the frame");
    zframe_t *frame = zframe_from ("before anybody subscribed");
    CHECK (dafka_publisher_publish (first, &frame) == 0);
    CHECK (frame == NULL);
    frame = zframe_new_empty ();
    CHECK (dafka_publisher_publish (first, &frame) == 0);
    CHECK (frame == NULL);

    test_case ("a subscriber reads from the first record");
    zactor_t *subscriber = test_subscriber_new (config);
    CHECK (dafka_subscriber_subscribe (subscriber, "first") == 0);
    test_recv_from (subscriber, "first", address, "before anybody subscribed");
    test_recv_from (subscriber, "first", address, "%s", "");

    test_case ("live records");
    for (int number = 0; number < 100; number++) {
        test_publish (first, "record %d", number);
        test_recv_from (subscriber, "first", address, "record %d", number);
    }

    test_case ("records with NULs");
    frame = zframe_new ("a\0b\n", 4);
    CHECK (dafka_publisher_publish (first, &frame) == 0);
    char *subject, *from;
    CHECK (zsock_brecv (subscriber, "ssf", &subject, &from, &frame) == 0);
    CHECK (zframe_size (frame) == 4 && memcmp (zframe_data (frame), "a\0b\n", 4) == 0);
    zframe_destroy (&frame);

    test_case ("SUBSCRIBE on the pipe");
    test_publish (second, "of the second topic");
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", "second") == 0);
    test_recv_from (subscriber, "second", dafka_publisher_address (second), "of the second topic");

    test_case ("subscribing twice delivers once");
    CHECK (dafka_subscriber_subscribe (subscriber, "second") == 0);
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", "first") == 0);
    for (int number = 0; number < 10; number++) {
        test_publish (second, "once");
        test_recv_from (subscriber, "second", dafka_publisher_address (second), "once");
        test_publish (first, "once");
        test_recv_from (subscriber, "first", address, "once");
    }

    test_case ("UNSUBSCRIBE on the pipe");
    //  The witness subscribes late and with latest, so that it reads the current round.
    zconfig_put (config, "consumer/offset/reset", "latest");
    zactor_t *witness = test_subscriber_new (config);
    CHECK (dafka_subscriber_subscribe (witness, "first") == 0);
    int sent = 0;
    do
        test_publish (first, "step %d", sent++);
    while (!test_poll (witness, 20));
    char *last = zsys_sprintf ("step %d", sent - 1);
    bool in_step = false;
    while (!in_step) {
        CHECK (zsock_brecv (witness, "ssf", &subject, &from, &frame) == 0);
        CHECK (zframe_size (frame) >= 5 && memcmp (zframe_data (frame), "step ", 5) == 0);
        in_step = zframe_streq (frame, last);
        zframe_destroy (&frame);
    }
    zstr_free (&last);
    CHECK (zsock_send (subscriber, "ss", "UNSUBSCRIBE", "first") == 0);
    s_check_silence (subscriber, witness, first, second);

    s_destroy_while_full (first, config);

    test_case ("destroying all, with records unread");
    test_publish (second, "unread");
    zactor_destroy (&witness);
    zactor_destroy (&subscriber);
    zactor_destroy (&second);
    zactor_destroy (&first);
    zactor_destroy (&tower);
    free (address);
    zconfig_destroy (&config);
    return test_end ();
}
