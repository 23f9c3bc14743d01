/*  =========================================================================
    proto - messages over XPUB and SUB, over ROUTER and DEALER, and as ZPL
    =========================================================================
*/

#include "drop_in.h"

static void
s_publish (dafka_proto_t *sent, dafka_proto_t *received)
{
    zsock_t *xpub = zsock_new_xpub ("@inproc://proto");
    zsock_t *sub = zsock_new_sub (">inproc://proto", NULL);
    dafka_proto_subscribe (sub, DAFKA_PROTO_ACK, "ADDRESS");
    CHECK (dafka_proto_recv (received, xpub) == 0);
    CHECK (dafka_proto_is_subscribe (received));
    CHECK (dafka_proto_id (received) == 'K' && streq (dafka_proto_topic (received), "ADDRESS"));

    dafka_proto_set_id (sent, DAFKA_PROTO_ACK);
    dafka_proto_set_topic (sent, "ADDRESS");
    dafka_proto_set_subject (sent, "weather");
    dafka_proto_set_sequence (sent, UINT64_MAX - 3);
    CHECK (streq (dafka_proto_command (sent), "ACK"));
    //  Sending keeps the message.
    CHECK (dafka_proto_send (sent, xpub) == 0);
    CHECK (dafka_proto_send (sent, xpub) == 0);
    int number;
    for (number = 0; number < 2; number++) {
        CHECK (dafka_proto_recv (received, sub) == 0);
        CHECK (dafka_proto_id (received) == DAFKA_PROTO_ACK);
        CHECK (streq (dafka_proto_subject (received), "weather"));
        CHECK (dafka_proto_sequence (received) == UINT64_MAX - 3);
    }
    dafka_proto_unsubscribe (sub, 'K', "ADDRESS");
    CHECK (dafka_proto_recv (received, xpub) == 0);
    CHECK (!dafka_proto_is_subscribe (received) && dafka_proto_id (received) == 'K');
    zsock_set_rcvtimeo (sub, 20);
    CHECK (dafka_proto_recv (received, sub) == -1);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
}

//  Leaves a RECORD with a routing id in `sent`.

static void
s_route (dafka_proto_t *sent, dafka_proto_t *received)
{
    zsock_t *router = zsock_new_router ("@inproc://route");
    zsock_t *dealer = zsock_new_dealer (">inproc://route");
    zlist_t *subjects = zlist_new ();
    zlist_autofree (subjects);
    zlist_append (subjects, (void *) "hello");
    zlist_append (subjects, (void *) "world");
    dafka_proto_set_id (sent, DAFKA_PROTO_CONSUMER_HELLO);
    dafka_proto_set_topic (sent, "store");
    dafka_proto_set_address (sent, "consumer");
    dafka_proto_set_subjects (sent, &subjects);
    CHECK (!subjects);
    CHECK (dafka_proto_send (sent, dealer) == 0);
    CHECK (dafka_proto_recv (received, router) == 0);
    CHECK (zframe_size (dafka_proto_routing_id (received)) == 5);
    CHECK (streq (dafka_proto_command (received), "CONSUMER_HELLO"));
    CHECK (streq (dafka_proto_topic (received), "store") && streq (dafka_proto_address (received), "consumer"));
    CHECK (zlist_size (dafka_proto_subjects (received)) == 2);
    CHECK (streq ((char *) zlist_first (dafka_proto_subjects (received)), "hello"));
    CHECK (streq ((char *) zlist_next (dafka_proto_subjects (received)), "world"));
    subjects = dafka_proto_get_subjects (received);
    CHECK (zlist_size (subjects) == 2);
    zlist_destroy (&subjects);

    //  The answer goes to the same peer.
    dafka_proto_set_id (received, DAFKA_PROTO_MSG);
    dafka_proto_set_topic (received, "weather");
    dafka_proto_set_subject (received, "weather");
    zmq_msg_t content;
    zmq_msg_init_size (&content, 3);
    memcpy (zmq_msg_data (&content), "\0xy", 3);
    dafka_proto_set_content (received, &content);
    CHECK (zmq_msg_size (&content) == 0);
    CHECK (dafka_proto_send (received, router) == 0);
    CHECK (dafka_proto_recv (sent, dealer) == 0);
    CHECK (zmq_msg_size (dafka_proto_content (sent)) == 3);

    dafka_proto_t *copy = dafka_proto_dup (sent);
    dafka_proto_get_content (copy, &content);
    CHECK (zmq_msg_size (&content) == 3 && zmq_msg_size (dafka_proto_content (copy)) == 0);
    CHECK (zmq_msg_size (dafka_proto_content (sent)) == 3);
    zmq_msg_close (&content);
    dafka_proto_destroy (&copy);

    //  A malformed message
    zstr_send (dealer, "M");
    CHECK (dafka_proto_recv (received, router) == -2);
    zsock_send (dealer, "ss", "", "x");
    CHECK (dafka_proto_recv (received, router) == -2);
    zstr_send (dealer, "Ktopic");
    CHECK (dafka_proto_recv (received, router) == -2);
    zsock_destroy (&router);
    zsock_destroy (&dealer);

    zframe_t *routing_id = zframe_new ("\1\2\xFF", 3);
    dafka_proto_set_routing_id (sent, routing_id);
    zframe_destroy (&routing_id);
}

