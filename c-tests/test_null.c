/*  =========================================================================
    test_null - NULL for every pointer of every function: each function returns its error (NULL, -1, 0, false), and the
    process continues; destructors accept NULL, a pointer to NULL, and the same object twice
    =========================================================================
*/

#include "testing.h"

static void
s_test_destructors (void)
{
    test_case ("destructors");
    dafka_producer_msg_t *producer_msg = NULL;
    dafka_producer_msg_destroy (NULL);
    dafka_producer_msg_destroy (&producer_msg);
    producer_msg = dafka_producer_msg_new ();
    CHECK (producer_msg);
    dafka_producer_msg_destroy (&producer_msg);
    CHECK (producer_msg == NULL);
    dafka_producer_msg_destroy (&producer_msg);

    dafka_consumer_msg_t *consumer_msg = NULL;
    dafka_consumer_msg_destroy (NULL);
    dafka_consumer_msg_destroy (&consumer_msg);
    consumer_msg = dafka_consumer_msg_new ();
    CHECK (consumer_msg);
    dafka_consumer_msg_destroy (&consumer_msg);
    CHECK (consumer_msg == NULL);
    dafka_consumer_msg_destroy (&consumer_msg);

    dafka_proto_t *proto = NULL;
    dafka_proto_destroy (NULL);
    dafka_proto_destroy (&proto);
    proto = dafka_proto_new ();
    CHECK (proto);
    dafka_proto_destroy (&proto);
    CHECK (proto == NULL);
    dafka_proto_destroy (&proto);

    dafka_consumer_t *consumer = NULL;
    dafka_consumer_destroy (NULL);
    dafka_consumer_destroy (&consumer);     //  For a second call on a real consumer see s_test_consumer
}

static void
s_test_proto (void)
{
    test_case ("proto without a message");
    zlist_t *list = NULL;
    zmq_msg_t content;
    zmq_msg_init (&content);
    CHECK (dafka_proto_dup (NULL) == NULL);
    CHECK (dafka_proto_recv (NULL, NULL) < 0);
    CHECK (dafka_proto_send (NULL, NULL) == -1);
    CHECK (dafka_proto_encode (NULL) == NULL);
    dafka_proto_print (NULL);
    CHECK (dafka_proto_new_zpl (NULL) == NULL);
    CHECK (dafka_proto_zpl (NULL, NULL) == NULL);
    CHECK (dafka_proto_routing_id (NULL) == NULL);
    dafka_proto_set_routing_id (NULL, NULL);
    CHECK (dafka_proto_topic (NULL) == NULL);
    dafka_proto_set_topic (NULL, NULL);
    CHECK (dafka_proto_id (NULL) == 0);
    dafka_proto_set_id (NULL, DAFKA_PROTO_ACK);
    dafka_proto_command (NULL);                 //  "?"
    CHECK (dafka_proto_address (NULL) == NULL);
    dafka_proto_set_address (NULL, NULL);
    CHECK (dafka_proto_subject (NULL) == NULL);
    dafka_proto_set_subject (NULL, NULL);
    CHECK (dafka_proto_sequence (NULL) == 0);
    dafka_proto_set_sequence (NULL, 1);
    CHECK (dafka_proto_count (NULL) == 0);
    dafka_proto_set_count (NULL, 1);
    CHECK (dafka_proto_content (NULL) == NULL);
    dafka_proto_get_content (NULL, NULL);
    dafka_proto_get_content (NULL, &content);
    dafka_proto_set_content (NULL, NULL);
    dafka_proto_set_content (NULL, &content);
    CHECK (dafka_proto_subjects (NULL) == NULL);
    CHECK (dafka_proto_get_subjects (NULL) == NULL);
    dafka_proto_set_subjects (NULL, NULL);
    dafka_proto_set_subjects (NULL, &list);
    dafka_proto_subscribe (NULL, DAFKA_PROTO_RECORD, "topic");
    dafka_proto_unsubscribe (NULL, DAFKA_PROTO_RECORD, "topic");
    CHECK (!dafka_proto_is_subscribe (NULL));

    test_case ("proto without an argument");
    dafka_proto_t *proto = dafka_proto_new ();
    CHECK (proto);
    CHECK (dafka_proto_recv (proto, NULL) < 0);
    CHECK (dafka_proto_send (proto, NULL) == -1);
    dafka_proto_set_routing_id (proto, NULL);
    dafka_proto_set_topic (proto, NULL);
    dafka_proto_set_address (proto, NULL);
    dafka_proto_set_subject (proto, NULL);
    dafka_proto_get_content (proto, NULL);
    dafka_proto_set_content (proto, NULL);
    dafka_proto_set_subjects (proto, NULL);
    dafka_proto_set_subjects (proto, &list);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    dafka_proto_subscribe (sub, DAFKA_PROTO_RECORD, NULL);
    dafka_proto_unsubscribe (sub, DAFKA_PROTO_RECORD, NULL);
    zsock_destroy (&sub);
    dafka_proto_destroy (&proto);
    zmq_msg_close (&content);
}

