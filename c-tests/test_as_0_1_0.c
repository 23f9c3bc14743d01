/*  =========================================================================
    test_as_0_1_0 - undocumented behaviour of the C library that programs rely on: strings that are never NULL, a list
    of subscriptions that is always the same object, records for actors of the application

    doc/quirks.md describes the differences that remain.
    =========================================================================
*/

#include "testing.h"

static void
s_test_empty_msg (zconfig_t *config)
{
    test_case ("a message without a record has an empty topic and partition");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK_STR (dafka_consumer_msg_subject (msg), "");
    CHECK_STR (dafka_consumer_msg_address (msg), "");
    CHECK (dafka_consumer_msg_content (msg) == NULL);

    test_case ("the same after a failed recv");
    dafka_consumer_t *consumer = test_consumer_new (NULL, config);
    zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), 10);
    CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
    CHECK (!streq (dafka_consumer_msg_subject (msg), "topic"));
    CHECK (!streq (dafka_consumer_msg_address (msg), dafka_consumer_address (consumer)));
    dafka_consumer_destroy (&consumer);

    test_case ("the same after a message that is not a record");
    zsock_t *sink = NULL;
    zsock_t *source = zsys_create_pipe (&sink);
    CHECK (zstr_sendx (sink, "topic", "partition", "content", NULL) == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "topic");
    CHECK (zstr_send (sink, "one frame") == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == -1);
    CHECK_STR (dafka_consumer_msg_subject (msg), "");
    CHECK_STR (dafka_consumer_msg_address (msg), "");
    zsock_destroy (&source);
    zsock_destroy (&sink);
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_subscription (zconfig_t *config)
{
    test_case ("always the same list of subscriptions, which stays current");
    dafka_consumer_t *consumer = test_consumer_new (NULL, config);
    zlist_t *topics = dafka_consumer_subscription (consumer);
    CHECK (topics && zlist_size (topics) == 0);
    CHECK (dafka_consumer_subscribe (consumer, "one") == 0);
    CHECK (zlist_size (topics) == 1);
    CHECK (dafka_consumer_subscription (consumer) == topics);
    const char *one = (const char *) zlist_first (topics);
    CHECK_STR (one, "one");
    CHECK (dafka_consumer_subscribe (consumer, "two") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "three") == 0);
    CHECK_STR (one, "one");
    CHECK (zlist_size (topics) == 3);

    test_case ("subscribing twice is one subscription");
    CHECK (dafka_consumer_subscribe (consumer, "two") == 0);
    CHECK (zlist_size (topics) == 3);
    CHECK (dafka_consumer_unsubscribe (consumer, "two") == 0);
    CHECK (dafka_consumer_unsubscribe (consumer, "two") == 0);
    CHECK (zlist_size (topics) == 2);
    CHECK_STR ((char *) zlist_first (topics), "one");
    CHECK_STR ((char *) zlist_next (topics), "three");
    CHECK (zlist_next (topics) == NULL);
    CHECK (dafka_consumer_subscribe (consumer, "two") == 0);
    CHECK_STR ((char *) zlist_last (topics), "two");
    CHECK (dafka_consumer_subscription (consumer) == topics);
    dafka_consumer_destroy (&consumer);
}

//  An actor of the application. It answers each message with the number of its frames and with the last frame.

static void
s_double (zsock_t *pipe, void *args)
{
    (void) args;
    zsock_signal (pipe, 0);
    zstr_send (pipe, "unread");
    while (true) {
        zmsg_t *msg = zmsg_recv (pipe);
        if (!msg)
            break;
        char *command = zmsg_popstr (msg);
        bool is_end = streq (command, "$TERM");
        if (!is_end) {
            zmsg_pushstr (msg, command);
            zmsg_send (&msg, pipe);
        }
        zstr_free (&command);
        zmsg_destroy (&msg);
        if (is_end)
            break;
    }
}

static void
s_test_double (void)
{
    test_case ("dafka_producer_msg_send to an actor of the application: P and the content");
    int64_t start = zclock_mono ();
    zactor_t *actor = zactor_new (s_double, NULL);
    CHECK (actor);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_send (msg, actor) == -1);         //  Empty
    CHECK (dafka_producer_msg_set_content_str (msg, "a copy") == 0);
    CHECK (dafka_producer_msg_send (msg, actor) == 0);
    CHECK (dafka_producer_msg_content (msg) == NULL);
    zframe_t *frame = zframe_from ("a frame");
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (dafka_producer_msg_send (msg, actor) == 0);
    CHECK (dafka_producer_msg_content (msg) == NULL);

    char *text = zstr_recv (actor);
    CHECK_STR (text, "unread");
    zstr_free (&text);
    static const char *const contents [] = { "a copy", "a frame" };
    for (int number = 0; number < 2; number++) {
        char *command = NULL, *content = NULL;
        CHECK (zstr_recvx (actor, &command, &content, NULL) == 2);
        CHECK_STR (command, "P");
        CHECK_STR (content, contents [number]);
        zstr_free (&command);
        zstr_free (&content);
    }
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&actor);
    //  The library must not wait here as it waits for its own actors
    CHECK (zclock_mono () - start < 5000);
}

//  Values that the C library accepts are accepted, with a warning.

static void
s_test_values (zconfig_t *config)
{
    test_case ("producer/terminate_unacked = 2 and beacon/interval = 50ms");
    zconfig_t *odd = test_config_copy (config);
    zconfig_put (odd, "producer/terminate_unacked", "2");
    zconfig_put (odd, "beacon/interval", "50ms");
    zactor_t *tower = test_tower_new (odd);
    test_log_begin ();
    zactor_t *producer = test_producer_new ("topic", odd);
    CHECK (test_log_has ("W:", "beacon/interval = 50ms", "50 is used"));
    CHECK (!test_log_has (NULL, "producer/terminate_unacked", NULL));
    test_log_end ();
    test_send (producer, "first");

    test_case ("consumer/offset/reset = smallest is earliest");
    zconfig_put (odd, "consumer/offset/reset", "smallest");
    test_log_begin ();
    dafka_consumer_t *consumer = test_consumer_new ("topic", odd);
    CHECK (test_log_has ("W:", "consumer/offset/reset = smallest", "earliest is used"));
    test_log_end ();
    test_recv (consumer, "topic", dafka_producer_address (producer), "first");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);                     //  No store has acknowledged its record
    zactor_destroy (&tower);
    zconfig_destroy (&odd);
}

int
main (void)
{
    test_begin ("as_0_1_0", 120);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "beacon/connect_timeout", "10");
    s_test_empty_msg (config);
    s_test_subscription (config);
    s_test_double ();
    s_test_values (config);
    zconfig_destroy (&config);
    return test_end ();
}