static void
s_convert (dafka_proto_t *record)
{
    zframe_t *frame = dafka_proto_encode (record);
    CHECK (memcmp (zframe_data (frame), "Mweather\0\1", 10) == 0);
    zframe_destroy (&frame);

    zconfig_t *root = zconfig_new ("root", NULL);
    zconfig_t *zpl = dafka_proto_zpl (record, root);
    CHECK (zpl && zconfig_locate (root, "dafka_proto") == zpl);
    CHECK (streq (zconfig_get (zpl, "message", ""), "DAFKA_PROTO_RECORD"));
    CHECK (streq (zconfig_get (zpl, "routing_id", ""), "0102FF"));
    CHECK (streq (zconfig_get (zpl, "topic", ""), "weather"));
    CHECK (streq (zconfig_get (zpl, "content/version", ""), "1"));
    CHECK (streq (zconfig_get (zpl, "content/content", ""), "007879"));
    dafka_proto_t *back = dafka_proto_new_zpl (zpl);
    CHECK (back && dafka_proto_id (back) == DAFKA_PROTO_RECORD);
    CHECK (streq (dafka_proto_subject (back), "weather"));
    CHECK (zmq_msg_size (dafka_proto_content (back)) == 3);
    CHECK (zframe_size (dafka_proto_routing_id (back)) == 3);
    dafka_proto_destroy (&back);
    zconfig_destroy (&root);

    FILE *log = tmpfile ();
    zsys_set_logstream (log);
    dafka_proto_print (record);
    zsys_set_logstream (stderr);
    char text [1000] = "";
    rewind (log);
    CHECK (fread (text, 1, sizeof (text) - 1, log) > 0);
    CHECK (strstr (text, "RECORD") && strstr (text, "weather"));
    fclose (log);
}

int
main (void)
{
    BEGIN ();
    dafka_proto_t *sent = dafka_proto_new ();
    dafka_proto_t *received = dafka_proto_new ();
    s_publish (sent, received);
    s_route (sent, received);
    s_convert (sent);

    char text [301];
    memset (text, 'z', 300);
    text [300] = 0;
    dafka_proto_set_topic (sent, text);
    dafka_proto_set_address (sent, text);
    dafka_proto_set_subject (sent, text);
    CHECK (strlen (dafka_proto_topic (sent)) == 255);
    CHECK (strlen (dafka_proto_address (sent)) == 255);
    CHECK (strlen (dafka_proto_subject (sent)) == 255);
    dafka_proto_set_count (sent, UINT32_MAX);
    CHECK (dafka_proto_count (sent) == UINT32_MAX);
    dafka_proto_set_id (sent, '?');
    CHECK (streq (dafka_proto_command (sent), "?"));

    dafka_proto_destroy (&sent);
    CHECK (!sent);
    dafka_proto_destroy (&sent);
    dafka_proto_destroy (&received);
    puts ("proto: OK");
    return 0;
}
