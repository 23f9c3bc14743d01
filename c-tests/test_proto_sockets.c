/*  =========================================================================
    test_proto_sockets - dafka_proto sent and received: over PUB and SUB, XPUB, ROUTER and DEALER; malformed messages;
    timeouts and signals
    =========================================================================
*/

#include "testing_proto.h"

//  Bytes as frames, for peers that do not use dafka_proto

static void
s_send_octets (zsock_t *peer, const golden_t *message)
{
    if (message->content)
        CHECK (zsock_send (peer, "bb", message->octets, message->size, message->content, message->content_size) == 0);
    else
        CHECK (zsock_send (peer, "b", message->octets, message->size) == 0);
}

static void
s_check_octets (zmsg_t *msg, const golden_t *message)
{
    CHECK (msg);
    CHECK (zmsg_size (msg) == (message->content ? 2 : 1));
    zframe_t *frame = zmsg_first (msg);
    CHECK (zframe_size (frame) == message->size);
    CHECK (memcmp (zframe_data (frame), message->octets, message->size) == 0);
    if (message->content) {
        frame = zmsg_next (msg);
        CHECK (zframe_size (frame) == message->content_size);
        CHECK (memcmp (zframe_data (frame), message->content, message->content_size) == 0);
    }
}

//  Sends and receives a valid message, after each malformed one

static void
s_check_alive (zsock_t *ours, zsock_t *peer, dafka_proto_t *proto)
{
    const golden_t *message = golden_by_id (DAFKA_PROTO_RECORD);
    s_send_octets (peer, message);
    CHECK (dafka_proto_recv (proto, ours) == 0);
    golden_check (proto, message);
}


//  --------------------------------------------------------------------------

static void
s_test_octets (zsock_t *ours, zsock_t *peer)
{
    dafka_proto_t *received = dafka_proto_new ();
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        test_case ("%s: sent twice", golden [index].command);
        dafka_proto_t *proto = golden_new (&golden [index]);
        for (int round = 0; round < 2; round++) {
            CHECK (dafka_proto_send (proto, ours) == 0);
            golden_check (proto, &golden [index]);
            zmsg_t *msg = zmsg_recv (peer);
            s_check_octets (msg, &golden [index]);
            zmsg_destroy (&msg);
        }
        dafka_proto_destroy (&proto);

        //  The same object has received each other message before. No field of such a message is left.
        for (size_t before = 0; before < GOLDEN_COUNT; before++) {
            test_case ("%s: received after %s", golden [index].command, golden [before].command);
            s_send_octets (peer, &golden [before]);
            s_send_octets (peer, &golden [index]);
            CHECK (dafka_proto_recv (received, ours) == 0);
            golden_check (received, &golden [before]);
            CHECK (dafka_proto_recv (received, ours) == 0);
            golden_check (received, &golden [index]);
            CHECK (dafka_proto_routing_id (received) == NULL);
        }
        CHECK (dafka_proto_send (received, ours) == 0);
        zmsg_t *msg = zmsg_recv (peer);
        s_check_octets (msg, &golden [index]);
        zmsg_destroy (&msg);

        test_case ("%s: received with bytes after the fields, as a later version may send them",
                   golden [index].command);
        zframe_t *frame = zframe_new (NULL, golden [index].size + 3);
        memcpy (zframe_data (frame), golden [index].octets, golden [index].size);
        memset (zframe_data (frame) + golden [index].size, 0xFF, 3);
        CHECK (zframe_send (&frame, peer, golden [index].content ? ZFRAME_MORE : 0) == 0);
        if (golden [index].content)
            CHECK (zsock_send (peer, "b", golden [index].content, golden [index].content_size) == 0);
        CHECK (dafka_proto_recv (received, ours) == 0);
        golden_check (received, &golden [index]);
    }
    dafka_proto_destroy (&received);

    test_case ("a message without an id is not sent");
    dafka_proto_t *proto = dafka_proto_new ();
    CHECK (dafka_proto_send (proto, ours) == -1);
    dafka_proto_set_id (proto, 'x');
    CHECK (dafka_proto_send (proto, ours) == -1);

    test_case ("an empty content is a frame");
    dafka_proto_set_id (proto, DAFKA_PROTO_RECORD);
    CHECK (dafka_proto_send (proto, ours) == 0);
    zmsg_t *msg = zmsg_recv (peer);
    CHECK (zmsg_size (msg) == 2 && zframe_size (zmsg_last (msg)) == 0);
    zmsg_destroy (&msg);

    test_case ("a large content, sent twice");
    zmq_msg_t content;
    CHECK (zmq_msg_init_size (&content, 10000000) == 0);
    test_fill ((byte *) zmq_msg_data (&content), 10000000, 42);
    dafka_proto_set_content (proto, &content);
    CHECK (zmq_msg_close (&content) == 0);
    for (int round = 0; round < 2; round++) {
        CHECK (dafka_proto_send (proto, ours) == 0);
        dafka_proto_t *copy = dafka_proto_new ();
        CHECK (dafka_proto_recv (copy, peer) == 0);
        CHECK (zmq_msg_size (dafka_proto_content (copy)) == 10000000);
        CHECK (test_filled ((byte *) zmq_msg_data (dafka_proto_content (copy)), 10000000, 42));
        dafka_proto_destroy (&copy);
        CHECK (zmq_msg_size (dafka_proto_content (proto)) == 10000000);
    }
    dafka_proto_destroy (&proto);
}


