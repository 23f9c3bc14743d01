/*  =========================================================================
    test_limits - topics of 255 octets work everywhere, longer ones are refused; calls on a producer that could not
    start fail, and do not hang; records longer than producer/max_record_bytes are refused
    =========================================================================
*/

#include "testing.h"

static void
s_test_longest_topic (zconfig_t *config, const char *topic)
{
    test_case ("a topic of 255 octets, live");
    zactor_t *producer = test_producer_new (topic, config);
    char *address = strdup (dafka_producer_address (producer));
    dafka_consumer_t *consumer = test_consumer_new (topic, config);
    CHECK_STR ((char *) zlist_first (dafka_consumer_subscription (consumer)), topic);
    for (int number = 0; number < 10; number++) {
        test_send (producer, "hello");
        test_recv (consumer, topic, address, "hello");
    }
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);

    test_case ("a topic of 255 octets, from the store");
    consumer = test_consumer_new (topic, config);
    for (int number = 0; number < 10; number++)
        test_recv (consumer, topic, address, "hello");
    dafka_consumer_destroy (&consumer);
    free (address);
}

//  Records of 1,001 octets, with producer/max_record_bytes = 1000, in each way in which one is sent
static void
s_test_longest_record (zconfig_t *config)
{
    test_case ("records of producer/max_record_bytes are published, longer ones refused");
    zconfig_put (config, "producer/max_record_bytes", "1000");
    zactor_t *producer = test_producer_new ("records", config);
    dafka_publisher_args_t args = { "records", config };
    zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
    CHECK (publisher);
    dafka_consumer_t *consumer = test_consumer_new ("records", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    byte octets [1001] = { 0 };
    for (int ours = 0; ours < 2; ours++) {
        for (size_t size = 1000; size <= 1001; size++) {
            zframe_t *frame = zframe_new (octets, size);
            if (ours) {
                CHECK (dafka_producer_msg_set_content_buffer (msg, octets, size) == 0);
                zframe_destroy (&frame);
            }
            else
                dafka_producer_msg_set_content (msg, &frame);
            CHECK (dafka_producer_msg_send (msg, producer) == (size == 1000 ? 0 : -1));
            CHECK (dafka_producer_msg_content_size (msg) == (size == 1000 ? 0 : 1001));
        }
    }
    zframe_t *frame = zframe_new (octets, 1001);
    CHECK (dafka_publisher_publish (publisher, &frame) == -1);
    CHECK (frame == NULL);
    zstr_sendm (producer, "P");
    frame = zframe_new (octets, 1001);
    CHECK (zframe_send (&frame, producer, 0) == 0);
    test_send (producer, "short");

    test_case ("the records that were not refused come, numbered without a gap");
    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    for (int number = 0; number < 2; number++) {
        CHECK (dafka_consumer_msg_recv (received, consumer) == 0);
        CHECK (dafka_consumer_msg_content_size (received) == 1000);
    }
    dafka_consumer_msg_destroy (&received);
    test_recv (consumer, "records", dafka_producer_address (producer), "short");
    dafka_producer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    //  Both end: nothing waits that no store takes
    zactor_destroy (&publisher);
    zactor_destroy (&producer);
}

static void
s_test_too_long_topic (zconfig_t *config, const char *topic)
{
    test_case ("a consumer refuses a topic of 256 octets");
    dafka_consumer_t *consumer = test_consumer_new ("short", config);
    CHECK (dafka_consumer_subscribe (consumer, topic) == -1);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 1);

    test_case ("a subscriber refuses a topic of 256 octets");
    zactor_t *subscriber = zactor_new (dafka_subscriber_actor, config);
    CHECK (subscriber);
    CHECK (dafka_subscriber_subscribe (subscriber, topic) == -1);
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", topic) == 0);
    CHECK (dafka_subscriber_subscribe (subscriber, "short") == 0);

    test_case ("consumer and subscriber work after that");
    zactor_t *producer = test_producer_new ("short", config);
    test_send (producer, "hello");
    test_recv (consumer, "short", dafka_producer_address (producer), "hello");
    char *subject, *address;
    zframe_t *frame;
    CHECK (zsock_brecv (subscriber, "ssf", &subject, &address, &frame) == 0);
    CHECK_STR (subject, "short");
    CHECK (zframe_streq (frame, "hello"));
    zframe_destroy (&frame);
    zactor_destroy (&producer);
    zactor_destroy (&subscriber);
    dafka_consumer_destroy (&consumer);
}

//  The actor ends while the program calls: each call must return, at whatever moment that is. What is sent in the
//  moment before the pipe closes may be taken for sent; soon after it must be refused.

