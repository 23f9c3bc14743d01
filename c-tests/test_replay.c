/*  =========================================================================
    test_replay - consumers that start late read all records: from the producer's memory, from the store, and from a
    restarted store; records of all sizes; two partitions of a topic
    =========================================================================
*/

#include "testing.h"

//  --------------------------------------------------------------------------
//  Without a store

static void
s_test_from_producer (void)
{
    const size_t count = test_scale (5000, 300);        //  More than 256 in any case
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("replay", config);

    //  Lengths 0 to 4000, in no order
    test_case ("publishing without a store");
    byte buffer [4000];
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        size_t size = offset * 1583 % 4001;
        test_fill (buffer, size, offset);
        CHECK (dafka_producer_msg_set_content_buffer (msg, buffer, size) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);

    //  One consumer starts after the other: the producer must keep the records
    for (int turn = 1; turn <= 2; turn++) {
        dafka_consumer_t *consumer = test_consumer_new ("replay", config);
        dafka_consumer_msg_t *record = dafka_consumer_msg_new ();
        test_case ("consumer %d reads all from the producer", turn);
        for (size_t offset = 0; offset < count; offset++) {
            test_at (offset);
            CHECK (dafka_consumer_msg_recv (record, consumer) == 0);
            CHECK_STR (dafka_consumer_msg_subject (record), "replay");
            CHECK_STR (dafka_consumer_msg_address (record), dafka_producer_address (producer));
            CHECK (dafka_consumer_msg_content_size (record) == offset * 1583 % 4001);
            CHECK (test_filled (dafka_consumer_msg_content (record),
                                dafka_consumer_msg_content_size (record), offset));
        }
        dafka_consumer_msg_destroy (&record);

        test_case ("consumer %d receives the next record, and nothing before it", turn);
        test_send (producer, "marker of turn %d", turn);
        for (int marker = 1; marker <= turn; marker++)
            test_recv (consumer, "replay", dafka_producer_address (producer), "marker of turn %d", marker);
        dafka_consumer_destroy (&consumer);
    }

    test_case ("destroying the producer, unacknowledged");
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------
//  From a store

static void
s_consume_all (zconfig_t *config, const char *address, size_t count, const char *when)
{
    test_case ("a consumer reads all %s", when);
    dafka_consumer_t *consumer = test_consumer_new ("replay", config);
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        test_recv (consumer, "replay", address, "record %lu", (unsigned long) offset);
    }

    //  The next record is of another topic, to which the consumer subscribes now.
    test_case ("nothing follows the last record %s", when);
    zactor_t *producer = test_producer_new (when, config);
    CHECK (dafka_consumer_subscribe (consumer, when) == 0);
    test_send (producer, "marker");
    test_recv (consumer, when, dafka_producer_address (producer), "marker");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

static void
s_test_from_store (zconfig_t *config)
{
    const size_t count = test_scale (20000, 300);
    zactor_t *store = test_store_new (config);
    zactor_t *producer = test_producer_new ("replay", config);
    char *address = strdup (dafka_producer_address (producer));

    test_case ("publishing with a store");
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        test_send (producer, "record %lu", (unsigned long) offset);
    }
    test_case ("zactor_destroy (&producer) waits until all are acknowledged");
    zactor_destroy (&producer);
    s_consume_all (config, address, count, "from the store");

    test_case ("restarting the store on the same directory");
    zactor_destroy (&store);
    store = test_store_new (config);
    s_consume_all (config, address, count, "from the restarted store");
    zactor_destroy (&store);
    free (address);
}

//  Flat keys, as the list of keys writes them. zconfig_get does not find them.

static void
s_test_flat_keys (zconfig_t *config)
{
    test_case ("a configuration with flat keys, and names that are not UTF-8");
    char *path = zsys_sprintf ("%s/d\xe9p\xf4t", test_dir ());
    char *text = zsys_sprintf ("store/db = '%s'\nbeacon/sub_address = %s\nbeacon\n    pub_address = %s\n", path,
        zconfig_get (config, "beacon/sub_address", ""), zconfig_get (config, "beacon/pub_address", ""));
    zconfig_t *flat = zconfig_str_load (text);
    CHECK (flat);
    zactor_t *store = test_store_new (flat);
    CHECK (zsys_file_exists (path));
    zactor_t *producer = test_producer_new ("caf\xe9", config);
    test_send (producer, "latin");
    zactor_destroy (&producer);
    dafka_consumer_t *consumer = test_consumer_new ("caf\xe9", config);
    test_recv (consumer, "caf\xe9", NULL, "latin");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);

    //  The nested key, which zconfig_put creates, takes precedence.
    test_case ("a key that is nested and flat");
    char *nested = zsys_sprintf ("%s/nested", test_dir ());
    zconfig_put (flat, "store/db", nested);
    test_log_begin ();
    store = test_store_new (flat);
    CHECK (zsys_file_exists (nested));
    CHECK (test_log_has ("E:", "store/db = ", "another value of the same key is "));
    test_log_end ();
    zactor_destroy (&store);
    zstr_free (&nested);
    zstr_free (&path);
    zstr_free (&text);
    zconfig_destroy (&flat);
}


//  --------------------------------------------------------------------------
//  Sizes around the limits of common buffers, chunks and length fields