//  --------------------------------------------------------------------------
//  Malformed messages

//  The fields of the object before a malformed message, which must not change them.

static void
s_refuse (zsock_t *ours, zsock_t *peer, dafka_proto_t *proto, zmsg_t **msg_p)
{
    const golden_t *message = golden_by_id (DAFKA_PROTO_CONSUMER_HELLO);
    s_send_octets (peer, message);
    CHECK (dafka_proto_recv (proto, ours) == 0);
    CHECK (zmsg_send (msg_p, peer) == 0);
    CHECK (dafka_proto_recv (proto, ours) == -2);
    golden_check (proto, message);
    s_check_alive (ours, peer, proto);
}

static void
s_refuse_frames (zsock_t *ours, zsock_t *peer, dafka_proto_t *proto,
                 const byte *first, size_t first_size, const byte *second, size_t second_size)
{
    zmsg_t *msg = zmsg_new ();
    CHECK (zmsg_addmem (msg, first, first_size) == 0);
    if (second)
        CHECK (zmsg_addmem (msg, second, second_size) == 0);
    s_refuse (ours, peer, proto, &msg);
}

//  Malformed frames, such as a string longer than its frame. RECORD has a content frame in addition.

static void
s_test_malformed (zsock_t *ours, zsock_t *peer)
{
    dafka_proto_t *proto = dafka_proto_new ();
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        const golden_t *message = &golden [index];
        for (size_t size = 0; size < message->size; size++) {
            test_case ("%s: %lu bytes of %lu", message->command, (unsigned long) size, (unsigned long) message->size);
            s_refuse_frames (ours, peer, proto, message->octets, size, message->content, message->content_size);
        }
        byte octets [200];
        CHECK (message->size <= sizeof (octets));
        for (int version = 0; version < 256; version += version < 3 ? 1 : 84) {
            if (version == 1)
                continue;
            test_case ("%s: version %d", message->command, version);
            memcpy (octets, message->octets, message->size);
            octets [strlen ((const char *) octets) + 1] = (byte) version;
            s_refuse_frames (ours, peer, proto, octets, message->size, message->content, message->content_size);
        }
        if (message->content) {
            test_case ("%s: without content", message->command);
            s_refuse_frames (ours, peer, proto, message->octets, message->size, NULL, 0);
            test_case ("%s: with a third frame", message->command);
            zmsg_t *msg = zmsg_new ();
            zmsg_addmem (msg, message->octets, message->size);
            zmsg_addmem (msg, message->content, message->content_size);
            //  The second frame alone would be a valid message.
            zmsg_addmem (msg, message->octets, message->size);
            s_refuse (ours, peer, proto, &msg);
        }
        else {
            test_case ("%s: with a second frame", message->command);
            s_refuse_frames (ours, peer, proto, message->octets, message->size, message->octets, message->size);
            test_case ("%s: with an empty second frame", message->command);
            s_refuse_frames (ours, peer, proto, message->octets, message->size, (const byte *) "", 0);
        }
    }

    static const struct {
        const char *name;
        const byte *octets;
        size_t size;
    } wrong [] = {
        { "an unknown id", OCTETS ("x" "hello\0" "\x01" "\x04" "PART" "\x05" "hello" "\0\0\0\0\0\0\0\0") },
        { "an id of 0", OCTETS ("\0" "hello\0" "\x01" "\x04" "PART" "\x05" "hello" "\0\0\0\0\0\0\0\0") },
        { "no end of the topic", OCTETS ("Khello") },
        { "an address longer than the frame", OCTETS ("G" "hello\0" "\x01" "\xFF" "ASKER") },
        { "more subjects than octets", OCTETS ("W" "STORE\0" "\x01" "\x05" "ASKER" "\xFF\xFF\xFF\xFF") },
        { "more subjects than there are",
            OCTETS ("W" "STORE\0" "\x01" "\x05" "ASKER" "\0\0\0\x03" "\0\0\0\x01" "a" "\0\0\0\0") },
        { "a subject longer than the frame",
            OCTETS ("W" "STORE\0" "\x01" "\x05" "ASKER" "\0\0\0\x01" "\xFF\xFF\xFF\xFF" "a") },
        { "subjects of almost 2^32 octets",
            OCTETS ("W" "STORE\0" "\x01" "\x05" "ASKER" "\0\0\0\x02" "\xFF\xFF\xFF\xFB" "\0\0\0\0") }
    };
    for (size_t index = 0; index < sizeof (wrong) / sizeof (wrong [0]); index++) {
        test_case ("%s", wrong [index].name);
        s_refuse_frames (ours, peer, proto, wrong [index].octets, wrong [index].size, NULL, 0);
    }

    //  0.1.0 does not know these messages, and their ids are unknown to the class
    static const struct {
        const char *name;
        const byte *octets;
        size_t size;
    } later [] = {
        { "RECORDS", OCTETS ("C" "hello\0" "\x01" "\x04" "PART" "\x05" "hello" "\0\0\0\0\0\0\0\0") },
        { "DIRECT-RECORDS", OCTETS ("R" "ASKER\0" "\x01" "\x04" "PART" "\x05" "hello" "\0\0\0\0\0\0\0\0") }
    };
    for (size_t index = 0; index < sizeof (later) / sizeof (later [0]); index++) {
        test_case ("a %s with two frames", later [index].name);
        s_refuse_frames (ours, peer, proto, later [index].octets, later [index].size, (const byte *) "batch", 5);
    }

    test_case ("many empty frames");
    zmsg_t *msg = zmsg_new ();
    for (int number = 0; number < 1000; number++)
        zmsg_addmem (msg, NULL, 0);
    s_refuse (ours, peer, proto, &msg);

    test_case ("names that are not UTF-8, or contain a NUL, do no harm");
    static const byte names [] = "K" "\xFF\xFE\0" "\x01" "\x05" "\xC0\0\xFF" "\0x" "\0\0\0\0\0\0\0\x07";
    CHECK (zsock_send (peer, "b", names, sizeof (names) - 1) == 0);
    int rc = dafka_proto_recv (proto, ours);
    CHECK (rc == 0 || rc == -2);
    if (rc == 0)
        CHECK (dafka_proto_sequence (proto) == 7);
    s_check_alive (ours, peer, proto);

    test_case ("a topic that is too long does no harm");
    byte longest [1000];
    memset (longest, 't', sizeof (longest));
    memcpy (longest, "G", 1);
    memcpy (longest + 900, "\0\1\5ASKER", 8);
    CHECK (zsock_send (peer, "b", longest, (size_t) 908) == 0);
    rc = dafka_proto_recv (proto, ours);
    CHECK (rc == 0 || rc == -2);
    CHECK (strlen (dafka_proto_topic (proto)) <= 255);
    s_check_alive (ours, peer, proto);
    dafka_proto_destroy (&proto);
}


