/*  =========================================================================
    test_raw_pipe - the words on the actors' pipes, sent as programs do that were written before (or beside) the
    functions for them; and what no program should send
    =========================================================================
*/

#include "testing.h"

//  The actor's answer to GET ADDRESS. That it comes shows that the actor lives and has read all that was sent before.

static const char *
s_address (zactor_t *actor)
{
    CHECK (zstr_send (actor, "GET ADDRESS") == 0);
    char *address = NULL;
    CHECK (zsock_brecv (actor, "p", &address) == 0);
    CHECK (address);
    return address;
}

//  Words that mean nothing to any actor

static void
s_send_nonsense (zactor_t *actor)
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
        test_recv (consumer, "raw", address, content);
        zstr_free (&content);
    }

    test_case ("P and a content frame of no octets");
    zframe_t *frame = zframe_new_empty ();
    CHECK (zstr_sendm (producer, "P") == 0);
    CHECK (zframe_send (&frame, producer, 0) == 0);
    test_recv (consumer, "raw", address, "");

    test_case ("a producer ignores what it does not know");
    s_send_nonsense (producer);
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
s_recv (zactor_t *subscriber, const char *subject, const char *address, const char *content)
{
    char *got_subject = NULL, *got_address = NULL;
    zframe_t *frame = NULL;
    CHECK (zsock_brecv (subscriber, "ssf", &got_subject, &got_address, &frame) == 0);
    CHECK_STR (got_subject, subject);
    CHECK_STR (got_address, address);
    CHECK (frame && zframe_streq (frame, content));
    zframe_destroy (&frame);
}

static void
s_test_publisher (zconfig_t *config)
{
    test_case ("GET ADDRESS to a publisher");
    zactor_t *publisher = test_publisher_new ("raw old", config);
    zactor_t *subscriber = zactor_new (dafka_subscriber_actor, config);
    CHECK (subscriber);
    char *address = strdup (s_address (publisher));
    CHECK (strlen (address) == 32);
    CHECK_STR (dafka_publisher_address (publisher), address);

    test_case ("PUBLISH and a frame pointer; SUBSCRIBE");
    CHECK (zsock_send (subscriber, "ss", "SUBSCRIBE", "raw old") == 0);
    for (int number = 0; number < 10; number++) {
        char *content = zsys_sprintf ("raw %d", number);
        zframe_t *frame = zframe_from (content);
        CHECK (zstr_sendm (publisher, "PUBLISH") == 0);
        CHECK (zsock_bsend (publisher, "p", frame) == 0);       //  It owns the frame now
        s_recv (subscriber, "raw old", address, content);
        zstr_free (&content);
    }

    test_case ("a publisher ignores what it does not know");
    s_send_nonsense (publisher);
    CHECK_STR (s_address (publisher), address);
    test_case ("a publisher survives PUBLISH without a pointer");
    CHECK (zstr_send (publisher, "PUBLISH") == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "", NULL) == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "abc", NULL) == 0);
    CHECK (zstr_sendx (publisher, "PUBLISH", "many octets, and no pointer", NULL) == 0);
    CHECK (zstr_sendm (publisher, "PUBLISH") == 0);
    CHECK (zsock_bsend (publisher, "p", NULL) == 0);
    CHECK_STR (s_address (publisher), address);

    test_case ("a subscriber ignores what it does not know");
    s_send_nonsense (subscriber);
    CHECK (zstr_send (subscriber, "SUBSCRIBE") == 0);
    CHECK (zstr_send (subscriber, "UNSUBSCRIBE") == 0);
    CHECK (zstr_sendx (subscriber, "UNSUBSCRIBE", "never subscribed to", NULL) == 0);
    test_publish (publisher, "after all that");
    s_recv (subscriber, "raw old", address, "after all that");

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
    test_case ("a tower and a store ignore what they do not know");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    CHECK (tower && store);
    s_send_nonsense (tower);
    s_send_nonsense (store);

    s_test_producer (config);       //  It ends when the store has all: so tower and store do live
    s_test_publisher (config);

    test_case ("destroying store and tower");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
