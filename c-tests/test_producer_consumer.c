/*  =========================================================================
    test_producer_consumer - live records from producers to consumers, without a store; every accessor of the two
    message classes
    =========================================================================
*/

#include "testing.h"

#define PATIENCE_MS 60000


//  --------------------------------------------------------------------------
//  A producer's message before it is sent

static void
s_test_producer_msg (void)
{
    test_case ("a new producer message is empty");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (msg);
    CHECK (dafka_producer_msg_content (msg) == NULL);
    CHECK (dafka_producer_msg_content_size (msg) == 0);
    CHECK (dafka_producer_msg_get_content (msg) == NULL);
    CHECK (dafka_producer_msg_strdup (msg) == NULL);
    CHECK (!dafka_producer_msg_streq (msg, "hello"));

    test_case ("set_content_str");
    char text [] = "hello";
    CHECK (dafka_producer_msg_set_content_str (msg, text) == 0);
    memset (text, 'X', strlen (text));          //  The message has a copy
    CHECK (dafka_producer_msg_content_size (msg) == 5);
    CHECK (memcmp (dafka_producer_msg_content (msg), "hello", 5) == 0);
    CHECK (dafka_producer_msg_streq (msg, "hello"));
    CHECK (!dafka_producer_msg_streq (msg, "hell"));
    CHECK (!dafka_producer_msg_streq (msg, "hello2"));
    CHECK (!dafka_producer_msg_streq (msg, ""));
    char *copy = dafka_producer_msg_strdup (msg);
    CHECK_STR (copy, "hello");
    zstr_free (&copy);

    test_case ("set_content_buffer replaces, keeps NULs");
    byte buffer [4] = { 'a', 0, 'b', '\n' };
    CHECK (dafka_producer_msg_set_content_buffer (msg, buffer, sizeof (buffer)) == 0);
    memset (buffer, 'X', sizeof (buffer));
    CHECK (dafka_producer_msg_content_size (msg) == 4);
    CHECK (memcmp (dafka_producer_msg_content (msg), "a\0b\n", 4) == 0);
    CHECK (!dafka_producer_msg_streq (msg, "a"));
    copy = dafka_producer_msg_strdup (msg);
    CHECK (copy && memcmp (copy, "a\0b\n", 5) == 0);
    zstr_free (&copy);

    test_case ("set_content takes the frame");
    zframe_t *frame = zframe_from ("frame");
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (frame == NULL);
    CHECK (dafka_producer_msg_streq (msg, "frame"));

    test_case ("get_content hands the frame over and leaves the message empty");
    frame = dafka_producer_msg_get_content (msg);
    CHECK (frame && zframe_streq (frame, "frame"));
    zframe_destroy (&frame);
    CHECK (dafka_producer_msg_content (msg) == NULL);
    CHECK (dafka_producer_msg_content_size (msg) == 0);
    CHECK (dafka_producer_msg_get_content (msg) == NULL);

    test_case ("init_content gives a buffer to write to");
    CHECK (dafka_producer_msg_init_content (msg, 1000) == 0);
    CHECK (dafka_producer_msg_content_size (msg) == 1000);
    test_fill ((byte *) dafka_producer_msg_content (msg), 1000, 1);
    CHECK (test_filled (dafka_producer_msg_content (msg), 1000, 1));
    CHECK (dafka_producer_msg_init_content (msg, 3) == 0);
    CHECK (dafka_producer_msg_content_size (msg) == 3);

    test_case ("an empty content is a content");
    CHECK (dafka_producer_msg_set_content_str (msg, "") == 0);
    CHECK (dafka_producer_msg_content_size (msg) == 0);
    CHECK (dafka_producer_msg_streq (msg, ""));
    copy = dafka_producer_msg_strdup (msg);
    CHECK_STR (copy, "");
    zstr_free (&copy);
    frame = dafka_producer_msg_get_content (msg);
    CHECK (frame && zframe_size (frame) == 0);
    zframe_destroy (&frame);

    CHECK (dafka_producer_msg_set_content_str (msg, "destroyed with its content") == 0);
    dafka_producer_msg_destroy (&msg);
    CHECK (msg == NULL);
}


//  --------------------------------------------------------------------------
//  A consumer's message, read from a socket that carries the three frames