//  --------------------------------------------------------------------------

static void
s_recv_subscription (dafka_proto_t *proto, zsock_t *xpub, bool is_subscribe, char id, const char *topic)
{
    CHECK (dafka_proto_recv (proto, xpub) == 0);
    CHECK (dafka_proto_is_subscribe (proto) == is_subscribe);
    CHECK (dafka_proto_id (proto) == id);
    CHECK_STR (dafka_proto_topic (proto), topic);
}

static void
s_test_xpub (const char *endpoint)
{
    test_case ("subscriptions from an XPUB");
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    CHECK (zsock_bind (xpub, "%s", endpoint) >= 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    CHECK (zsock_connect (sub, "%s", zsock_endpoint (xpub)) == 0);
    dafka_proto_t *proto = dafka_proto_new ();
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        dafka_proto_subscribe (sub, golden [index].id, golden [index].topic);
        s_recv_subscription (proto, xpub, true, golden [index].id, golden [index].topic);
        CHECK_STR (dafka_proto_command (proto), golden [index].command);
    }
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        dafka_proto_unsubscribe (sub, golden [index].id, golden [index].topic);
        s_recv_subscription (proto, xpub, false, golden [index].id, golden [index].topic);
    }

    test_case ("a subscription that ends with a NUL, one without a topic, one of 255 bytes");
    CHECK (zmq_setsockopt (zsock_resolve (sub), ZMQ_SUBSCRIBE, "Mhello\0", 7) == 0);
    s_recv_subscription (proto, xpub, true, 'M', "hello");
    dafka_proto_subscribe (sub, 'M', "");
    s_recv_subscription (proto, xpub, true, 'M', "");
    char topic [256];
    memset (topic, 't', 255);
    topic [255] = 0;
    dafka_proto_subscribe (sub, 'H', topic);
    s_recv_subscription (proto, xpub, true, 'H', topic);

    test_case ("other subscriptions do no harm");
    char longest [1000];
    memset (longest, 'x', sizeof (longest));
    CHECK (zmq_setsockopt (zsock_resolve (sub), ZMQ_SUBSCRIBE, "", 0) == 0);
    CHECK (zmq_setsockopt (zsock_resolve (sub), ZMQ_SUBSCRIBE, "\0", 1) == 0);
    CHECK (zmq_setsockopt (zsock_resolve (sub), ZMQ_SUBSCRIBE, "x\xFF\0\xFE", 4) == 0);
    CHECK (zmq_setsockopt (zsock_resolve (sub), ZMQ_SUBSCRIBE, longest, sizeof (longest)) == 0);
    for (int number = 0; number < 4; number++) {
        int rc = dafka_proto_recv (proto, xpub);
        CHECK (rc == 0 || rc == -2);
        CHECK (strlen (dafka_proto_topic (proto)) <= 255);
    }
    zsock_destroy (&sub);

    test_case ("messages from an XSUB that are not subscriptions");
    zsock_t *xsub = zsock_new (ZMQ_XSUB);
    CHECK (zsock_connect (xsub, "%s", zsock_endpoint (xpub)) == 0);
    CHECK (zsock_send (xsub, "b", "\x02Mhello", (size_t) 7) == 0);
    CHECK (zsock_send (xsub, "bb", "\x02Mhello", (size_t) 7, "Mhello", (size_t) 6) == 0);
    CHECK (zsock_send (xsub, "b", "\x01Mlast", (size_t) 6) == 0);
    //  Before the last message come the ends of the subscriptions of the closed SUB, in any order.
    int refused = 0;
    do {
        int rc = dafka_proto_recv (proto, xpub);
        CHECK (rc == 0 || rc == -2);
        if (rc == -2)
            refused++;
    }
    while (!streq (dafka_proto_topic (proto), "last"));
    CHECK (refused >= 2);
    CHECK (dafka_proto_is_subscribe (proto));

    test_case ("a message sent on the XPUB reaches the subscriber");
    dafka_proto_t *record = golden_new (golden_by_id (DAFKA_PROTO_RECORD));
    CHECK (dafka_proto_send (record, xpub) == 0);       //  It has no subscriber
    dafka_proto_set_topic (record, "last");
    CHECK (dafka_proto_send (record, xpub) == 0);
    CHECK (dafka_proto_recv (proto, xsub) == 0);
    CHECK_STR (dafka_proto_topic (proto), "last");
    CHECK_STR (dafka_proto_subject (proto), "hello");
    CHECK (zmq_msg_size (dafka_proto_content (proto)) == 5);
    dafka_proto_destroy (&record);
    zsock_destroy (&xsub);
    zsock_destroy (&xpub);
    dafka_proto_destroy (&proto);
}