static const size_t s_sizes [] = {
    0, 1, 0, 255, 256, 257, 4095, 4096, 4097, 65535, 65536, 65537, 0, 1000000, 3, 32 * 1024 * 1024, 0, 10
};
#define SIZES (sizeof (s_sizes) / sizeof (s_sizes [0]))

static size_t
s_size (size_t offset)
{
    //  The large ones are smaller in scaled runs (valgrind).
    return s_sizes [offset] > 100000 ? test_scale (s_sizes [offset], 100000) : s_sizes [offset];
}

//  With NULs and newlines, which text functions would treat differently.

static void
s_make (byte *buffer, size_t offset)
{
    size_t size = s_size (offset);
    test_fill (buffer, size, offset);
    for (size_t place = 0; place < size; place += 7)
        buffer [place] = place % 2 ? '\n' : 0;
}

static void
s_consume_sizes (dafka_consumer_t **consumer_p, const char *address, const char *when)
{
    test_case ("records of all sizes: %s", when);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t offset = 0; offset < SIZES; offset++) {
        test_at (offset);
        CHECK (dafka_consumer_msg_recv (msg, *consumer_p) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "sizes");
        CHECK_STR (dafka_consumer_msg_address (msg), address);
        size_t size = s_size (offset);
        CHECK (dafka_consumer_msg_content_size (msg) == size);
        byte *expected = (byte *) malloc (size + 1);
        CHECK (expected);
        s_make (expected, offset);
        CHECK (size == 0 || memcmp (dafka_consumer_msg_content (msg), expected, size) == 0);
        free (expected);
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (consumer_p);
}

static void
s_test_sizes (zconfig_t *config)
{
    zactor_t *store = test_store_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("sizes", config);
    zactor_t *producer = test_producer_new ("sizes", config);
    char *address = strdup (dafka_producer_address (producer));

    test_case ("publishing records of all sizes");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t offset = 0; offset < SIZES; offset++) {
        test_at (offset);
        CHECK (dafka_producer_msg_init_content (msg, s_size (offset)) == 0);
        s_make ((byte *) dafka_producer_msg_content (msg), offset);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);

    s_consume_sizes (&consumer, address, "a consumer that started before");
    test_case ("the producer ends when the store has all");
    zactor_destroy (&producer);
    consumer = test_consumer_new ("sizes", config);
    s_consume_sizes (&consumer, address, "a consumer that started later");
    test_case ("restarting the store");
    zactor_destroy (&store);
    store = test_store_new (config);
    consumer = test_consumer_new ("sizes", config);
    s_consume_sizes (&consumer, address, "a consumer of the restarted store");
    zactor_destroy (&store);
    free (address);
}


//  --------------------------------------------------------------------------
//  Two producers of one topic

//  Reads both partitions. Each record contains its partition and number.

static void
s_consume_both (dafka_consumer_t *consumer, char *addresses [2], const size_t counts [2])
{
    size_t next [2] = { 0, 0 };
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    while (next [0] < counts [0] || next [1] < counts [1]) {
        test_at (next [0] + next [1]);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "shared");
        int which = streq (dafka_consumer_msg_address (msg), addresses [0]) ? 0 : 1;
        CHECK_STR (dafka_consumer_msg_address (msg), addresses [which]);
        char *expected = zsys_sprintf ("producer %d record %lu", which, (unsigned long) next [which]);
        char *content = dafka_consumer_msg_strdup (msg);
        CHECK_STR (content, expected);
        zstr_free (&content);
        zstr_free (&expected);
        next [which]++;
    }
    CHECK (next [0] == counts [0] && next [1] == counts [1]);
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_two_producers (zconfig_t *config)
{
    size_t counts [2];
    counts [0] = counts [1] = test_scale (2000, 300);
    zactor_t *store = test_store_new (config);
    zactor_t *producers [2] = { test_producer_new ("shared", config), test_producer_new ("shared", config) };
    char *addresses [2] = {
        strdup (dafka_producer_address (producers [0])), strdup (dafka_producer_address (producers [1]))
    };
    CHECK (strneq (addresses [0], addresses [1]));
    dafka_consumer_t *consumer = test_consumer_new ("shared", config);

    test_case ("two producers publish alternately");
    for (size_t number = 0; number < counts [0]; number++)
        for (int which = 0; which < 2; which++)
            test_send (producers [which], "producer %d record %lu", which, (unsigned long) number);

    test_case ("two partitions: a consumer that started before");
    s_consume_both (consumer, addresses, counts);
    dafka_consumer_destroy (&consumer);

    test_case ("two partitions: a consumer that starts after one producer has ended");
    zactor_destroy (&producers [0]);
    consumer = test_consumer_new ("shared", config);
    s_consume_both (consumer, addresses, counts);

    test_case ("the remaining producer continues");
    test_send (producers [1], "producer 1 record %lu", (unsigned long) counts [1]);
    test_recv (consumer, "shared", addresses [1], "producer 1 record %lu", (unsigned long) counts [1]);
    dafka_consumer_destroy (&consumer);

    test_case ("two partitions: a consumer that starts after both producers have ended");
    zactor_destroy (&producers [1]);
    counts [1]++;
    consumer = test_consumer_new ("shared", config);
    s_consume_both (consumer, addresses, counts);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    free (addresses [0]);
    free (addresses [1]);
}

int
main (void)
{
    test_begin ("test_replay", 240);
    s_test_from_producer ();
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    s_test_from_store (config);
    s_test_flat_keys (config);
    s_test_sizes (config);
    s_test_two_producers (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