static void
s_test_producer_msg (zactor_t *producer)
{
    test_case ("producer_msg without a message");
    CHECK (dafka_producer_msg_content (NULL) == NULL);
    CHECK (dafka_producer_msg_content_size (NULL) == 0);
    CHECK (dafka_producer_msg_get_content (NULL) == NULL);
    CHECK (dafka_producer_msg_init_content (NULL, 10) == -1);
    CHECK (dafka_producer_msg_set_content_str (NULL, "text") == -1);
    CHECK (dafka_producer_msg_set_content_str (NULL, NULL) == -1);
    CHECK (dafka_producer_msg_set_content_buffer (NULL, (const byte *) "text", 4) == -1);
    CHECK (dafka_producer_msg_set_content_buffer (NULL, NULL, 4) == -1);
    CHECK (dafka_producer_msg_send (NULL, producer) == -1);
    CHECK (dafka_producer_msg_send (NULL, NULL) == -1);
    CHECK (dafka_producer_msg_try_send (NULL, producer) == -1);
    CHECK (dafka_producer_msg_try_send (NULL, NULL) == -1);
    CHECK (dafka_producer_msg_strdup (NULL) == NULL);
    CHECK (!dafka_producer_msg_streq (NULL, "text"));
    CHECK (!dafka_producer_msg_streq (NULL, NULL));
    dafka_producer_msg_set_content (NULL, NULL);
    zframe_t *frame = zframe_from ("taken, or still the caller's");
    dafka_producer_msg_set_content (NULL, &frame);
    zframe_destroy (&frame);

    test_case ("producer_msg without an argument");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_set_content_str (msg, NULL) == -1);
    CHECK (dafka_producer_msg_set_content_buffer (msg, NULL, 4) == -1);
    CHECK (!dafka_producer_msg_streq (msg, NULL));
    CHECK (dafka_producer_msg_set_key (msg, NULL, 4) == -1);
    CHECK (dafka_producer_msg_set_header (msg, NULL, NULL, 0) == -1);
    CHECK (dafka_producer_msg_set_header (msg, "name", NULL, 4) == -1);
    CHECK (dafka_producer_msg_set_key (NULL, NULL, 0) == -1);
    CHECK (dafka_producer_msg_set_header (NULL, "name", NULL, 0) == -1);
    dafka_producer_msg_set_timestamp (NULL, 0);
    dafka_producer_msg_set_content (msg, NULL);
    frame = NULL;
    dafka_producer_msg_set_content (msg, &frame);
    CHECK (dafka_producer_msg_send (msg, NULL) == -1);
    CHECK (dafka_producer_msg_try_send (msg, NULL) == -1);

    CHECK (dafka_producer_msg_set_content_str (msg, "text") == 0);
    CHECK (!dafka_producer_msg_streq (msg, NULL));
    CHECK (dafka_producer_msg_send (msg, NULL) == -1);
    dafka_producer_msg_destroy (&msg);

    test_case ("producer without an actor");
    uint64_t sequence;
    CHECK (dafka_producer_address (NULL) == NULL);
    CHECK (dafka_producer_flush (NULL, 0) == -1);
    CHECK (dafka_producer_flush (NULL, -1) == -1);
    CHECK (dafka_producer_unacked (NULL) == -1);
    CHECK (dafka_producer_acked (NULL, &sequence) == -1);
    CHECK (dafka_producer_acked (producer, NULL) == -1);
    CHECK (dafka_producer_acked (NULL, NULL) == -1);
}