//  PUB does not report subscriptions: send until one message arrives, then skip copies with the same number.

static uint64_t
s_connect_pub (dafka_proto_t *proto, zsock_t *pub, dafka_proto_t *received, zsock_t *sub)
{
    uint64_t sequence = 0;
    zsock_set_rcvtimeo (sub, 20);
    do {
        dafka_proto_set_sequence (proto, ++sequence);
        CHECK (dafka_proto_send (proto, pub) == 0);
    }
    while (dafka_proto_recv (received, sub) == -1);
    zsock_set_rcvtimeo (sub, -1);
    while (dafka_proto_sequence (received) < sequence)
        CHECK (dafka_proto_recv (received, sub) == 0);
    return sequence;
}

static void
s_test_pub_sub (const char *endpoint)
{
    test_case ("a subscription is a prefix, over %s", endpoint);
    zsock_t *pub = zsock_new (ZMQ_PUB);
    CHECK (zsock_bind (pub, "%s", endpoint) >= 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    CHECK (zsock_connect (sub, "%s", zsock_endpoint (pub)) == 0);
    dafka_proto_t *received = dafka_proto_new ();
    dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "hel");
    dafka_proto_subscribe (sub, DAFKA_PROTO_RECORD, "hello");
    dafka_proto_subscribe (sub, DAFKA_PROTO_ACK, "PART");       //  The last subscription: when it works, all do
    dafka_proto_t *ack = golden_new (golden_by_id (DAFKA_PROTO_ACK));
    s_connect_pub (ack, pub, received, sub);

    dafka_proto_t *head = golden_new (golden_by_id (DAFKA_PROTO_HEAD));
    dafka_proto_set_topic (head, "he");
    CHECK (dafka_proto_send (head, pub) == 0);                  //  Shorter than the subscription: no match
    dafka_proto_set_topic (head, "hello2");
    CHECK (dafka_proto_send (head, pub) == 0);
    CHECK (dafka_proto_recv (received, sub) == 0);
    CHECK (dafka_proto_id (received) == DAFKA_PROTO_HEAD);
    CHECK_STR (dafka_proto_topic (received), "hello2");
    dafka_proto_t *record = golden_new (golden_by_id (DAFKA_PROTO_RECORD));
    CHECK (dafka_proto_send (record, pub) == 0);
    CHECK (dafka_proto_recv (received, sub) == 0);
    golden_check (received, golden_by_id (DAFKA_PROTO_RECORD));

    test_case ("a subscription ends, over %s", endpoint);
    dafka_proto_unsubscribe (sub, DAFKA_PROTO_HEAD, "hel");
    //  The change takes effect a moment later. Send until several HEADs, followed by an ACK, deliver only the ACK.
    uint64_t sequence = 1000000;
    bool heard;
    do {
        heard = false;
        CHECK (dafka_proto_send (head, pub) == 0);
        dafka_proto_set_sequence (ack, ++sequence);
        CHECK (dafka_proto_send (ack, pub) == 0);
        do {
            CHECK (dafka_proto_recv (received, sub) == 0);
            if (dafka_proto_id (received) == DAFKA_PROTO_HEAD)
                heard = true;
        }
        while (dafka_proto_sequence (received) != sequence);
    }
    while (heard);
    CHECK (dafka_proto_send (record, pub) == 0);                //  The other subscriptions remain
    CHECK (dafka_proto_recv (received, sub) == 0);
    CHECK (dafka_proto_id (received) == DAFKA_PROTO_RECORD);

    dafka_proto_destroy (&record);
    dafka_proto_destroy (&head);
    dafka_proto_destroy (&ack);
    dafka_proto_destroy (&received);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
}

