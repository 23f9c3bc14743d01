/*  =========================================================================
    test_limits - topics of 255 bytes work, longer ones are refused; calls on a producer that could not start fail, and
    do not hang; records longer than producer/max_record_bytes are refused; producer/max_unacked_bytes limits memory
    =========================================================================
*/

#include "testing.h"

static void
s_test_longest_topic (zconfig_t *config, const char *topic)
{
    test_case ("a topic of 255 bytes, live");
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

    test_case ("a topic of 255 bytes, from the store");
    consumer = test_consumer_new (topic, config);
    for (int number = 0; number < 10; number++)
        test_recv (consumer, topic, address, "hello");
    dafka_consumer_destroy (&consumer);
    free (address);
}

//  Records of 1,001 bytes with producer/max_record_bytes = 1000, through each sending function
static void
s_test_longest_record (zconfig_t *config)
{
    test_case ("records of producer/max_record_bytes are published, longer ones are refused");
    zconfig_put (config, "producer/max_record_bytes", "1000");
    zactor_t *producer = test_producer_new ("records", config);
    dafka_publisher_args_t args = { "records", config };
    zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
    CHECK (publisher);
    dafka_consumer_t *consumer = test_consumer_new ("records", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    byte bytes [1001] = { 0 };
    for (int ours = 0; ours < 2; ours++) {
        for (size_t size = 1000; size <= 1001; size++) {
            zframe_t *frame = zframe_new (bytes, size);
            if (ours) {
                CHECK (dafka_producer_msg_set_content_buffer (msg, bytes, size) == 0);
                zframe_destroy (&frame);
            }
            else
                dafka_producer_msg_set_content (msg, &frame);
            CHECK (dafka_producer_msg_send (msg, producer) == (size == 1000 ? 0 : -1));
            CHECK (dafka_producer_msg_content_size (msg) == (size == 1000 ? 0 : 1001));
        }
    }
    zframe_t *frame = zframe_new (bytes, 1001);
    CHECK (dafka_publisher_publish (publisher, &frame) == -1);
    CHECK (frame == NULL);
    zstr_sendm (producer, "P");
    frame = zframe_new (bytes, 1001);
    CHECK (zframe_send (&frame, producer, 0) == 0);
    test_send (producer, "short");

    test_case ("the accepted records arrive, numbered without a gap");
    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    for (int number = 0; number < 2; number++) {
        CHECK (dafka_consumer_msg_recv (received, consumer) == 0);
        CHECK (dafka_consumer_msg_content_size (received) == 1000);
    }
    dafka_consumer_msg_destroy (&received);
    test_recv (consumer, "records", dafka_producer_address (producer), "short");
    dafka_producer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    //  Both end: no record waits for an acknowledgement
    zactor_destroy (&publisher);
    zactor_destroy (&producer);
}

static void
s_test_too_long_topic (zconfig_t *config, const char *topic)
{
    test_case ("a consumer refuses a topic of 256 bytes");
    dafka_consumer_t *consumer = test_consumer_new ("short", config);
    CHECK (dafka_consumer_subscribe (consumer, topic) == -1);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 1);

    test_case ("a subscriber refuses a topic of 256 bytes");
    zactor_t *subscriber = test_subscriber_new (config);
    CHECK (dafka_subscriber_subscribe (subscriber, topic) == -1);
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", topic) == 0);
    CHECK (dafka_subscriber_subscribe (subscriber, "short") == 0);

    test_case ("consumer and subscriber work after that");
    zactor_t *producer = test_producer_new ("short", config);
    test_send (producer, "hello");
    test_recv (consumer, "short", dafka_producer_address (producer), "hello");
    test_recv_from (subscriber, "short", NULL, "hello");
    zactor_destroy (&producer);
    zactor_destroy (&subscriber);
    dafka_consumer_destroy (&consumer);
}

