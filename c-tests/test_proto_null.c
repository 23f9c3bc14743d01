/*  =========================================================================
    test_proto_null - NULL for every pointer of the functions of dafka_proto
    =========================================================================
*/

#include "testing.h"

static void
s_test_destructor (void)
{
    test_case ("destructor");
    dafka_proto_t *proto = NULL;
    dafka_proto_destroy (NULL);
    dafka_proto_destroy (&proto);
    proto = dafka_proto_new ();
    CHECK (proto);
    dafka_proto_destroy (&proto);
    CHECK (proto == NULL);
    dafka_proto_destroy (&proto);
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
    dafka_proto_command (NULL);                 //  NULL or "?"
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

int
main (void)
{
    test_begin ("test_proto_null", 60);
    s_test_destructor ();
    s_test_proto ();
    return test_end ();
}
