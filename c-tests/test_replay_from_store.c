/*  =========================================================================
    test_replay_from_store - what a producer published is in the store when zactor_destroy (&producer) returns, and is
    served from there to consumers that come later, also by a store that was restarted on the same directory
    =========================================================================
*/

#include "testing.h"

static void
s_consume_all (zconfig_t *config, const char *address, size_t count, const char *when)
{
    test_case ("a consumer reads all %s", when);
    dafka_consumer_t *consumer = test_consumer_new ("replay", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        char *expected = zsys_sprintf ("record %lu", (unsigned long) offset);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "replay");
        CHECK_STR (dafka_consumer_msg_address (msg), address);
        char *content = dafka_consumer_msg_strdup (msg);
        CHECK_STR (content, expected);
        zstr_free (&content);
        zstr_free (&expected);
    }
    dafka_consumer_msg_destroy (&msg);

    //  The next that comes is of another topic, which the consumer subscribes to now.
    test_case ("nothing follows the last record %s", when);
    zactor_t *producer = test_producer_new (when, config);
    CHECK (dafka_consumer_subscribe (consumer, when) == 0);
    test_send (producer, "marker");
    test_recv (consumer, when, dafka_producer_address (producer), "marker");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

int
main (void)
{
    test_begin ("test_replay_from_store", 180);
    const size_t count = test_scale (20000, 300);

    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower, store and producer");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);
    zactor_t *producer = test_producer_new ("replay", config);
    char *address = strdup (dafka_producer_address (producer));

    test_case ("publishing");
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        test_send (producer, "record %lu", (unsigned long) offset);
    }
    test_case ("zactor_destroy (&producer) waits until all are acknowledged");
    zactor_destroy (&producer);

    s_consume_all (config, address, count, "from the store");

    test_case ("restarting the store on the same directory");
    zactor_destroy (&store);
    store = zactor_new (dafka_store_actor, config);
    CHECK (store);
    s_consume_all (config, address, count, "from the restarted store");

    //  As the list of keys writes them; zconfig_get would not find them.
    test_case ("a configuration with flat keys, and names that are not UTF-8");
    zactor_destroy (&store);
    char *path = zsys_sprintf ("%s/d\xe9p\xf4t", test_dir ());
    char *text = zsys_sprintf ("store/db = '%s'\nbeacon/sub_address = %s\nbeacon\n    pub_address = %s\n", path,
        zconfig_get (config, "beacon/sub_address", ""), zconfig_get (config, "beacon/pub_address", ""));
    zconfig_t *flat = zconfig_str_load (text);
    CHECK (flat);
    store = zactor_new (dafka_store_actor, flat);
    CHECK (store);
    CHECK (zsys_file_exists (path));
    producer = test_producer_new ("caf\xe9", config);
    test_send (producer, "latin");
    zactor_destroy (&producer);
    dafka_consumer_t *consumer = test_consumer_new ("caf\xe9", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "caf\xe9");
    CHECK (dafka_consumer_msg_streq (msg, "latin"));
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);

    //  The nested one, which zconfig_put makes, wins.
    test_case ("a key that is nested and flat");
    zactor_destroy (&store);
    char *nested = zsys_sprintf ("%s/nested", test_dir ());
    zconfig_put (flat, "store/db", nested);
    test_log_begin ();
    store = zactor_new (dafka_store_actor, flat);
    CHECK (store);
    CHECK (zsys_file_exists (nested));
    CHECK (test_log_has ("E:", "store/db = ", "another value of the same key is "));
    test_log_end ();
    zstr_free (&nested);
    zstr_free (&path);
    zstr_free (&text);
    zconfig_destroy (&flat);

    test_case ("ending");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    free (address);
    zconfig_destroy (&config);
    return test_end ();
}
