/*  =========================================================================
    second_generation - a producer, a store, a consumer that is polled, and a consumer with a sink of the program
    =========================================================================
*/

#include "drop_in.h"

#define RECORDS 6

static const char *contents [RECORDS] = { "one", "t\0wo", "three", "four", "", "by hand" };
static const size_t sizes [RECORDS] = { 3, 4, 5, 4, 0, 7 };

static void
s_produce (zactor_t *producer)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_content (msg) == NULL);
    CHECK (dafka_producer_msg_content_size (msg) == 0);
    CHECK (dafka_producer_msg_get_content (msg) == NULL);
    CHECK (dafka_producer_msg_strdup (msg) == NULL);
    CHECK (!dafka_producer_msg_streq (msg, "x"));
    CHECK (dafka_producer_msg_send (msg, producer) == -1);

    CHECK (dafka_producer_msg_set_content_str (msg, "one") == 0);
    CHECK (dafka_producer_msg_streq (msg, "one"));
    CHECK (dafka_producer_msg_content_size (msg) == 3);
    char *text = dafka_producer_msg_strdup (msg);
    CHECK (streq (text, "one"));
    zstr_free (&text);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);

    //  The message is empty, and can be used again.
    CHECK (dafka_producer_msg_content (msg) == NULL);
    CHECK (dafka_producer_msg_send (msg, producer) == -1);
    CHECK (dafka_producer_msg_set_content_buffer (msg, (const byte *) contents [1], sizes [1]) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    zframe_t *frame = zframe_from ("three");
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (!frame);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_init_content (msg, 4) == 0);
    memcpy ((byte *) dafka_producer_msg_content (msg), "four", 4);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_init_content (msg, 0) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    dafka_producer_msg_destroy (&msg);
    CHECK (!msg);
    dafka_producer_msg_destroy (&msg);

    zframe_t *command = zframe_from ("P");
    zframe_t *content = zframe_from ("by hand");
    CHECK (zframe_send (&command, producer, ZFRAME_MORE) == 0);
    CHECK (zframe_send (&content, producer, 0) == 0);
}

//  Waits with a poller, and reads in each of the three ways

static void
s_consume (zconfig_t *config, const char *address)
{
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    CHECK (consumer && args.config == config && args.record_sink == NULL);
    CHECK (strlen (dafka_consumer_address (consumer)) == 32);
    CHECK (dafka_consumer_subscribe (consumer, "orders") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "orders") == 0);
    zlist_t *topics = dafka_consumer_subscription (consumer);
    CHECK (zlist_size (topics) == 1 && streq ((char *) zlist_first (topics), "orders"));

    zsock_t *source = dafka_consumer_record_source (consumer);
    zpoller_t *poller = zpoller_new (source, NULL);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int number;
    for (number = 0; number < RECORDS; number++) {
        CHECK (zpoller_wait (poller, 60000) == source);
        if (number % 3 == 2) {
            zmsg_t *raw = zmsg_recv (source);
            CHECK (zmsg_size (raw) == 3);
            char *subject = zmsg_popstr (raw), *partition = zmsg_popstr (raw);
            CHECK (streq (subject, "orders") && streq (partition, address));
            zstr_free (&subject);
            zstr_free (&partition);
            zframe_t *content = zmsg_pop (raw);
            CHECK (zframe_size (content) == sizes [number]);
            CHECK (memcmp (zframe_data (content), contents [number], sizes [number]) == 0);
            zframe_destroy (&content);
            zmsg_destroy (&raw);
            continue;
        }
        if (number % 3 == 0)
            CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        else
            CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == 0);
        CHECK (streq (dafka_consumer_msg_subject (msg), "orders"));
        CHECK (streq (dafka_consumer_msg_address (msg), address));
        CHECK (dafka_consumer_msg_content_size (msg) == sizes [number]);
        CHECK (!sizes [number] || memcmp (dafka_consumer_msg_content (msg), contents [number], sizes [number]) == 0);
        char *text = dafka_consumer_msg_strdup (msg);
        CHECK (text && streq (text, contents [number]));
        zstr_free (&text);
        CHECK (dafka_consumer_msg_streq (msg, contents [number]) == (strlen (contents [number]) == sizes [number]));
        zframe_t *content = dafka_consumer_msg_get_content (msg);
        CHECK (content && zframe_size (content) == sizes [number]);
        zframe_destroy (&content);
        CHECK (dafka_consumer_msg_content (msg) == NULL && dafka_consumer_msg_content_size (msg) == 0);
    }
    dafka_consumer_msg_destroy (&msg);
    CHECK (!msg);
    dafka_consumer_msg_destroy (&msg);
    CHECK (dafka_consumer_unsubscribe (consumer, "orders") == 0);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 0);
    zpoller_destroy (&poller);
    dafka_consumer_destroy (&consumer);
    CHECK (!consumer);
    dafka_consumer_destroy (&consumer);
}

//  A signal first, then the records

static void
s_consume_to_sink (zconfig_t *config)
{
    zsock_t *reader = zsock_new_pull ("@inproc://sink");
    zsock_t *sink = zsock_new_push (">inproc://sink");
    dafka_consumer_args_t args = { config, sink };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    CHECK (consumer && args.record_sink == sink);
    CHECK (zsock_wait (reader) == 0);
    CHECK (dafka_consumer_record_source (consumer) == NULL);
    CHECK (dafka_consumer_subscribe (consumer, "orders") == 0);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int number;
    for (number = 0; number < RECORDS; number++) {
        CHECK (dafka_consumer_msg_recv_from_socket (msg, reader) == 0);
        CHECK (dafka_consumer_msg_content_size (msg) == sizes [number]);
    }
    CHECK (dafka_consumer_msg_recv (msg, consumer) == -1);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zsock_destroy (&reader);
}

int
main (void)
{
    BEGIN ();
    zconfig_t *config = network_config ();
    zconfig_put (config, "consumer/offset/reset", "earliest");
    char *directory = store_directory (config);
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    dafka_producer_args_t args = { "orders", config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    CHECK (tower && store && producer);

    s_produce (producer);
    s_consume (config, dafka_producer_address (producer));
    s_consume_to_sink (config);

    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    remove_directory (&directory);
    puts ("second_generation: OK");
    return 0;
}