static void
s_test_consumer_msg (void)
{
    test_case ("a new consumer message is empty");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (msg);
    CHECK (dafka_consumer_msg_content (msg) == NULL);
    CHECK (dafka_consumer_msg_content_size (msg) == 0);
    CHECK (dafka_consumer_msg_get_content (msg) == NULL);
    CHECK (dafka_consumer_msg_strdup (msg) == NULL);
    CHECK (!dafka_consumer_msg_streq (msg, "hello"));

    zsock_t *reader = zsock_new_pull ("@inproc://consumer-msg-frames");
    zsock_t *writer = zsock_new_push (">inproc://consumer-msg-frames");
    CHECK (reader && writer);

    test_case ("recv_from_socket");
    CHECK (zsock_send (writer, "ssb", "SUBJECT", "ADDRESS", "a\0b\n", (size_t) 4) == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "SUBJECT");
    CHECK_STR (dafka_consumer_msg_address (msg), "ADDRESS");
    CHECK (dafka_consumer_msg_content_size (msg) == 4);
    CHECK (memcmp (dafka_consumer_msg_content (msg), "a\0b\n", 4) == 0);
    CHECK (!dafka_consumer_msg_streq (msg, "a"));
    char *copy = dafka_consumer_msg_strdup (msg);
    CHECK (copy && memcmp (copy, "a\0b\n", 5) == 0);
    zstr_free (&copy);

    test_case ("recv_from_socket again replaces all");
    CHECK (zsock_send (writer, "sss", "S", "A", "text") == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "S");
    CHECK_STR (dafka_consumer_msg_address (msg), "A");
    CHECK (dafka_consumer_msg_streq (msg, "text"));
    CHECK (!dafka_consumer_msg_streq (msg, "tex"));
    CHECK (!dafka_consumer_msg_streq (msg, "text2"));

    test_case ("get_content hands the frame over and leaves the message empty");
    zframe_t *frame = dafka_consumer_msg_get_content (msg);
    CHECK (frame && zframe_streq (frame, "text"));
    zframe_destroy (&frame);
    CHECK (dafka_consumer_msg_content (msg) == NULL);
    CHECK (dafka_consumer_msg_content_size (msg) == 0);
    CHECK (dafka_consumer_msg_get_content (msg) == NULL);

    test_case ("an empty content is a content");
    CHECK (zsock_send (writer, "sss", "S", "A", "") == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
    CHECK (dafka_consumer_msg_content_size (msg) == 0);
    CHECK (dafka_consumer_msg_streq (msg, ""));
    copy = dafka_consumer_msg_strdup (msg);
    CHECK_STR (copy, "");
    zstr_free (&copy);

    test_case ("too few frames are an error, and do not affect the next record");
    CHECK (zsock_send (writer, "ss", "S", "A") == 0);
    CHECK (zsock_send (writer, "sss", "S", "A", "next") == 0);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == -1);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
    CHECK (dafka_consumer_msg_streq (msg, "next"));

    test_case ("too many frames do not affect the next record");
    CHECK (zsock_send (writer, "ssss", "S", "A", "C", "surplus") == 0);
    CHECK (zsock_send (writer, "sss", "S", "A", "next") == 0);
    dafka_consumer_msg_recv_from_socket (msg, reader);      //  0 or -1; the reference does not define it
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "S");
    CHECK (dafka_consumer_msg_streq (msg, "next"));

    test_case ("a socket's receive timeout is an error");
    zsock_set_rcvtimeo (reader, 10);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == -1);

    zsock_destroy (&writer);
    zsock_destroy (&reader);
    dafka_consumer_msg_destroy (&msg);
    CHECK (msg == NULL);
}


//  --------------------------------------------------------------------------
//  One producer, one consumer

