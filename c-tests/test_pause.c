/*  =========================================================================
    test_pause - a consumer stops and continues to read a topic, and counts the records that are left
    =========================================================================
*/

#include "testing.h"

#define PAUSED "paused"
#define OTHER "other"

//  --------------------------------------------------------------------------
//  A reader of two topics with one partition each

typedef struct {
    dafka_consumer_t *consumer;
    dafka_consumer_msg_t *msg;
    uint64_t paused_next;               //  The next record of each topic
    uint64_t other_next;
    bool is_paused;
} reader_t;

static void
s_read_one (reader_t *self)
{
    CHECK (dafka_consumer_msg_recv (self->msg, self->consumer) == 0);
    bool is_other = streq (dafka_consumer_msg_subject (self->msg), OTHER);
    uint64_t *next = is_other? &self->other_next: &self->paused_next;
    test_at (*next);
    CHECK (is_other || !self->is_paused);
    CHECK (dafka_consumer_msg_sequence (self->msg) == *next);
    char *text = dafka_consumer_msg_strdup (self->msg);
    CHECK (strtoull (text, NULL, 10) == *next);
    zstr_free (&text);
    ++*next;
}

//  Reads until both topics have been read up to these records

static void
s_read (reader_t *self, uint64_t paused_end, uint64_t other_end)
{
    while (self->paused_next < paused_end || self->other_next < other_end)
        s_read_one (self);
    CHECK (self->paused_next == paused_end && self->other_next == other_end);
}

static void
s_pause (reader_t *self)
{
    CHECK (dafka_consumer_pause (self->consumer, PAUSED) == 0);
    self->is_paused = true;
}

static void
s_resume (reader_t *self)
{
    CHECK (dafka_consumer_resume (self->consumer, PAUSED) == 0);
    self->is_paused = false;
}

static bool
s_is_readable (reader_t *self)
{
    return (zsock_events (dafka_consumer_record_source (self->consumer)) & ZMQ_POLLIN) != 0;
}

//  Waits until the consumer knows this number of records that are left

static void
s_wait_for_lag (reader_t *self, const char *topic, int64_t lag)
{
    for (int64_t known = -1; known != lag; zclock_sleep (1)) {
        known = dafka_consumer_lag (self->consumer, topic);
        test_at ((size_t) known);
        CHECK (known >= 0);
    }
}

static void
s_send (zactor_t *producer, size_t first, size_t end)
{
    for (size_t number = first; number < end; number++)
        test_send (producer, "%lu", (unsigned long) number);
}

//  --------------------------------------------------------------------------

static void
s_test_one_pause (reader_t *reader, zactor_t *paused, zactor_t *other, size_t count)
{
    test_case ("while a topic is paused, only the other one is read");
    s_send (paused, 0, count);
    s_send (other, 0, count);
    while (reader->paused_next == 0)
        s_read_one (reader);
    s_pause (reader);
    s_read (reader, reader->paused_next, count);
    CHECK (!s_is_readable (reader));

    test_case ("what is published meanwhile is counted, and not delivered");
    s_send (paused, count, 2 * count);
    s_wait_for_lag (reader, PAUSED, (int64_t) (2 * count - reader->paused_next));
    CHECK (dafka_consumer_lag (reader->consumer, OTHER) == 0);
    CHECK (dafka_consumer_lag (reader->consumer, "") == (int64_t) (2 * count - reader->paused_next));
    CHECK (!s_is_readable (reader));
    s_send (other, count, count + 1);
    s_read (reader, reader->paused_next, count + 1);

    test_case ("a second pause changes nothing");
    s_pause (reader);
    CHECK (dafka_consumer_lag (reader->consumer, PAUSED) == (int64_t) (2 * count - reader->paused_next));

    test_case ("after the pause, no record is missing");
    s_resume (reader);
    s_resume (reader);
    s_read (reader, 2 * count, count + 1);
    s_wait_for_lag (reader, "", 0);
}

static void
s_test_many_pauses (reader_t *reader, zactor_t *paused, zactor_t *other, size_t count)
{
    test_case ("many pauses while records arrive");
    size_t paused_end = (size_t) reader->paused_next, other_end = (size_t) reader->other_next;
    for (int turn = 0; turn < 100; turn++) {
        s_send (paused, paused_end, paused_end + count / 50);
        s_send (other, other_end, other_end + count / 50);
        paused_end += count / 50;
        other_end += count / 50;
        if (turn % 2)
            s_resume (reader);
        else
            s_pause (reader);
        for (size_t number = 0; number < count / 100 && reader->other_next < other_end; number++)
            s_read_one (reader);
    }
    s_read (reader, paused_end, other_end);
}

