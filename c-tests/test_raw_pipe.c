/*  =========================================================================
    test_raw_pipe - commands that programs write directly to the actors' pipes, without the functions of the API;
    unknown commands
    =========================================================================
*/

#include "testing.h"

//  The actor's answer to GET ADDRESS. It shows that the actor runs, and has read all earlier commands.

static const char *
s_address (zactor_t *actor)
{
    CHECK (zstr_send (actor, "GET ADDRESS") == 0);
    char *address = NULL;
    CHECK (zsock_brecv (actor, "p", &address) == 0);
    CHECK (address);
    return address;
}

//  Unknown commands

static void
s_send_unknown (zactor_t *actor)
{
    CHECK (zstr_send (actor, "NO SUCH COMMAND") == 0);
    CHECK (zstr_send (actor, "") == 0);
    CHECK (zstr_send (actor, "get address") == 0);
    CHECK (zstr_sendx (actor, "NO SUCH COMMAND", "with", "", "frames", NULL) == 0);
    CHECK (zsock_send (actor, "b", "\xFF\x00\xFE", (size_t) 3) == 0);
    byte big [1000];
    memset (big, 'P', sizeof (big));
    CHECK (zsock_send (actor, "bb", big, sizeof (big), big, sizeof (big)) == 0);
}

static void
s_test_producer (zconfig_t *config)
{
    test_case ("GET ADDRESS to a producer");
    zactor_t *producer = test_producer_new ("raw", config);
    dafka_consumer_t *consumer = test_consumer_new ("raw", config);
    char *address = strdup (s_address (producer));
    CHECK (strlen (address) == 32);
    CHECK_STR (dafka_producer_address (producer), address);

    test_case ("P and a content frame");
    for (int number = 0; number < 10; number++) {
        char *content = zsys_sprintf ("raw %d", number);
        zframe_t *frame = zframe_from (content);
        CHECK (zstr_sendm (producer, "P") == 0);
        CHECK (zframe_send (&frame, producer, 0) == 0);
        test_recv (consumer, "raw", address, "%s", content);
        zstr_free (&content);
    }

    test_case ("P and an empty content frame");
    zframe_t *frame = zframe_new_empty ();
    CHECK (zstr_sendm (producer, "P") == 0);
    CHECK (zframe_send (&frame, producer, 0) == 0);
    test_recv (consumer, "raw", address, "%s", "");

    test_case ("P between records of dafka_producer_msg_send");
    test_send (producer, "0");
    for (int number = 1; number < 100; number++) {
        if (number % 3)
            test_send (producer, "%d", number);
        else {
            zstr_sendm (producer, "P");
            zstr_sendf (producer, "%d", number);
        }
        if (number == 3)
            CHECK (dafka_producer_address (producer));      //  The producer has read the first P
    }
    for (int number = 0; number < 100; number++)
        test_recv (consumer, "raw", address, "%d", number);

    test_case ("a producer ignores unknown commands");
    s_send_unknown (producer);
    CHECK_STR (s_address (producer), address);
    test_case ("a producer survives P without content");
    CHECK (zstr_send (producer, "P") == 0);
    CHECK_STR (s_address (producer), address);
    CHECK (zstr_sendm (producer, "P") == 0);
    CHECK (zstr_send (producer, "after all that") == 0);
    test_recv (consumer, "raw", address, "after all that");

    test_case ("destroying producer and consumer");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    free (address);
}

static void
s_test_publisher (zconfig_t *config)
{
    test_case ("GET ADDRESS to a publisher");
    zactor_t *publisher = test_publisher_new ("raw old", config);
    zactor_t *subscriber = test_subscriber_new (config);
    char *address = strdup (s_address (publisher));
    CHECK (strlen (address) == 32);
    CHECK_STR (dafka_publisher_address (publisher), address);

    test_case ("PUBLISH and a frame pointer; SUBSCRIBE");
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", "raw old") == 0);
    for (int number = 0; number < 10; number++) {
        char *content = zsys_sprintf ("raw %d", number);
        zframe_t *frame = zframe_from (content);
        CHECK (zstr_sendm (publisher, "PUBLISH") == 0);
        CHECK (zsock_bsend (publisher, "p", frame) == 0);       //  The actor owns the frame now
        test_recv_from (subscriber, "raw old", address, "%s", content);
        zstr_free (&content);
    }

    test_case ("a publisher ignores unknown commands");
    s_send_unknown (publisher);
    CHECK_STR (s_address (publisher), address);
    test_case ("a publisher survives PUBLISH without a pointer");
    CHECK (zstr_send (publisher, "PUBLISH") == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "", NULL) == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "abc", NULL) == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "many bytes, and no pointer", NULL) == 0);
    CHECK (zstr_sendm (publisher, "PUBLISH") == 0);
    CHECK (zsock_bsend (publisher, "p", NULL) == 0);
    CHECK_STR (s_address (publisher), address);

    test_case ("a subscriber ignores unknown commands");
    s_send_unknown (subscriber);
    CHECK (zstr_send (subscriber, "SUBSCRIBE") == 0);
    CHECK (zstr_send (subscriber, "UNSUBSCRIBE") == 0);
    CHECK (zstr_sendx (subscriber, "UNSUBSCRIBE", "never subscribed to", NULL) == 0);
    test_publish (publisher, "after all that");
    test_recv_from (subscriber, "raw old", address, "after all that");

    test_case ("destroying publisher and subscriber");
    zactor_destroy (&subscriber);
    zactor_destroy (&publisher);
    free (address);
}

int
main (void)
{
    test_begin ("test_raw_pipe", 60);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("a tower and a store ignore unknown commands");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    s_send_unknown (tower);
    s_send_unknown (store);

    s_test_producer (config);       //  It ends when the store has all, so tower and store still work
    s_test_publisher (config);

    test_case ("destroying store and tower");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