static void
s_test_live (zconfig_t *config)
{
    test_case ("addresses");
    zactor_t *producer = test_producer_new ("live", config);
    dafka_consumer_t *consumer = test_consumer_new ("live", config);
    char *address = strdup (dafka_producer_address (producer));
    CHECK (strlen (address) == 32 && strspn (address, "0123456789ABCDEF") == 32);
    CHECK_STR (dafka_producer_address (producer), address);
    const char *consumer_address = dafka_consumer_address (consumer);
    CHECK (consumer_address && strlen (consumer_address) == 32);
    CHECK (strneq (consumer_address, address));

    test_case ("live records, message reused after each send");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 0; number < 10; number++) {
        char *content = zsys_sprintf ("record %d", number);
        CHECK (dafka_producer_msg_set_content_str (msg, content) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
        CHECK (dafka_producer_msg_content (msg) == NULL);
        CHECK (dafka_producer_msg_content_size (msg) == 0);
        test_recv (consumer, "live", address, "%s", content);
        zstr_free (&content);
    }

    test_case ("an empty message cannot be sent, one with an empty content can");
    CHECK (dafka_producer_msg_send (msg, producer) == -1);
    CHECK (dafka_producer_msg_set_content_str (msg, "") == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_init_content (msg, 0) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_set_content_buffer (msg, (const byte *) "x", 0) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == -1);
    test_recv (consumer, "live", address, "%s", "");
    test_recv (consumer, "live", address, "%s", "");
    test_recv (consumer, "live", address, "%s", "");

    test_case ("all functions that set the content of a message");
    CHECK (dafka_producer_msg_init_content (msg, 100) == 0);
    test_fill ((byte *) dafka_producer_msg_content (msg), 100, 7);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_set_content_buffer (msg, (const byte *) "a\0b\n", 4) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    zframe_t *frame = zframe_from ("frame");
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    dafka_producer_msg_destroy (&msg);

    dafka_consumer_msg_t *received = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (received, consumer) == 0);
    CHECK (dafka_consumer_msg_content_size (received) == 100);
    CHECK (test_filled (dafka_consumer_msg_content (received), 100, 7));
    CHECK (dafka_consumer_msg_recv (received, consumer) == 0);
    CHECK (dafka_consumer_msg_content_size (received) == 4);
    CHECK (memcmp (dafka_consumer_msg_content (received), "a\0b\n", 4) == 0);
    CHECK (dafka_consumer_msg_recv (received, consumer) == 0);
    CHECK (dafka_consumer_msg_streq (received, "frame"));

    test_case ("the record source can be polled, and carries three frames");
    zsock_t *source = dafka_consumer_record_source (consumer);
    CHECK (source && zsock_is (source));
    for (int number = 0; number < 3; number++) {
        test_send (producer, "raw %d", number);
        CHECK (test_poll (source, PATIENCE_MS));
        zmsg_t *raw = zmsg_recv (source);
        CHECK (raw && zmsg_size (raw) == 3);
        char *subject = zmsg_popstr (raw);
        char *from = zmsg_popstr (raw);
        char *content = zmsg_popstr (raw);
        char *expected = zsys_sprintf ("raw %d", number);
        CHECK_STR (subject, "live");
        CHECK_STR (from, address);
        CHECK_STR (content, expected);
        zstr_free (&subject);
        zstr_free (&from);
        zstr_free (&content);
        zstr_free (&expected);
        zmsg_destroy (&raw);
    }

    test_case ("the record source can be read with recv_from_socket");
    test_send (producer, "from socket");
    CHECK (dafka_consumer_msg_recv_from_socket (received, source) == 0);
    CHECK_STR (dafka_consumer_msg_subject (received), "live");
    CHECK_STR (dafka_consumer_msg_address (received), address);
    CHECK (dafka_consumer_msg_streq (received, "from socket"));
    dafka_consumer_msg_destroy (&received);

    free (address);
    dafka_consumer_destroy (&consumer);
    CHECK (consumer == NULL);
    zactor_destroy (&producer);
}


//  --------------------------------------------------------------------------
//  Subscriptions

static bool
s_is_subscribed (dafka_consumer_t *consumer, const char *topic)
{
    zlist_t *topics = dafka_consumer_subscription (consumer);
    CHECK (topics);
    for (char *item = (char *) zlist_first (topics); item; item = (char *) zlist_next (topics))
        if (streq (item, topic))
            return true;
    return false;
}

