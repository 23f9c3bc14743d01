/*  =========================================================================
    test_seek - a consumer continues at another record: back, ahead, beyond the last record, before it knows the
    partition; live, from a store, and while the application reads slowly
    =========================================================================
*/

#include "testing.h"

#define TOPIC "seek"

//  --------------------------------------------------------------------------
//  A reader of two partitions, which checks the order of both

typedef struct {
    dafka_consumer_t *consumer;
    dafka_consumer_msg_t *msg;
    const char *partition;              //  The partition whose position changes
    uint64_t next;                      //  Its next record
    uint64_t other_next;                //  The next record of the other partition
} reader_t;

static reader_t
s_reader_new (zconfig_t *config, const char *partition)
{
    reader_t self = { test_consumer_new (TOPIC, config), dafka_consumer_msg_new (), partition, 0, 0 };
    return self;
}

static void
s_reader_destroy (reader_t *self)
{
    dafka_consumer_msg_destroy (&self->msg);
    dafka_consumer_destroy (&self->consumer);
}

//  Reads count records of the partition. On the way, checks the other partition's records too.
static void
s_read (reader_t *self, size_t count)
{
    while (count) {
        CHECK (dafka_consumer_msg_recv (self->msg, self->consumer) == 0);
        char *text = dafka_consumer_msg_strdup (self->msg);
        uint64_t sequence = dafka_consumer_msg_sequence (self->msg);
        CHECK (strtoull (text, NULL, 10) == sequence);
        zstr_free (&text);
        test_at (sequence);
        if (streq (dafka_consumer_msg_address (self->msg), self->partition)) {
            CHECK (sequence == self->next);
            self->next++;
            count--;
        }
        else {
            CHECK (sequence == self->other_next);
            self->other_next++;
        }
    }
}

static void
s_seek (reader_t *self, uint64_t sequence)
{
    CHECK (dafka_consumer_seek (self->consumer, TOPIC, self->partition, sequence) == 0);
    self->next = sequence;
}

//  --------------------------------------------------------------------------

static void
s_test_positions (reader_t *reader, size_t count)
{
    test_case ("back to the first record, before and after the consumer passes records through its queue");
    s_read (reader, 10);
    s_seek (reader, 0);
    s_read (reader, count / 2);
    s_seek (reader, 0);
    s_read (reader, 20);

    test_case ("ahead, and to the current record");
    s_seek (reader, count - 5);
    s_read (reader, 1);
    s_seek (reader, reader->next);
    s_read (reader, 4);

    test_case ("many changes while records arrive");
    srand (1);
    for (int turn = 0; turn < 200; turn++) {
        s_seek (reader, (uint64_t) rand () % count);
        size_t rest = count - (size_t) reader->next;
        s_read (reader, rest < 50 ? rest : 50);
    }
    test_case ("the other partition is complete");
    s_seek (reader, 0);
    s_read (reader, count);
    while (reader->other_next < count) {
        CHECK (dafka_consumer_msg_recv (reader->msg, reader->consumer) == 0);
        CHECK (dafka_consumer_msg_sequence (reader->msg) == reader->other_next);
        reader->other_next++;
    }
}

static void
s_test_beyond (reader_t *reader, zactor_t *producer, size_t count)
{
    test_case ("beyond the last record");
    s_seek (reader, count + 5);
    CHECK ((zsock_events (dafka_consumer_record_source (reader->consumer)) & ZMQ_POLLIN) == 0);
    for (size_t number = count; number < count + 10; number++)
        test_send (producer, "%lu", (unsigned long) number);
    s_read (reader, 5);

    test_case ("away from records that wait for the application");
    CHECK (test_poll (dafka_consumer_record_source (reader->consumer), 0) == false);
    s_seek (reader, 0);
    CHECK (test_poll (dafka_consumer_record_source (reader->consumer), 30000));
    s_seek (reader, count + 10);
    CHECK ((zsock_events (dafka_consumer_record_source (reader->consumer)) & ZMQ_POLLIN) == 0);
    test_send (producer, "%lu", (unsigned long) count + 10);
    s_read (reader, 1);
}