static void
s_test_router (const char *endpoint)
{
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    CHECK (zsock_bind (router, "%s", endpoint) >= 0);
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, "dealer");
    CHECK (zsock_connect (dealer, "%s", zsock_endpoint (router)) == 0);
    dafka_proto_t *proto = dafka_proto_new ();
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        const golden_t *message = &golden [index];
        test_case ("%s: from a DEALER to a ROUTER and back, over %s", message->command, endpoint);
        dafka_proto_t *original = golden_new (message);
        CHECK (dafka_proto_send (original, dealer) == 0);
        CHECK (dafka_proto_recv (proto, router) == 0);
        golden_check (proto, message);
        CHECK (dafka_proto_routing_id (proto) && zframe_streq (dafka_proto_routing_id (proto), "dealer"));
        for (int round = 0; round < 2; round++) {
            CHECK (dafka_proto_send (proto, router) == 0);
            CHECK (zframe_streq (dafka_proto_routing_id (proto), "dealer"));
            zmsg_t *msg = zmsg_recv (dealer);
            s_check_octets (msg, message);
            zmsg_destroy (&msg);
        }
        //  A DEALER does not send the routing id of the object.
        CHECK (dafka_proto_send (proto, dealer) == 0);
        CHECK (dafka_proto_recv (proto, router) == 0);
        golden_check (proto, message);
        dafka_proto_destroy (&original);
    }

    test_case ("a malformed message, then a valid one, to a ROUTER, over %s", endpoint);
    CHECK (zstr_send (dealer, "x") == 0);
    CHECK (dafka_proto_recv (proto, router) == -2);
    CHECK (zstr_send (dealer, "") == 0);
    CHECK (dafka_proto_recv (proto, router) == -2);
    CHECK (zstr_sendx (dealer, "x", "y", "z", NULL) == 0);
    CHECK (dafka_proto_recv (proto, router) == -2);
    s_check_alive (router, dealer, proto);
    CHECK (zframe_streq (dafka_proto_routing_id (proto), "dealer"));

    test_case ("a ROUTER's message without a routing id is not sent, over %s", endpoint);
    dafka_proto_t *nobody = golden_new (golden_by_id (DAFKA_PROTO_ACK));
    CHECK (dafka_proto_send (nobody, router) == -1);
    test_case ("a ROUTER with ZMQ_ROUTER_MANDATORY refuses an unknown routing id, over %s", endpoint);
    zsock_set_router_mandatory (router, 1);
    zframe_t *unknown = zframe_from ("unknown");
    dafka_proto_set_routing_id (nobody, unknown);
    CHECK (dafka_proto_send (nobody, router) == -1);
    zframe_destroy (&unknown);
    dafka_proto_destroy (&nobody);
    CHECK (dafka_proto_send (proto, router) == 0);              //  No part of the other message is left in the socket
    zmsg_t *msg = zmsg_recv (dealer);
    s_check_octets (msg, golden_by_id (DAFKA_PROTO_RECORD));
    zmsg_destroy (&msg);

    dafka_proto_destroy (&proto);
    zsock_destroy (&dealer);
    zsock_destroy (&router);
}