//  The actor ends while the program calls functions on it. Each call must return, whenever the program makes it. A
//  record that is sent right before the pipe closes may seem to be sent. Soon after that, sending must fail.

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
    test_case ("consumer/topic_match = prefix: a topic matches all topics that begin with it");
    dafka_consumer_t *prefix = test_consumer_new ("many", config);
    zconfig_put (config, "consumer/topic_match", "exact");
    test_case ("the empty topic matches all");
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
        test_case ("a producer with a topic of %lu bytes does not start", (unsigned long) strlen (refused_topic));
        dafka_producer_args_t args = { refused_topic, config };
        zactor_t *refused = zactor_new (dafka_producer, &args);
        CHECK (refused);
        s_call_producer (refused, round % 4);

        test_case ("a publisher with a topic of %lu bytes does not start", (unsigned long) strlen (refused_topic));
        dafka_publisher_args_t publisher_args = { refused_topic, config };
        refused = zactor_new (dafka_publisher_actor, &publisher_args);
        CHECK (refused);
        s_call_publisher (refused, round % 4);
    }
}

//  --------------------------------------------------------------------------
//  producer/max_unacked_bytes

//  What a record occupies before it is published, besides its content. A published record occupies more or less than
//  that, depending on how many records its batch has. See the documentation of the key.
#define OVERHEAD 128
#define CONTENT_SIZE 100
#define LIMIT_RECORDS 10

static zconfig_t *
s_unacked_config (const char *terminate_unacked)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_putf (config, "producer/max_unacked_bytes", "%d", LIMIT_RECORDS * (CONTENT_SIZE + OVERHEAD));
    zconfig_put (config, "producer/terminate_unacked", terminate_unacked);
    return config;
}

//  Sends a record of 100 bytes with one of the sending functions
static int
s_send_100 (int (*send) (dafka_producer_msg_t *, zactor_t *), zactor_t *producer)
{
    byte content [CONTENT_SIZE] = { 0 };
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_set_content_buffer (msg, content, sizeof content) == 0);
    int rc = send (msg, producer);
    dafka_producer_msg_destroy (&msg);
    return rc;
}

static void
s_test_full_producer_ends (void)
{
    test_case ("a producer at producer/max_unacked_bytes ends at once with terminate_unacked");
    zconfig_t *config = s_unacked_config ("1");
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("unacked", config);
    while (s_send_100 (dafka_producer_msg_try_send, producer) == 0)
        ;
    zactor_destroy (&producer);

    //  A program that writes to the pipe directly does not wait, and can end the producer too
    producer = test_producer_new ("unacked", config);
    for (int i = 0; i < 5 * LIMIT_RECORDS; i++) {
        byte content [CONTENT_SIZE] = { 0 };
        zstr_sendm (producer, "P");
        zframe_t *frame = zframe_new (content, sizeof content);
        CHECK (zframe_send (&frame, producer, 0) == 0);
    }
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

//  Sends more records than fit, and then reports that it has sent them
static void
s_sender (zsock_t *pipe, void *producer)
{
    zsock_signal (pipe, 0);
    for (int i = 0; i < 3 * LIMIT_RECORDS; i++)
        CHECK (s_send_100 (dafka_producer_msg_send, (zactor_t *) producer) == 0);
    zstr_send (pipe, "SENT");
    char *term = zstr_recv (pipe);
    zstr_free (&term);
}

static void
s_test_sending_waits (void)
{
    test_case ("at producer/max_unacked_bytes, sending waits until a store has acknowledged");
    zconfig_t *config = s_unacked_config ("0");
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("unacked", config);
    zactor_t *sender = zactor_new (s_sender, producer);
    zpoller_t *poller = zpoller_new (sender, NULL);
    //  Sending does not continue without a store
    CHECK (zpoller_wait (poller, 500) == NULL);
    zactor_t *store = test_store_new (config);
    CHECK (zpoller_wait (poller, 60000) == sender);
    char *word = zstr_recv (sender);
    CHECK (streq (word, "SENT"));
    zstr_free (&word);
    zpoller_destroy (&poller);
    zactor_destroy (&sender);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("test_limits", 60);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower and store");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);

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

    s_test_full_producer_ends ();
    s_test_sending_waits ();
    return test_end ();
}