static void
s_test_consumer_msg (dafka_consumer_t *consumer)
{
    test_case ("consumer_msg without a message");
    zsock_t *socket = zsock_new_pull ("@inproc://null");
    CHECK (dafka_consumer_msg_subject (NULL) == NULL);
    CHECK (dafka_consumer_msg_address (NULL) == NULL);
    CHECK (dafka_consumer_msg_content (NULL) == NULL);
    CHECK (dafka_consumer_msg_content_size (NULL) == 0);
    CHECK (dafka_consumer_msg_get_content (NULL) == NULL);
    CHECK (dafka_consumer_msg_sequence (NULL) == UINT64_MAX);
    CHECK (dafka_consumer_msg_timestamp (NULL) == -1);
    CHECK (dafka_consumer_msg_key (NULL) == NULL);
    CHECK (dafka_consumer_msg_key_size (NULL) == 0);
    CHECK (dafka_consumer_msg_header (NULL, "name", NULL) == NULL);
    CHECK (dafka_consumer_msg_first_header (NULL, NULL) == NULL);
    CHECK (dafka_consumer_msg_next_header (NULL, NULL) == NULL);
    CHECK (dafka_consumer_msg_header_name (NULL) == NULL);
    CHECK (dafka_consumer_msg_recv (NULL, consumer) == -1);
    CHECK (dafka_consumer_msg_recv (NULL, NULL) == -1);
    CHECK (dafka_consumer_msg_recv_from_socket (NULL, socket) == -1);
    CHECK (dafka_consumer_msg_recv_from_socket (NULL, NULL) == -1);
    CHECK (dafka_consumer_msg_strdup (NULL) == NULL);
    CHECK (!dafka_consumer_msg_streq (NULL, "text"));
    CHECK (!dafka_consumer_msg_streq (NULL, NULL));

    test_case ("consumer_msg without an argument");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_recv (msg, NULL) == -1);
    CHECK (dafka_consumer_msg_recv_from_socket (msg, NULL) == -1);
    CHECK (!dafka_consumer_msg_streq (msg, NULL));
    CHECK (dafka_consumer_msg_header (msg, NULL, NULL) == NULL);
    dafka_consumer_msg_destroy (&msg);
    zsock_destroy (&socket);
}

static void
s_test_consumer (zconfig_t *config)
{
    test_case ("consumer without an object");
    CHECK (dafka_consumer_new (NULL) == NULL);
    CHECK (dafka_consumer_subscribe (NULL, "topic") == -1);
    CHECK (dafka_consumer_subscribe (NULL, NULL) == -1);
    CHECK (dafka_consumer_seek (NULL, "topic", "partition", 0) == -1);
    CHECK (dafka_consumer_seek_time (NULL, "topic", 0) == -1);
    CHECK (dafka_consumer_seek_end (NULL, "topic") == -1);
    CHECK (dafka_consumer_pause (NULL, "topic") == -1);
    CHECK (dafka_consumer_resume (NULL, "topic") == -1);
    CHECK (dafka_consumer_lag (NULL, "topic") == -1);
    CHECK (dafka_consumer_commit (NULL) == -1);
    CHECK (dafka_consumer_commit_msg (NULL, NULL) == -1);
    CHECK (dafka_consumer_unsubscribe (NULL, "topic") == -1);
    CHECK (dafka_consumer_unsubscribe (NULL, NULL) == -1);
    CHECK (dafka_consumer_address (NULL) == NULL);
    CHECK (dafka_consumer_subscription (NULL) == NULL);
    CHECK (dafka_consumer_record_source (NULL) == NULL);

    test_case ("consumer without a configuration");
    dafka_consumer_args_t args = { NULL, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);    //  NULL, or one with the defaults
    dafka_consumer_destroy (&consumer);
    CHECK (consumer == NULL);

    test_case ("consumer without a topic");
    consumer = test_consumer_new (NULL, config);
    CHECK (dafka_consumer_subscribe (consumer, NULL) == -1);
    CHECK (dafka_consumer_seek (consumer, NULL, "partition", 0) == -1);
    CHECK (dafka_consumer_seek (consumer, "topic", NULL, 0) == -1);
    CHECK (dafka_consumer_seek_time (consumer, NULL, 0) == -1);
    CHECK (dafka_consumer_seek_end (consumer, NULL) == -1);
    CHECK (dafka_consumer_pause (consumer, NULL) == -1);
    CHECK (dafka_consumer_resume (consumer, NULL) == -1);
    CHECK (dafka_consumer_lag (consumer, NULL) == -1);
    CHECK (dafka_consumer_commit_msg (consumer, NULL) == -1);
    CHECK (dafka_consumer_unsubscribe (consumer, NULL) == -1);
    CHECK (zlist_size (dafka_consumer_subscription (consumer)) == 0);
    dafka_consumer_destroy (&consumer);
    CHECK (consumer == NULL);
    dafka_consumer_destroy (&consumer);
}