//  --------------------------------------------------------------------------

static void
s_test_waiting (zsock_t *ours, zsock_t *peer)
{
    test_case ("no message within the socket's timeout");
    dafka_proto_t *proto = golden_new (golden_by_id (DAFKA_PROTO_FETCH));
    zsock_set_rcvtimeo (ours, 20);
    CHECK (dafka_proto_recv (proto, ours) == -1);
    golden_check (proto, golden_by_id (DAFKA_PROTO_FETCH));
    zsock_set_rcvtimeo (ours, 0);
    CHECK (dafka_proto_recv (proto, ours) == -1);
    golden_check (proto, golden_by_id (DAFKA_PROTO_FETCH));
    zsock_set_rcvtimeo (ours, -1);
    s_check_alive (ours, peer, proto);

    test_case ("sockets that cannot receive, or cannot send");
    zsock_t *push = zsock_new (ZMQ_PUSH);
    CHECK (dafka_proto_recv (proto, push) == -1);
    zsock_destroy (&push);
    zsock_t *pull = zsock_new (ZMQ_PULL);
    CHECK (dafka_proto_send (proto, pull) == -1);
    zsock_destroy (&pull);

    test_case ("no receiver within the socket's timeout");
    push = zsock_new (ZMQ_PUSH);
    zsock_set_sndtimeo (push, 20);
    CHECK (dafka_proto_send (proto, push) == -1);
    zsock_destroy (&push);
    golden_check (proto, golden_by_id (DAFKA_PROTO_RECORD));

    test_case ("a signal ends the wait");
    zactor_t *interrupter = test_interrupter_new ();
    CHECK (dafka_proto_recv (proto, ours) == -1);
    CHECK (zsys_interrupted);
    test_interrupter_destroy (&interrupter);
    golden_check (proto, golden_by_id (DAFKA_PROTO_RECORD));
    zsys_interrupted = 0;
    test_case ("after a signal");
    s_check_alive (ours, peer, proto);
    dafka_proto_destroy (&proto);
}

int
main (void)
{
    test_begin ("test_proto_sockets", 60);
    zsock_t *ours = zsock_new_pair ("@inproc://proto");
    zsock_t *peer = zsock_new_pair (">inproc://proto");
    CHECK (ours && peer);
    s_test_octets (ours, peer);
    s_test_malformed (ours, peer);
    s_test_xpub ("inproc://xpub");
    //  Do not use a port that a node of another test used: that node's peers may still try to connect.
    char *endpoint = zsys_sprintf ("tcp://127.0.0.1:%d", test_free_port ());
    s_test_xpub (endpoint);
    zstr_free (&endpoint);
    s_test_pub_sub ("inproc://pub");
    s_test_pub_sub ("tcp://127.0.0.1:*");
    s_test_router ("inproc://router");
    s_test_router ("tcp://127.0.0.1:*");
    s_test_waiting (ours, peer);
    zsock_destroy (&peer);
    zsock_destroy (&ours);
    return test_end ();
}
