/*  =========================================================================
    test_seek_time - a consumer continues at a time, or at the end: across two stores of which one is down, with a live
    producer without a store, while records wait for the application, and for topics that it selects
    =========================================================================
*/

#include "testing.h"

#define TOPIC "seek_time"
#define OTHER "other"
//  The timestamp of record 0, and the time from each record to the next
#define FIRST_MS 1500000000000
#define STEP_MS 10

//  Checks that a call returns -1 with an error number.
#define CHECK_ERRNO(call, expected) \
    do { \
        errno = 0; \
        CHECK ((call) == -1 && errno == (expected)); \
    } while (0)

//  --------------------------------------------------------------------------
//  Partitions whose records have known timestamps

typedef struct {
    zactor_t *producer;
    char *address;
    uint64_t count;                     //  The records that were sent
    uint64_t next;                      //  The record that the consumer must deliver next
} partition_t;

static partition_t
s_partition_new (const char *topic, zconfig_t *config)
{
    zactor_t *producer = test_producer_new (topic, config);
    partition_t self = { producer, strdup (dafka_producer_address (producer)), 0, 0 };
    return self;
}

static void
s_partition_destroy (partition_t *self)
{
    zactor_destroy (&self->producer);
    zstr_free (&self->address);
}

static int64_t
s_time_of (uint64_t sequence)
{
    return FIRST_MS + STEP_MS * (int64_t) sequence;
}

static void
s_send (partition_t *self, uint64_t count)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (msg);
    for (; count; count--) {
        char *text = zsys_sprintf ("%lu", (unsigned long) self->count);
        CHECK (dafka_producer_msg_set_content_str (msg, text) == 0);
        zstr_free (&text);
        dafka_producer_msg_set_timestamp (msg, s_time_of (self->count++));
        CHECK (dafka_producer_msg_send (msg, self->producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);
}

//  Receives one record, which must be the next one of its partition.

static void
s_read_one (dafka_consumer_t *consumer, partition_t *partitions, size_t count)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (msg && dafka_consumer_msg_recv (msg, consumer) == 0);
    size_t index = 0;
    while (index < count && !streq (partitions [index].address, dafka_consumer_msg_address (msg)))
        index++;
    CHECK (index < count);
    test_at (partitions [index].next);
    CHECK (dafka_consumer_msg_sequence (msg) == partitions [index].next);
    CHECK (dafka_consumer_msg_timestamp (msg) == s_time_of (partitions [index].next));
    char *text = dafka_consumer_msg_strdup (msg);
    CHECK (strtoull (text, NULL, 10) == partitions [index].next);
    zstr_free (&text);
    partitions [index].next++;
    dafka_consumer_msg_destroy (&msg);
}

//  Reads all records of some partitions up to their end.

static void
s_read (dafka_consumer_t *consumer, partition_t *partitions, size_t count)
{
    for (size_t index = 0; index < count; index++)
        while (partitions [index].next < partitions [index].count)
            s_read_one (consumer, partitions, count);
}

static bool
s_is_readable (dafka_consumer_t *consumer)
{
    return (zsock_events (dafka_consumer_record_source (consumer)) & ZMQ_POLLIN) != 0;
}

//  Continues at a time between two records.

static void
s_seek_to (dafka_consumer_t *consumer, const char *topic, uint64_t sequence, partition_t *partitions, size_t count)
{
    CHECK (dafka_consumer_seek_time (consumer, topic, s_time_of (sequence) - STEP_MS / 2) == 0);
    for (size_t index = 0; index < count; index++)
        partitions [index].next = sequence < partitions [index].count? sequence: partitions [index].count;
}

//  --------------------------------------------------------------------------

static void
s_test_two_stores (uint64_t count)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_t *configs [2] = { test_config_copy (config), test_config_copy (config) };
    partition_t partitions [2];
    zactor_t *tower = test_tower_new (config);
    zactor_t *stores [2];
    for (int index = 0; index < 2; index++) {
        char *db = test_new_path ("storedb");
        zconfig_put (configs [index], "store/db", db);
        zstr_free (&db);
        stores [index] = test_store_new (configs [index]);
        partitions [index] = s_partition_new (TOPIC, config);
        s_send (&partitions [index], count + 7 * (uint64_t) index);
        CHECK (dafka_producer_flush (partitions [index].producer, -1) == 0);
        zactor_destroy (&partitions [index].producer);
        zactor_destroy (&stores [index]);
    }
    test_case ("right after the subscription, with one of two stores");
    stores [1] = test_store_new (configs [1]);
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, config);
    s_seek_to (consumer, TOPIC, count / 3, partitions, 2);
    s_read (consumer, partitions + 1, 1);
    CHECK (!s_is_readable (consumer));
    test_case ("the other store starts");
    stores [0] = test_store_new (configs [0]);
    s_read (consumer, partitions, 2);
    CHECK (!s_is_readable (consumer));

    test_case ("a time after the end of one of two partitions, with another consumer");
    dafka_consumer_t *late = test_consumer_new (TOPIC, config);
    s_seek_to (late, "", count + 3, partitions, 2);
    s_read (late, partitions, 2);
    dafka_consumer_destroy (&late);
    test_case ("a store ends, and a known partition is searched");
    zactor_destroy (&stores [0]);
    s_seek_to (consumer, TOPIC, count / 5, partitions, 2);
    s_read (consumer, partitions + 1, 1);
    stores [0] = test_store_new (configs [0]);
    s_read (consumer, partitions, 2);
    dafka_consumer_destroy (&consumer);
    for (int index = 0; index < 2; index++) {
        zactor_destroy (&stores [index]);
        s_partition_destroy (&partitions [index]);
        zconfig_destroy (&configs [index]);
    }
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