//  A partition of a producer that has ended. The consumer would not read the partition at all otherwise.
static void
s_test_unknown (zconfig_t *config, const char *partition, const char *other)
{
    test_case ("a partition that the consumer does not know yet");
    zconfig_t *latest = test_config_copy (config);
    zconfig_put (latest, "consumer/offset/reset", "latest");
    const char *partitions [] = { partition, other };
    for (int index = 0; index < 2; index++) {
        reader_t reader = s_reader_new (latest, partitions [index]);
        s_seek (&reader, index? 0: 123);
        s_read (&reader, 100);
        s_reader_destroy (&reader);
    }
    zconfig_destroy (&latest);
}

static void
s_check_refused (dafka_consumer_t *consumer, const char *topic, const char *partition, uint64_t sequence, int error)
{
    errno = 0;
    CHECK (dafka_consumer_seek (consumer, topic, partition, sequence) == -1);
    CHECK (errno == error);
}

static void
s_test_refused (zconfig_t *config, const char *partition)
{
    test_case ("invalid arguments");
    char name [257];
    memset (name, 'n', 256);
    name [256] = 0;
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, config);
    s_check_refused (consumer, "other", partition, 0, EINVAL);
    s_check_refused (consumer, name, partition, 0, EINVAL);
    s_check_refused (consumer, TOPIC, name, 0, EINVAL);
    s_check_refused (consumer, TOPIC, "", 0, EINVAL);
    s_check_refused (consumer, TOPIC, partition, UINT64_MAX, EINVAL);

    dafka_consumer_destroy (&consumer);

    test_case ("a program that reads the record source itself");
    consumer = test_consumer_new (TOPIC, config);
    zmsg_t *record = zmsg_recv (dafka_consumer_record_source (consumer));
    CHECK (record);
    zmsg_destroy (&record);
    s_check_refused (consumer, TOPIC, partition, 0, ENOTSUP);
    record = zmsg_recv (dafka_consumer_record_source (consumer));
    CHECK (record && zmsg_size (record) == 3);
    zmsg_destroy (&record);
    dafka_consumer_destroy (&consumer);

    test_case ("refused while the pipe is full: no record is lost");
    zsys_set_pipehwm (20);
    consumer = test_consumer_new (TOPIC, config);
    zsys_set_pipehwm (1000);
    uint64_t next [2] = { 0, 0 };
    for (size_t number = 0; number < 400; number++) {
        test_at (number);
        record = zmsg_recv (dafka_consumer_record_source (consumer));
        CHECK (record && zmsg_size (record) == 3);
        uint64_t *expected = &next [zframe_streq (zmsg_next (record)? zmsg_next (record): NULL, partition)];
        char *text = zframe_strdup (zmsg_last (record));
        CHECK (strtoull (text, NULL, 10) == *expected);
        ++*expected;
        zstr_free (&text);
        zmsg_destroy (&record);
        s_check_refused (consumer, TOPIC, partition, 0, ENOTSUP);
    }
    dafka_consumer_destroy (&consumer);

    test_case ("a sink of the application");
    zsock_t *sink = NULL;
    zsock_t *source = zsys_create_pipe (&sink);
    dafka_consumer_args_t args = { config, sink };
    consumer = dafka_consumer_new (&args);
    CHECK (consumer && dafka_consumer_subscribe (consumer, TOPIC) == 0);
    s_check_refused (consumer, TOPIC, partition, 0, ENOTSUP);
    dafka_consumer_destroy (&consumer);
    zsock_destroy (&source);
}

int
main (void)
{
    test_begin ("seek", 240);
    const size_t count = test_scale (4000, 1500);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *producers [] = { test_producer_new (TOPIC, config), test_producer_new (TOPIC, config) };
    char *partition = strdup (dafka_producer_address (producers [0]));
    char *other = strdup (dafka_producer_address (producers [1]));
    reader_t reader = s_reader_new (config, partition);
    for (size_t number = 0; number < count; number++)
        for (int index = 0; index < 2; index++)
            test_send (producers [index], "%lu", (unsigned long) number);
    s_test_positions (&reader, count);
    s_test_beyond (&reader, producers [0], count);
    s_test_refused (config, partition);
    zactor_destroy (&producers [0]);
    zactor_destroy (&producers [1]);
    test_case ("records that only a store has");
    s_seek (&reader, count / 3);
    s_read (&reader, count / 3);
    s_reader_destroy (&reader);
    s_test_unknown (config, partition, other);
    zstr_free (&partition);
    zstr_free (&other);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