static void
s_test_seek (reader_t *reader, const char *partition)
{
    test_case ("a seek during a pause");
    uint64_t end = reader->paused_next;
    CHECK (dafka_consumer_seek (reader->consumer, PAUSED, partition, end - 10) == 0);
    CHECK (test_poll (dafka_consumer_record_source (reader->consumer), 30000));
    s_pause (reader);
    CHECK (!s_is_readable (reader));
    CHECK (dafka_consumer_seek (reader->consumer, PAUSED, partition, end - 5) == 0);
    CHECK (!s_is_readable (reader));
    reader->paused_next = end - 5;
    s_resume (reader);
    s_read (reader, end, reader->other_next);
}

static void
s_test_end_of_producer (reader_t *reader, zactor_t **paused)
{
    test_case ("during a pause, the producer publishes and ends: its records come from the store");
    size_t end = (size_t) reader->paused_next + 100;
    s_pause (reader);
    s_send (*paused, end - 100, end);
    zactor_destroy (paused);
    s_resume (reader);
    s_read (reader, end, reader->other_next);

    test_case ("the end of the subscription ends the pause");
    CHECK (dafka_consumer_seek (reader->consumer, PAUSED, dafka_consumer_msg_address (reader->msg), end - 10) == 0);
    CHECK (test_poll (dafka_consumer_record_source (reader->consumer), 30000));
    s_pause (reader);
    CHECK (dafka_consumer_unsubscribe (reader->consumer, PAUSED) == 0);
    s_wait_for_lag (reader, PAUSED, 0);
    CHECK (dafka_consumer_subscribe (reader->consumer, PAUSED) == 0);
    reader->is_paused = false;
    reader->paused_next = 0;
    s_read (reader, end, reader->other_next);
}

//  --------------------------------------------------------------------------

static void
s_check_refused (dafka_consumer_t *consumer, const char *topic, int error)
{
    errno = 0;
    CHECK (dafka_consumer_pause (consumer, topic) == -1 && errno == error);
    if (error == ENOTSUP) {
        errno = 0;
        CHECK (dafka_consumer_lag (consumer, topic) == -1 && errno == error);
    }
    else {
        errno = 0;
        CHECK (dafka_consumer_resume (consumer, topic) == -1 && errno == error);
    }
}

static void
s_test_refused (zconfig_t *config)
{
    test_case ("invalid topics");
    dafka_consumer_t *consumer = test_consumer_new (OTHER, config);
    s_check_refused (consumer, PAUSED, EINVAL);
    s_check_refused (consumer, "", EINVAL);
    CHECK (dafka_consumer_lag (consumer, PAUSED) == 0);
    dafka_consumer_destroy (&consumer);

    test_case ("a program that reads the record source itself");
    consumer = test_consumer_new (OTHER, config);
    zmsg_t *record = zmsg_recv (dafka_consumer_record_source (consumer));
    CHECK (record);
    zmsg_destroy (&record);
    s_check_refused (consumer, OTHER, ENOTSUP);
    dafka_consumer_destroy (&consumer);
}

int
main (void)
{
    test_begin ("pause", 240);
    const size_t count = test_scale (4000, 1000);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/head_interval", "50");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *paused = test_producer_new (PAUSED, config);
    zactor_t *other = test_producer_new (OTHER, config);
    char *partition = strdup (dafka_producer_address (paused));
    reader_t reader = { test_consumer_new (PAUSED, config), dafka_consumer_msg_new (), 0, 0, false };
    CHECK (dafka_consumer_subscribe (reader.consumer, OTHER) == 0);
    s_test_one_pause (&reader, paused, other, count);
    s_test_many_pauses (&reader, paused, other, count);
    s_test_seek (&reader, partition);
    s_test_end_of_producer (&reader, &paused);
    s_test_refused (config);
    dafka_consumer_msg_destroy (&reader.msg);
    dafka_consumer_destroy (&reader.consumer);
    zstr_free (&partition);
    zactor_destroy (&other);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
