/*  =========================================================================
    test_two_producers - two producers of one topic: a consumer gets both partitions, each complete and in order
    =========================================================================
*/

#include "testing.h"

//  Read all of both partitions. What each record says of its partition and place must be so.

static void
s_consume_both (dafka_consumer_t *consumer, const char *address [2], size_t count)
{
    size_t next [2] = { 0, 0 };
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    while (next [0] < count || next [1] < count) {
        test_at (next [0] + next [1]);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "shared");
        int which = streq (dafka_consumer_msg_address (msg), address [0]) ? 0 : 1;
        CHECK_STR (dafka_consumer_msg_address (msg), address [which]);
        char *expected = zsys_sprintf ("producer %d record %lu", which, (unsigned long) next [which]);
        char *content = dafka_consumer_msg_strdup (msg);
        CHECK_STR (content, expected);
        zstr_free (&content);
        zstr_free (&expected);
        next [which]++;
    }
    CHECK (next [0] == count && next [1] == count);
    dafka_consumer_msg_destroy (&msg);
}

int
main (void)
{
    test_begin ("test_two_producers", 120);
    const size_t count = test_scale (2000, 300);

    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower, store, two producers and a consumer");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);
    zactor_t *producers [2] = { test_producer_new ("shared", config), test_producer_new ("shared", config) };
    char *copies [2] = {
        strdup (dafka_producer_address (producers [0])), strdup (dafka_producer_address (producers [1]))
    };
    const char *addresses [2] = { copies [0], copies [1] };
    CHECK (strneq (addresses [0], addresses [1]));
    dafka_consumer_t *live = test_consumer_new ("shared", config);

    test_case ("publishing in turns");
    for (size_t number = 0; number < count; number++)
        for (int which = 0; which < 2; which++)
            test_send (producers [which], "producer %d record %lu", which, (unsigned long) number);

    test_case ("a consumer that was there before");
    s_consume_both (live, addresses, count);
    dafka_consumer_destroy (&live);

    test_case ("a consumer that came later, one producer being gone");
    zactor_destroy (&producers [0]);
    dafka_consumer_t *late = test_consumer_new ("shared", config);
    s_consume_both (late, addresses, count);

    test_case ("the remaining producer goes on");
    test_send (producers [1], "producer 1 goes on");
    test_recv (late, "shared", addresses [1], "producer 1 goes on");
    dafka_consumer_destroy (&late);

    test_case ("a consumer that came later, both producers being gone");
    zactor_destroy (&producers [1]);
    late = test_consumer_new ("shared", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t received [2] = { 0, 0 };
    while (received [0] + received [1] < 2 * count + 1) {
        test_at (received [0] + received [1]);
        CHECK (dafka_consumer_msg_recv (msg, late) == 0);
        received [streq (dafka_consumer_msg_address (msg), addresses [0]) ? 0 : 1]++;
    }
    CHECK (received [0] == count && received [1] == count + 1);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&late);

    test_case ("ending");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    free (copies [0]);
    free (copies [1]);
    zconfig_destroy (&config);
    return test_end ();
}
