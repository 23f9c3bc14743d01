/*  =========================================================================
    test_record_queue - after its first records, a consumer hands over records through a queue, not through the record
    source. The record source stays readable while records can be received, for zpoller and zloop; its timeout applies;
    both receiving functions work; a program that reads some records from the record source itself keeps getting them
    there; consumers that are not read
    =========================================================================
*/

#include "testing.h"

#define PATIENCE_MS 60000
//  A consumer switches to its queue after a thousand records (see dafka_consumer_record_source).
#define SWITCH_COUNT 1000
//  More than the record source and the queue hold
#define MANY (SWITCH_COUNT + test_scale (40000, 4000))

//  Publishes the numbers from *sent_p up to the one before end.
static void
s_send (zactor_t *producer, size_t *sent_p, size_t end)
{
    for (; *sent_p < end; ++*sent_p)
        test_send (producer, "%lu", (unsigned long) *sent_p);
}

static void
s_check (dafka_consumer_msg_t *msg, zactor_t *producer, const char *topic, size_t number)
{
    test_at (number);
    char *text = zsys_sprintf ("%lu", (unsigned long) number);
    CHECK_STR (dafka_consumer_msg_subject (msg), topic);
    CHECK_STR (dafka_consumer_msg_address (msg), dafka_producer_address (producer));
    CHECK (dafka_consumer_msg_content_size (msg) == strlen (text));
    CHECK (dafka_consumer_msg_streq (msg, text));
    zstr_free (&text);
}

//  Receives the next record, with one of the two functions, and checks it.
static void
s_recv (dafka_consumer_t *consumer, dafka_consumer_msg_t *msg, zactor_t *producer, const char *topic, size_t number)
{
    if (number % 3 == 0)
        CHECK (dafka_consumer_msg_recv_from_socket (msg, dafka_consumer_record_source (consumer)) == 0);
    else
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    s_check (msg, producer, topic, number);
}

//  Reads the next record as CZMQ does, and checks it.
static void
s_recv_raw (dafka_consumer_t *consumer, zactor_t *producer, const char *topic, size_t number)
{
    test_at (number);
    zmsg_t *record = zmsg_recv (dafka_consumer_record_source (consumer));
    CHECK (record && zmsg_size (record) == 3);
    char *text = zsys_sprintf ("%lu", (unsigned long) number);
    CHECK (zframe_streq (zmsg_first (record), topic));
    CHECK (zframe_streq (zmsg_next (record), dafka_producer_address (producer)));
    CHECK (zframe_streq (zmsg_next (record), text));
    zstr_free (&text);
    zmsg_destroy (&record);
}

//  --------------------------------------------------------------------------

//  Numbers of records that are published at once. The consumer switches within the third burst.
static const size_t s_bursts [] = { 1, 990, 20, 1, 1, 2, 3, 10, 100, 1000, 3000, 1 };

static void
s_test_level (zconfig_t *config)
{
    test_case ("zpoller: the record source is readable exactly while records are left");
    const char *topic = "level";
    zactor_t *producer = test_producer_new (topic, config);
    dafka_consumer_t *consumer = test_consumer_new (topic, config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    zsock_t *source = dafka_consumer_record_source (consumer);
    zpoller_t *poller = zpoller_new (source, NULL);
    //  A record source that is readable without a record, or a record without a readable source, is detected.
    zsock_set_rcvtimeo (source, 0);
    size_t sent = 0, received = 0;
    for (size_t index = 0; index < sizeof (s_bursts) / sizeof (s_bursts [0]); index++) {
        s_send (producer, &sent, sent + s_bursts [index]);
        for (; received < sent; received++) {
            CHECK (zpoller_wait (poller, PATIENCE_MS) == source);
            s_recv (consumer, msg, producer, topic, received);
        }
        CHECK (!zpoller_wait (poller, 0));
        CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
        CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == -1);
        CHECK (!zpoller_wait (poller, 0));
        //  A call without a record leaves the message unchanged.
        s_check (msg, producer, topic, received - 1);
    }

    test_case ("the timeout of the record source");
    zsock_set_rcvtimeo (source, 50);
    int64_t start_ms = zclock_mono ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
    CHECK (zclock_mono () - start_ms >= 49);
    zsock_set_rcvtimeo (source, -1);
    for (int round = 0; round < 20; round++) {
        s_send (producer, &sent, sent + 1);
        s_recv (consumer, msg, producer, topic, received++);
    }

    test_case ("a message outlives its consumer");
    s_send (producer, &sent, sent + 1);
    dafka_consumer_msg_t *kept = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (kept, consumer) == 0);
    zpoller_destroy (&poller);
    dafka_consumer_destroy (&consumer);
    s_check (kept, producer, topic, received);
    dafka_consumer_msg_destroy (&kept);
    dafka_consumer_msg_destroy (&msg);
    zactor_destroy (&producer);
}

//  --------------------------------------------------------------------------

typedef struct {
    dafka_consumer_t *consumer;
    dafka_consumer_msg_t *msg;
    zactor_t *producer;
    const char *topic;
    size_t received, count;
} reading_t;

static int
s_read (zloop_t *loop, zsock_t *source, void *arg)
{
    (void) loop;
    (void) source;
    reading_t *self = (reading_t *) arg;
    s_recv (self->consumer, self->msg, self->producer, self->topic, self->received);
    return ++self->received < self->count? 0: -1;
}

