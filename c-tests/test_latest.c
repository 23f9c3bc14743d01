/*  =========================================================================
    test_latest - with "latest", the default, a consumer receives no record that was published before it subscribed,
    neither from a live producer nor from the store. After the first record that it receives, none is missing.
    =========================================================================
*/

#include "testing.h"

#define OLD_RECORDS 100

static int
s_new_number (const char *content)
{
    CHECK (strncmp (content, "new ", 4) == 0);      //  Otherwise an old record was delivered
    return atoi (content + 4);
}

//  `earliest` is the configuration of the witness. `config` is the configuration of the consumer under test.

static void
s_test_latest (const char *topic, zconfig_t *config, zconfig_t *earliest)
{
    test_case ("topic %s: old records in the store, whose producer has ended", topic);
    zactor_t *gone = test_producer_new (topic, config);
    for (int number = 0; number < OLD_RECORDS; number++)
        test_send (gone, "old %d", number);
    zactor_destroy (&gone);

    test_case ("topic %s: old records of a running producer, which a witness receives", topic);
    zactor_t *producer = test_producer_new (topic, config);
    char *address = strdup (dafka_producer_address (producer));
    for (int number = 0; number < OLD_RECORDS; number++)
        test_send (producer, "old %d", number);
    dafka_consumer_t *witness = test_consumer_new (topic, earliest);
    for (int received = 0; received < 2 * OLD_RECORDS; received++) {
        test_at ((size_t) received);
        char *content = test_recv_text (witness);
        CHECK (strncmp (content, "old ", 4) == 0);
        zstr_free (&content);
    }

    //  The consumer meets the producer at some time after it subscribed: publish until the first record arrives.
    test_case ("topic %s: the first record is a new one", topic);
    dafka_consumer_t *consumer = test_consumer_new (topic, config);
    int sent = 0;
    do
        test_send (producer, "new %d", sent++);
    while (!test_poll (dafka_consumer_record_source (consumer), 10));
    char *content = test_recv_text (consumer);
    int first = s_new_number (content);
    CHECK (first < sent);
    zstr_free (&content);

    test_case ("topic %s: after the first record none is missing", topic);
    int last = sent + (int) test_scale (500, 50);
    while (sent <= last)
        test_send (producer, "new %d", sent++);
    for (int number = first + 1; number <= last; number++) {
        test_at ((size_t) number);
        content = zsys_sprintf ("new %d", number);
        test_recv (consumer, topic, address, content);
        zstr_free (&content);
    }

    test_case ("topic %s: a new producer's records arrive too", topic);
    zactor_t *another = test_producer_new (topic, config);
    sent = 0;
    do
        test_send (another, "new %d", sent++);
    while (!test_poll (dafka_consumer_record_source (consumer), 10));
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK_STR (dafka_consumer_msg_address (msg), dafka_producer_address (another));
    dafka_consumer_msg_destroy (&msg);

    test_case ("topic %s: ending", topic);
    dafka_consumer_destroy (&consumer);
    dafka_consumer_destroy (&witness);
    zactor_destroy (&another);
    zactor_destroy (&producer);
    free (address);
}

int
main (void)
{
    test_begin ("test_latest", 120);
    zconfig_t *unsaid = test_config ("inproc");
    CHECK (zconfig_locate (unsaid, "consumer/offset/reset") == NULL);
    zconfig_t *latest = test_config_copy (unsaid);
    zconfig_put (latest, "consumer/offset/reset", "latest");
    zconfig_t *earliest = test_config_copy (unsaid);
    zconfig_put (earliest, "consumer/offset/reset", "earliest");

    test_case ("starting tower and store");
    zactor_t *tower = test_tower_new (unsaid);
    zactor_t *store = test_store_new (unsaid);

    s_test_latest ("by-name", latest, earliest);
    s_test_latest ("by-default", unsaid, earliest);

    test_case ("ending store and tower");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&earliest);
    zconfig_destroy (&latest);
    zconfig_destroy (&unsaid);
    return test_end ();
}
