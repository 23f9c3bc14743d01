/*  =========================================================================
    test_large_records - records of no octets up to 32 MiB go through producer and store unchanged, live and replayed
    =========================================================================
*/

#include "testing.h"

//  Sizes around those at which buffers, chunks and length fields of common sizes end
static const size_t s_sizes [] = {
    0, 1, 0, 255, 256, 257, 4095, 4096, 4097, 65535, 65536, 65537, 0, 1000000, 3, 32 * 1024 * 1024, 0, 10
};
#define SIZES (sizeof (s_sizes) / sizeof (s_sizes [0]))

static size_t
s_size (size_t offset)
{
    //  Scaled runs (valgrind) make do with smaller large ones
    return s_sizes [offset] > 100000 ? test_scale (s_sizes [offset], 100000) : s_sizes [offset];
}

//  Text-like contents fail differently: only NULs, only newlines, or both, for what gets in between.

static void
s_make (byte *buffer, size_t offset)
{
    size_t size = s_size (offset);
    test_fill (buffer, size, offset);
    for (size_t place = 0; place < size; place += 7)
        buffer [place] = place % 2 ? '\n' : 0;
}

static void
s_consume_all (dafka_consumer_t *consumer, const char *address)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t offset = 0; offset < SIZES; offset++) {
        test_at (offset);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "large");
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
}

int
main (void)
{
    test_begin ("test_large_records", 180);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower, store, consumer and producer");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);
    dafka_consumer_t *live = test_consumer_new ("large", config);
    zactor_t *producer = test_producer_new ("large", config);
    char *address = strdup (dafka_producer_address (producer));

    test_case ("publishing");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t offset = 0; offset < SIZES; offset++) {
        test_at (offset);
        CHECK (dafka_producer_msg_init_content (msg, s_size (offset)) == 0);
        s_make ((byte *) dafka_producer_msg_content (msg), offset);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);

    test_case ("a consumer that was there before");
    s_consume_all (live, address);
    dafka_consumer_destroy (&live);

    test_case ("the producer ends when the store has all");
    zactor_destroy (&producer);

    test_case ("a consumer that came later");
    dafka_consumer_t *late = test_consumer_new ("large", config);
    s_consume_all (late, address);
    dafka_consumer_destroy (&late);

    test_case ("restarting the store");
    zactor_destroy (&store);
    store = zactor_new (dafka_store_actor, config);
    CHECK (store);
    test_case ("a consumer of the restarted store");
    late = test_consumer_new ("large", config);
    s_consume_all (late, address);
    dafka_consumer_destroy (&late);

    test_case ("ending");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    free (address);
    zconfig_destroy (&config);
    return test_end ();
}