static void
s_test_loop (zconfig_t *config)
{
    test_case ("zloop: one record per call of the handler");
    const char *topic = "loop";
    zactor_t *producer = test_producer_new (topic, config);
    dafka_consumer_t *consumer = test_consumer_new (topic, config);
    reading_t reading = { consumer, dafka_consumer_msg_new (), producer, topic, 0, SWITCH_COUNT + 3000 };
    zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), 0);
    size_t sent = 0;
    s_send (producer, &sent, reading.count);
    zloop_t *loop = zloop_new ();
    zloop_reader (loop, dafka_consumer_record_source (consumer), s_read, &reading);
    zloop_start (loop);
    CHECK (reading.received == reading.count);
    zloop_destroy (&loop);
    CHECK (!test_poll (dafka_consumer_record_source (consumer), 0));
    dafka_consumer_msg_destroy (&reading.msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

//  --------------------------------------------------------------------------

static void
s_test_raw (zconfig_t *config)
{
    //  The reader's first records come while others wait, so that some of those are in the record source.
    test_case ("a program that reads some of its first records itself finds each later one in the record source");
    const char *topic = "raw";
    zactor_t *producer = test_producer_new (topic, config);
    size_t sent = 0, count = SWITCH_COUNT + 3000;
    s_send (producer, &sent, count);
    static const size_t own [] = { 0, 500, SWITCH_COUNT - 2 };
    for (size_t index = 0; index < sizeof (own) / sizeof (own [0]); index++) {
        dafka_consumer_t *consumer = test_consumer_new (topic, config);
        dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
        for (size_t number = 0; number < count; number++)
            if (number == own [index] || (number > SWITCH_COUNT + 100 && number % 2))
                s_recv_raw (consumer, producer, topic, number);
            else
                s_recv (consumer, msg, producer, topic, number);
        CHECK (!test_poll (dafka_consumer_record_source (consumer), 0));
        dafka_consumer_msg_destroy (&msg);
        dafka_consumer_destroy (&consumer);
    }
    zactor_destroy (&producer);
}

//  --------------------------------------------------------------------------

static void
s_test_unread (zconfig_t *config)
{
    test_case ("a consumer that is not read for a while");
    const char *topic = "unread";
    //  Beyond this the consumer drops records, and requests them again.
    zconfig_t *small = test_config_copy (config);
    zconfig_put (small, "consumer/max_unread_bytes", "100000");
    zactor_t *producer = test_producer_new (topic, config);
    dafka_consumer_t *consumer = test_consumer_new (topic, small);
    dafka_consumer_t *witness = test_consumer_new (topic, config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t sent = 0, received = 0, witnessed = 0;
    //  Once before the switch, once in the queue
    for (int round = 1; round <= 2; round++) {
        s_send (producer, &sent, round * MANY);
        //  When the witness has all of them, the other one is full.
        for (; witnessed < sent; witnessed++)
            s_recv (witness, msg, producer, topic, witnessed);
        for (; received < sent; received++)
            s_recv (consumer, msg, producer, topic, received);
        CHECK (!test_poll (dafka_consumer_record_source (consumer), 0));
    }

    test_case ("destroying a consumer that is full, before and after it has switched");
    s_send (producer, &sent, 3 * MANY);
    dafka_consumer_t *fresh = test_consumer_new (topic, small);
    for (; witnessed < sent; witnessed++)
        s_recv (witness, msg, producer, topic, witnessed);
    CHECK (test_poll (dafka_consumer_record_source (fresh), PATIENCE_MS));
    int64_t start_ms = zclock_mono ();
    dafka_consumer_destroy (&fresh);
    dafka_consumer_destroy (&consumer);
    CHECK (zclock_mono () - start_ms < PATIENCE_MS / 4);
    dafka_consumer_destroy (&witness);
    dafka_consumer_msg_destroy (&msg);
    zactor_destroy (&producer);
    zconfig_destroy (&small);
}

//  --------------------------------------------------------------------------

static void
s_test_partitions (zconfig_t *config)
{
    test_case ("records of several partitions, of which some are then unsubscribed");
    static const char *topics [] = { "mixed-a", "mixed-b", "mixed-b" };
    zactor_t *producers [3];
    size_t sent [3] = { 0, 0, 0 }, received [3] = { 0, 0, 0 };
    dafka_consumer_t *consumer = test_consumer_new (NULL, config);
    CHECK (dafka_consumer_subscribe (consumer, "mixed-a") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "mixed-b") == 0);
    for (int index = 0; index < 3; index++)
        producers [index] = test_producer_new (topics [index], config);
    for (size_t end = 1; end <= 2000; end++)
        for (int index = 0; index < 3; index++)
            s_send (producers [index], &sent [index], end);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (int count = 0; count < 3 * 2000; count++) {
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        int index = 0;
        while (index < 2 && !streq (dafka_consumer_msg_address (msg), dafka_producer_address (producers [index])))
            index++;
        s_check (msg, producers [index], topics [index], received [index]++);
    }
    CHECK (dafka_consumer_unsubscribe (consumer, "mixed-b") == 0);
    s_send (producers [0], &sent [0], 2100);
    for (; received [0] < 2100; received [0]++) {
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        s_check (msg, producers [0], topics [0], received [0]);
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    for (int index = 0; index < 3; index++)
        zactor_destroy (&producers [index]);
}

int
main (void)
{
    test_begin ("test_record_queue", 240);
    zconfig_t *config = test_config_without_store ();
    test_case ("starting a tower");
    zactor_t *tower = test_tower_new (config);

    s_test_level (config);
    s_test_loop (config);
    s_test_raw (config);
    s_test_partitions (config);
    s_test_unread (config);

    test_case ("ending the tower");
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