static void
s_call_producer (zactor_t *refused, size_t calls)
{
    if (calls & 1) {
        test_case ("dafka_producer_address of a producer that did not start");
        CHECK (dafka_producer_address (refused) == NULL);
    }
    if (calls & 2) {
        test_case ("dafka_producer_msg_send to a producer that did not start");
        dafka_producer_msg_t *msg = dafka_producer_msg_new ();
        do
            CHECK (dafka_producer_msg_set_content_str (msg, "hello") == 0);
        while (dafka_producer_msg_send (msg, refused) == 0);
        dafka_producer_msg_destroy (&msg);
    }
    test_case ("zactor_destroy of a producer that did not start, after calls %lu", (unsigned long) calls);
    zactor_destroy (&refused);
}

static void
s_call_publisher (zactor_t *refused, size_t calls)
{
    if (calls & 1) {
        test_case ("dafka_publisher_address of a publisher that did not start");
        CHECK (dafka_publisher_address (refused) == NULL);
    }
    if (calls & 2) {
        test_case ("dafka_publisher_publish to a publisher that did not start");
        int rc;
        do {
            zframe_t *frame = zframe_from ("hello");
            rc = dafka_publisher_publish (refused, &frame);
            CHECK (frame == NULL);
        }
        while (rc == 0);
        CHECK (rc == -1);
    }
    test_case ("zactor_destroy of a publisher that did not start, after calls %lu", (unsigned long) calls);
    zactor_destroy (&refused);
}

//  Waits for one record of each of two topics, in any order

static void
s_recv_both (dafka_consumer_t *consumer, const char *first, const char *second)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    bool found [2] = { false, false };
    while (!found [0] || !found [1]) {
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        const char *subject = dafka_consumer_msg_subject (msg);
        CHECK (streq (subject, first) || streq (subject, second));
        found [streq (subject, second)] = true;
    }
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_many_topics (zconfig_t *config)
{
    zactor_t *first = test_producer_new ("many-1", config);
    zactor_t *second = test_producer_new ("many-2", config);
    zactor_t *other = test_producer_new ("other", config);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "consumer/topic_match", "prefix");
    test_case ("consumer/topic_match = prefix: a topic stands for all that begin with it");
    dafka_consumer_t *prefix = test_consumer_new ("many", config);
    zconfig_put (config, "consumer/topic_match", "exact");
    test_case ("the empty topic stands for all");
    dafka_consumer_t *all = test_consumer_new ("", config);
    dafka_consumer_t *exact = test_consumer_new ("many-2", config);
    test_send (other, "%s", "of the other topic");
    test_send (first, "%s", "of the first topic");
    test_send (second, "%s", "of the second topic");
    s_recv_both (prefix, "many-1", "many-2");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int found = 0;
    while (found != 7) {
        CHECK (dafka_consumer_msg_recv (msg, all) == 0);
        const char *subject = dafka_consumer_msg_subject (msg);
        found |= streq (subject, "many-1") ? 1 : streq (subject, "many-2") ? 2 : streq (subject, "other") ? 4 : 0;
    }
    CHECK (dafka_consumer_msg_recv (msg, exact) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "many-2");
    dafka_consumer_msg_destroy (&msg);
    CHECK (dafka_consumer_unsubscribe (all, "") == 0);
    CHECK (zlist_size (dafka_consumer_subscription (all)) == 0);
    dafka_consumer_destroy (&prefix);
    dafka_consumer_destroy (&all);
    dafka_consumer_destroy (&exact);
    zactor_destroy (&first);
    zactor_destroy (&second);
    zactor_destroy (&other);
}

static void
s_test_refused_producers (zconfig_t *config, const char *topic)
{
    size_t rounds = test_scale (400, 16);
    for (size_t round = 0; round < rounds; round++) {
        const char *refused_topic = round % 8 < 4 ? topic : "";
        test_case ("a producer with a topic of %lu octets does not start", (unsigned long) strlen (refused_topic));
        dafka_producer_args_t args = { refused_topic, config };
        zactor_t *refused = zactor_new (dafka_producer, &args);
        CHECK (refused);
        s_call_producer (refused, round % 4);

        test_case ("a publisher with a topic of 256 octets does not start");
        dafka_publisher_args_t publisher_args = { refused_topic, config };
        refused = zactor_new (dafka_publisher_actor, &publisher_args);
        CHECK (refused);
        s_call_publisher (refused, round % 4);
    }
}

int
main (void)
{
    test_begin ("test_limits", 60);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower and store");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);

    char topic [257];
    memset (topic, 't', sizeof (topic));
    topic [255] = 0;
    s_test_longest_topic (config, topic);
    topic [255] = 't';
    topic [256] = 0;
    s_test_too_long_topic (config, topic);
    s_test_many_topics (config);
    s_test_refused_producers (config, topic);
    s_test_longest_record (config);

    test_case ("ending store and tower");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
