/*  =========================================================================
    every_function - each exported function with its type, as the reference for the C API gives it

    The file that includes this defines FUNCTION (result, name, parameters), which is called once for each.
    =========================================================================
*/

//  Actors
FUNCTION (void, dafka_tower_actor, (zsock_t *, void *))
FUNCTION (void, dafka_store_actor, (zsock_t *, void *))
FUNCTION (void, dafka_beacon_actor, (zsock_t *, void *))
FUNCTION (void, dafka_producer, (zsock_t *, void *))
FUNCTION (void, dafka_publisher_actor, (zsock_t *, void *))
FUNCTION (void, dafka_subscriber_actor, (zsock_t *, void *))

//  Publisher and subscriber
FUNCTION (int, dafka_publisher_publish, (zactor_t *, zframe_t **))
FUNCTION (const char *, dafka_publisher_address, (zactor_t *))
FUNCTION (int, dafka_subscriber_subscribe, (zactor_t *, const char *))

//  Producer
FUNCTION (const char *, dafka_producer_address, (zactor_t *))
FUNCTION (dafka_producer_msg_t *, dafka_producer_msg_new, (void))
FUNCTION (void, dafka_producer_msg_destroy, (dafka_producer_msg_t **))
FUNCTION (const byte *, dafka_producer_msg_content, (dafka_producer_msg_t *))
FUNCTION (size_t, dafka_producer_msg_content_size, (dafka_producer_msg_t *))
FUNCTION (zframe_t *, dafka_producer_msg_get_content, (dafka_producer_msg_t *))
FUNCTION (int, dafka_producer_msg_init_content, (dafka_producer_msg_t *, size_t))
FUNCTION (void, dafka_producer_msg_set_content, (dafka_producer_msg_t *, zframe_t **))
FUNCTION (int, dafka_producer_msg_set_content_str, (dafka_producer_msg_t *, const char *))
FUNCTION (int, dafka_producer_msg_set_content_buffer, (dafka_producer_msg_t *, const byte *, size_t))
FUNCTION (int, dafka_producer_msg_send, (dafka_producer_msg_t *, zactor_t *))
FUNCTION (char *, dafka_producer_msg_strdup, (dafka_producer_msg_t *))
FUNCTION (bool, dafka_producer_msg_streq, (dafka_producer_msg_t *, const char *))

//  Consumer
FUNCTION (dafka_consumer_t *, dafka_consumer_new, (dafka_consumer_args_t *))
FUNCTION (void, dafka_consumer_destroy, (dafka_consumer_t **))
FUNCTION (int, dafka_consumer_subscribe, (dafka_consumer_t *, const char *))
FUNCTION (int, dafka_consumer_unsubscribe, (dafka_consumer_t *, const char *))
FUNCTION (const char *, dafka_consumer_address, (dafka_consumer_t *))
FUNCTION (zlist_t *, dafka_consumer_subscription, (dafka_consumer_t *))
FUNCTION (zsock_t *, dafka_consumer_record_source, (dafka_consumer_t *))
FUNCTION (dafka_consumer_msg_t *, dafka_consumer_msg_new, (void))
FUNCTION (void, dafka_consumer_msg_destroy, (dafka_consumer_msg_t **))
FUNCTION (const char *, dafka_consumer_msg_subject, (dafka_consumer_msg_t *))
FUNCTION (const char *, dafka_consumer_msg_address, (dafka_consumer_msg_t *))
FUNCTION (const byte *, dafka_consumer_msg_content, (dafka_consumer_msg_t *))
FUNCTION (size_t, dafka_consumer_msg_content_size, (dafka_consumer_msg_t *))
FUNCTION (zframe_t *, dafka_consumer_msg_get_content, (dafka_consumer_msg_t *))
FUNCTION (int, dafka_consumer_msg_recv, (dafka_consumer_msg_t *, dafka_consumer_t *))
FUNCTION (int, dafka_consumer_msg_recv_from_socket, (dafka_consumer_msg_t *, zsock_t *))
FUNCTION (char *, dafka_consumer_msg_strdup, (dafka_consumer_msg_t *))
FUNCTION (bool, dafka_consumer_msg_streq, (dafka_consumer_msg_t *, const char *))

//  Beacon
FUNCTION (void, dafka_beacon_recv, (zactor_t *, zsock_t *, bool, const char *))

//  Protocol codec
FUNCTION (dafka_proto_t *, dafka_proto_new, (void))
FUNCTION (void, dafka_proto_destroy, (dafka_proto_t **))
FUNCTION (dafka_proto_t *, dafka_proto_dup, (dafka_proto_t *))
FUNCTION (int, dafka_proto_recv, (dafka_proto_t *, zsock_t *))
FUNCTION (int, dafka_proto_send, (dafka_proto_t *, zsock_t *))
FUNCTION (zframe_t *, dafka_proto_encode, (dafka_proto_t *))
FUNCTION (void, dafka_proto_print, (dafka_proto_t *))
FUNCTION (dafka_proto_t *, dafka_proto_new_zpl, (zconfig_t *))
FUNCTION (zconfig_t *, dafka_proto_zpl, (dafka_proto_t *, zconfig_t *))
FUNCTION (zframe_t *, dafka_proto_routing_id, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_routing_id, (dafka_proto_t *, zframe_t *))
FUNCTION (const char *, dafka_proto_topic, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_topic, (dafka_proto_t *, const char *))
FUNCTION (char, dafka_proto_id, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_id, (dafka_proto_t *, char))
FUNCTION (const char *, dafka_proto_command, (dafka_proto_t *))
FUNCTION (const char *, dafka_proto_address, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_address, (dafka_proto_t *, const char *))
FUNCTION (const char *, dafka_proto_subject, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_subject, (dafka_proto_t *, const char *))
FUNCTION (uint64_t, dafka_proto_sequence, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_sequence, (dafka_proto_t *, uint64_t))
FUNCTION (uint32_t, dafka_proto_count, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_count, (dafka_proto_t *, uint32_t))
FUNCTION (zmq_msg_t *, dafka_proto_content, (dafka_proto_t *))
FUNCTION (void, dafka_proto_get_content, (dafka_proto_t *, zmq_msg_t *))
FUNCTION (void, dafka_proto_set_content, (dafka_proto_t *, zmq_msg_t *))
FUNCTION (zlist_t *, dafka_proto_subjects, (dafka_proto_t *))
FUNCTION (zlist_t *, dafka_proto_get_subjects, (dafka_proto_t *))
FUNCTION (void, dafka_proto_set_subjects, (dafka_proto_t *, zlist_t **))
FUNCTION (void, dafka_proto_subscribe, (zsock_t *, char, const char *))
FUNCTION (void, dafka_proto_unsubscribe, (zsock_t *, char, const char *))
FUNCTION (bool, dafka_proto_is_subscribe, (dafka_proto_t *))

//  Self tests
FUNCTION (void, dafka_proto_test, (bool))
FUNCTION (void, dafka_beacon_test, (bool))
FUNCTION (void, dafka_tower_test, (bool))
FUNCTION (void, dafka_store_test, (bool))
FUNCTION (void, dafka_producer_test, (bool))
FUNCTION (void, dafka_producer_msg_test, (bool))
FUNCTION (void, dafka_consumer_test, (bool))
FUNCTION (void, dafka_consumer_msg_test, (bool))
FUNCTION (void, dafka_publisher_test, (bool))
FUNCTION (void, dafka_subscriber_test, (bool))