static void
s_test_subscription (zconfig_t *config)
{
    test_case ("the list of subscriptions");
    dafka_consumer_t *consumer = test_consumer_new (NULL, config);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 0);
    CHECK (dafka_consumer_subscribe (consumer, "one") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "two") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "one") == 0);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 2);
    CHECK (s_is_subscribed (consumer, "one"));
    CHECK (s_is_subscribed (consumer, "two"));

    test_case ("subscribing twice delivers once");
    zactor_t *one = test_producer_new ("one", config);
    zactor_t *two = test_producer_new ("two", config);
    dafka_consumer_t *witness = test_consumer_new ("one", config);
    for (int number = 0; number < 10; number++) {
        test_send (one, "both %d", number);
        test_recv (consumer, "one", dafka_producer_address (one), "both %d", number);
        test_recv (witness, "one", dafka_producer_address (one), "both %d", number);
        test_send (two, "both %d", number);
        test_recv (consumer, "two", dafka_producer_address (two), "both %d", number);
    }

    test_case ("unsubscribe stops delivery of that topic only");
    CHECK (dafka_consumer_unsubscribe (consumer, "one") == 0);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 1);
    CHECK (!s_is_subscribed (consumer, "one"));
    CHECK (s_is_subscribed (consumer, "two"));

    //  Records in flight may still arrive. They must stop while the witness receives every record of "one" and the
    //  consumer every record of "two".
    int quiet_rounds = 0;
    for (int round = 0; quiet_rounds < 10; round++) {
        CHECK (round < 200);
        char *content = zsys_sprintf ("round %d", round);
        test_send (one, "%s", content);
        test_recv (witness, "one", NULL, "%s", content);
        test_send (two, "%s", content);
        quiet_rounds++;
        bool arrived = false;
        while (!arrived) {
            dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
            CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
            if (streq (dafka_consumer_msg_subject (msg), "one"))
                quiet_rounds = 0;
            else {
                CHECK (dafka_consumer_msg_streq (msg, content));
                arrived = true;
            }
            dafka_consumer_msg_destroy (&msg);
        }
        zstr_free (&content);
    }

    test_case ("a topic can be subscribed to again");
    CHECK (dafka_consumer_subscribe (consumer, "one") == 0);
    CHECK (s_is_subscribed (consumer, "one"));
    do
        test_send (one, "again");
    while (!test_poll (dafka_consumer_record_source (consumer), 20));
    test_case ("the first record after subscribing again");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK_STR (dafka_consumer_msg_subject (msg), "one");
    dafka_consumer_msg_destroy (&msg);

    dafka_consumer_destroy (&witness);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&one);
    zactor_destroy (&two);
}

static void
s_test_exact_topics (zconfig_t *config)
{
    test_case ("hello, hello2 and hell are different topics");
    zactor_t *hello = test_producer_new ("hello", config);
    zactor_t *hello2 = test_producer_new ("hello2", config);
    zactor_t *hell = test_producer_new ("hell", config);
    dafka_consumer_t *consumer = test_consumer_new ("hello", config);
    dafka_consumer_t *consumer2 = test_consumer_new ("hello2", config);
    dafka_consumer_t *consumer3 = test_consumer_new ("hell", config);

    //  Each round shows that the records of the other topics were sent before ours.
    for (int round = 0; round < 20; round++) {
        test_send (hello2, "round %d", round);
        test_recv (consumer2, "hello2", dafka_producer_address (hello2), "round %d", round);
        test_send (hell, "round %d", round);
        test_recv (consumer3, "hell", dafka_producer_address (hell), "round %d", round);
        test_send (hello, "round %d", round);
        test_recv (consumer, "hello", dafka_producer_address (hello), "round %d", round);
    }
    dafka_consumer_destroy (&consumer3);
    dafka_consumer_destroy (&consumer2);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&hell);
    zactor_destroy (&hello2);
    zactor_destroy (&hello);
}


//  --------------------------------------------------------------------------
//  A consumer that writes to a socket of the application

static void
s_test_record_sink (zconfig_t *config, const char *kind)
{
    test_case ("record_sink of type %s: a signal, then records", kind);
    zsock_t *sink, *source;
    if (streq (kind, "PAIR"))
        source = zsys_create_pipe (&sink);
    else {
        source = zsock_new_pull ("@inproc://custom-record-sink");
        sink = zsock_new_push (">inproc://custom-record-sink");
    }
    CHECK (source && sink);
    dafka_consumer_args_t args = { config, sink };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    CHECK (consumer);
    CHECK (args.config == config && args.record_sink == sink);
    CHECK (dafka_consumer_record_source (consumer) == NULL);

    zmsg_t *first = zmsg_recv (source);
    CHECK (first && zmsg_signal (first) == 0);
    zmsg_destroy (&first);

    zactor_t *producer = test_producer_new (kind, config);
    CHECK (dafka_consumer_subscribe (consumer, kind) == 0);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (int number = 0; number < 10; number++) {
        char *content = zsys_sprintf ("sink %d", number);
        test_send (producer, "%s", content);
        CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), kind);
        CHECK_STR (dafka_consumer_msg_address (msg), dafka_producer_address (producer));
        CHECK (dafka_consumer_msg_streq (msg, content));
        zstr_free (&content);
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);     //  This closes the sink, as test_end checks
    zactor_destroy (&producer);
    zsock_destroy (&source);
}

int
main (void)
{
    test_begin ("test_producer_consumer", 120);
    s_test_producer_msg ();
    s_test_consumer_msg ();

    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");    //  There is no store
    test_case ("starting the tower");
    zactor_t *tower = test_tower_new (config);

    s_test_live (config);
    s_test_subscription (config);
    s_test_exact_topics (config);
    s_test_record_sink (config, "PAIR");
    s_test_record_sink (config, "PUSH");

    test_case ("ending the tower");
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