static void
s_test_publisher_subscriber (zconfig_t *config)
{
    test_case ("publisher and subscriber without an actor");
    CHECK (dafka_publisher_address (NULL) == NULL);
    CHECK (dafka_publisher_publish (NULL, NULL) == -1);
    zframe_t *frame = zframe_from ("taken also on error");
    CHECK (dafka_publisher_publish (NULL, &frame) == -1);
    CHECK (frame == NULL);
    CHECK (dafka_subscriber_subscribe (NULL, "topic") == -1);
    CHECK (dafka_subscriber_subscribe (NULL, NULL) == -1);

    test_case ("publisher without a frame");
    zactor_t *publisher = test_publisher_new ("null", config);
    CHECK (dafka_publisher_publish (publisher, NULL) == -1);
    CHECK (dafka_publisher_publish (publisher, &frame) == -1);
    CHECK (frame == NULL);
    CHECK (dafka_publisher_address (publisher));
    zactor_destroy (&publisher);

    test_case ("subscriber without a topic");
    zactor_t *subscriber = test_subscriber_new (config);
    CHECK (dafka_subscriber_subscribe (subscriber, NULL) == -1);
    zactor_destroy (&subscriber);
}

//  zactor_new and zactor_destroy must return, even if the actor rejects its arguments

static void
s_start_and_end (const char *what, zactor_fn task, void *args)
{
    test_case ("%s", what);
    zactor_t *actor = zactor_new (task, args);
    CHECK (actor);
    zactor_destroy (&actor);
    CHECK (actor == NULL);
    zactor_destroy (&actor);
}

static void
s_test_actors (zconfig_t *config)
{
    test_case ("actors without a pipe");
    dafka_producer_args_t producer_args = { "null", config };
    dafka_publisher_args_t publisher_args = { "null", config };
    dafka_beacon_args_t beacon_args = { "null", config };
    dafka_tower_actor (NULL, config);
    dafka_store_actor (NULL, config);
    dafka_beacon_actor (NULL, &beacon_args);
    dafka_producer (NULL, &producer_args);
    dafka_publisher_actor (NULL, &publisher_args);
    dafka_subscriber_actor (NULL, config);
    dafka_tower_actor (NULL, NULL);
    dafka_store_actor (NULL, NULL);
    dafka_beacon_actor (NULL, NULL);
    dafka_producer (NULL, NULL);
    dafka_publisher_actor (NULL, NULL);
    dafka_subscriber_actor (NULL, NULL);

    //  Not the tower, which would bind its default ports on all interfaces.
    s_start_and_end ("store without arguments", dafka_store_actor, NULL);
    s_start_and_end ("beacon without arguments", dafka_beacon_actor, NULL);
    s_start_and_end ("producer without arguments", dafka_producer, NULL);
    s_start_and_end ("publisher without arguments", dafka_publisher_actor, NULL);
    s_start_and_end ("subscriber without arguments", dafka_subscriber_actor, NULL);

    producer_args.topic = NULL;
    s_start_and_end ("producer without a topic", dafka_producer, &producer_args);
    publisher_args.topic = NULL;
    s_start_and_end ("publisher without a topic", dafka_publisher_actor, &publisher_args);
    beacon_args.log_prefix = NULL;
    s_start_and_end ("beacon without a log prefix", dafka_beacon_actor, &beacon_args);

    dafka_producer_args_t producer_defaults = { "null", NULL };
    s_start_and_end ("producer without a configuration", dafka_producer, &producer_defaults);
    dafka_publisher_args_t publisher_defaults = { "null", NULL };
    s_start_and_end ("publisher without a configuration", dafka_publisher_actor, &publisher_defaults);
    dafka_beacon_args_t beacon_defaults = { "null", NULL };
    s_start_and_end ("beacon without a configuration", dafka_beacon_actor, &beacon_defaults);
}

int
main (void)
{
    test_begin ("test_null", 120);
    CHECK (chdir (test_dir ()) == 0);       //  A store with the default store/db uses the working directory
    zconfig_t *config = test_config_without_store ();
    test_case ("starting tower, producer and consumer");
    zactor_t *tower = test_tower_new (config);
    zactor_t *producer = test_producer_new ("null", config);
    dafka_consumer_t *consumer = test_consumer_new ("null", config);

    s_test_destructors ();
    s_test_proto ();
    s_test_producer_msg (producer);
    s_test_consumer_msg (consumer);
    s_test_consumer (config);
    s_test_publisher_subscriber (config);
    s_test_actors (config);
    test_case ("beacon_recv without anything");
    dafka_beacon_recv (NULL, NULL, false, NULL);

    test_case ("after all that, records flow");
    test_send (producer, "alive");
    test_recv (consumer, "null", dafka_producer_address (producer), "alive");

    test_case ("ending");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