//  --------------------------------------------------------------------------

static void
s_test_times (dafka_consumer_t *consumer, partition_t *partitions, uint64_t count)
{
    test_case ("many times, while records arrive and wait for the application");
    srand (1);
    for (int turn = 0; turn < 100; turn++) {
        uint64_t sequence = (uint64_t) rand () % (count + 1);
        s_seek_to (consumer, turn % 2? "": TOPIC, sequence, partitions, 2);
        for (uint64_t left = count - sequence < 50? count - sequence: 50; left; left--)
            s_read_one (consumer, partitions, 2);
    }
    s_read (consumer, partitions, 2);

    test_case ("a time that no record has yet: the search goes on with what arrives");
    s_seek_to (consumer, TOPIC, count + 5, partitions, 0);
    for (int index = 0; index < 2; index++) {
        s_send (&partitions [index], 10);
        partitions [index].next = count + 5;
    }
    s_read (consumer, partitions, 2);
    CHECK (!s_is_readable (consumer));
}

static void
s_test_end (dafka_consumer_t *consumer, partition_t *partitions)
{
    test_case ("the end, while records wait for the application");
    s_seek_to (consumer, TOPIC, 0, partitions, 2);
    s_read_one (consumer, partitions, 2);
    CHECK (test_poll (dafka_consumer_record_source (consumer), 30000));
    CHECK (dafka_consumer_seek_end (consumer, TOPIC) == 0);
    CHECK (!s_is_readable (consumer));
    CHECK (dafka_consumer_lag (consumer, TOPIC) == 0);
    for (int index = 0; index < 2; index++) {
        partitions [index].next = partitions [index].count;
        s_send (&partitions [index], 10);
    }
    s_read (consumer, partitions, 2);
    test_case ("during a pause");
    CHECK (dafka_consumer_pause (consumer, TOPIC) == 0);
    s_seek_to (consumer, TOPIC, 100, partitions, 2);
    s_send (&partitions [0], 1);
    CHECK (!s_is_readable (consumer));
    CHECK (dafka_consumer_resume (consumer, TOPIC) == 0);
    s_read (consumer, partitions, 2);
}

static void
s_test_refused (dafka_consumer_t *consumer, zconfig_t *config)
{
    test_case ("invalid arguments");
    char name [257];
    memset (name, 'n', 256);
    name [256] = 0;
    const char *topics [] = { OTHER, name, "seek_tim" };
    for (int index = 0; index < 3; index++) {
        CHECK_ERRNO (dafka_consumer_seek_time (consumer, topics [index], 0), EINVAL);
        CHECK_ERRNO (dafka_consumer_seek_end (consumer, topics [index]), EINVAL);
    }
    dafka_consumer_t *none = test_consumer_new (NULL, config);
    CHECK_ERRNO (dafka_consumer_seek_time (none, "", 0), EINVAL);
    dafka_consumer_destroy (&none);

    test_case ("a sink of the application");
    zsock_t *sink = NULL;
    zsock_t *source = zsys_create_pipe (&sink);
    dafka_consumer_args_t args = { config, sink };
    dafka_consumer_t *with_sink = dafka_consumer_new (&args);
    CHECK (with_sink && dafka_consumer_subscribe (with_sink, TOPIC) == 0);
    CHECK_ERRNO (dafka_consumer_seek_time (with_sink, TOPIC, 0), ENOTSUP);
    CHECK_ERRNO (dafka_consumer_seek_end (with_sink, TOPIC), ENOTSUP);
    dafka_consumer_destroy (&with_sink);
    zsock_destroy (&source);
}

//  --------------------------------------------------------------------------

static void
s_test_live (uint64_t count)
{
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    partition_t partitions [2] = { s_partition_new (TOPIC, config), s_partition_new (TOPIC, config) };
    for (int index = 0; index < 2; index++)
        s_send (&partitions [index], count);
    test_case ("live producers without a store, under `latest`");
    zconfig_t *latest = test_config_copy (config);
    zconfig_put (latest, "consumer/offset/reset", "latest");
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, latest);
    s_seek_to (consumer, TOPIC, count / 2, partitions, 2);
    s_read (consumer, partitions, 2);
    s_test_times (consumer, partitions, count);
    s_test_end (consumer, partitions);
    s_test_refused (consumer, config);
    dafka_consumer_destroy (&consumer);
    for (int index = 0; index < 2; index++)
        s_partition_destroy (&partitions [index]);
    zactor_destroy (&tower);
    zconfig_destroy (&latest);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("seek_time", 240);
    const uint64_t count = test_scale (5000, 1000);
    s_test_two_stores (count);
    s_test_live (count);
    return test_end ();
}
