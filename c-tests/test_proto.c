/*  =========================================================================
    test_proto - dafka_proto: fields, encoding, copies, moves, limits, print and ZPL, for each message of the protocol

    The octets were written by hand from the description of the wire protocol. test_proto_sockets tests sockets.
    =========================================================================
*/

#include "testing_proto.h"

static void
s_test_new (void)
{
    test_case ("a new message");
    dafka_proto_t *proto = dafka_proto_new ();
    CHECK (proto);
    CHECK_STR (dafka_proto_command (proto), "?");
    CHECK_STR (dafka_proto_topic (proto), "");
    CHECK_STR (dafka_proto_address (proto), "");
    CHECK_STR (dafka_proto_subject (proto), "");
    CHECK (dafka_proto_sequence (proto) == 0);
    CHECK (dafka_proto_count (proto) == 0);
    CHECK (dafka_proto_content (proto) && zmq_msg_size (dafka_proto_content (proto)) == 0);
    CHECK (dafka_proto_subjects (proto) == NULL || zlist_size (dafka_proto_subjects (proto)) == 0);
    CHECK (dafka_proto_routing_id (proto) == NULL);
    CHECK (!dafka_proto_is_subscribe (proto));
    CHECK (dafka_proto_encode (proto) == NULL);
    dafka_proto_destroy (&proto);
    CHECK (proto == NULL);
    dafka_proto_destroy (&proto);
}

//  Tests all ids. Each id of the protocol has a name and an encoding. Every other id has no name and no encoding. This
//  compares the constants of the header with the constants of the library.

static void
s_test_ids (void)
{
    test_case ("ids and their names");
    dafka_proto_t *proto = dafka_proto_new ();
    for (int value = 0; value < 256; value++) {
        const char *name = "?";
        for (size_t index = 0; index < GOLDEN_COUNT; index++)
            if ((byte) golden [index].id == value)
                name = golden [index].command;
        dafka_proto_set_id (proto, (char) value);
        CHECK (dafka_proto_id (proto) == (char) value);
        CHECK_STR (dafka_proto_command (proto), name);
        zframe_t *frame = dafka_proto_encode (proto);
        CHECK ((frame == NULL) == streq (name, "?"));
        if (frame)
            CHECK (zframe_size (frame) > 2 && zframe_data (frame) [0] == value);
        zframe_destroy (&frame);
    }
    dafka_proto_destroy (&proto);
}

static void
s_test_octets (void)
{
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        test_case ("%s: set, encode", golden [index].command);
        dafka_proto_t *proto = golden_new (&golden [index]);
        golden_check (proto, &golden [index]);
        for (int round = 0; round < 2; round++) {
            zframe_t *frame = dafka_proto_encode (proto);
            CHECK (frame);
            CHECK (zframe_size (frame) == golden [index].size);
            CHECK (memcmp (zframe_data (frame), golden [index].octets, golden [index].size) == 0);
            zframe_destroy (&frame);
        }
        golden_check (proto, &golden [index]);
        dafka_proto_destroy (&proto);
    }

    test_case ("numbers at their limits");
    dafka_proto_t *proto = golden_new (golden_by_id (DAFKA_PROTO_FETCH));
    dafka_proto_set_sequence (proto, UINT64_MAX);
    dafka_proto_set_count (proto, UINT32_MAX);
    CHECK (dafka_proto_sequence (proto) == UINT64_MAX);
    CHECK (dafka_proto_count (proto) == UINT32_MAX);
    zframe_t *frame = dafka_proto_encode (proto);
    CHECK (frame);
    for (size_t place = zframe_size (frame) - 12; place < zframe_size (frame); place++)
        CHECK (zframe_data (frame) [place] == 0xFF);
    zframe_destroy (&frame);
    dafka_proto_destroy (&proto);
}

static void
s_test_dup (void)
{
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        test_case ("%s: a copy", golden [index].command);
        dafka_proto_t *proto = golden_new (&golden [index]);
        zframe_t *routing_id = zframe_from ("peer");
        dafka_proto_set_routing_id (proto, routing_id);
        dafka_proto_t *copy = dafka_proto_dup (proto);
        CHECK (copy && copy != proto);

        //  The copy is independent: overwrite the fields of the original, then destroy it.
        dafka_proto_set_topic (proto, "spoilt");
        dafka_proto_set_address (proto, "spoilt");
        dafka_proto_set_subject (proto, "spoilt");
        dafka_proto_set_sequence (proto, 99);
        dafka_proto_set_count (proto, 99);
        memset (zmq_msg_data (dafka_proto_content (proto)), 0xA5, zmq_msg_size (dafka_proto_content (proto)));
        if (dafka_proto_subjects (proto))
            zlist_purge (dafka_proto_subjects (proto));
        zframe_reset (routing_id, "spoilt", 6);
        dafka_proto_set_routing_id (proto, routing_id);
        golden_check (copy, &golden [index]);
        CHECK (zframe_streq (dafka_proto_routing_id (copy), "peer"));
        dafka_proto_destroy (&proto);
        golden_check (copy, &golden [index]);

        //  A copy of the copy has the same fields.
        proto = dafka_proto_dup (copy);
        dafka_proto_destroy (&copy);
        golden_check (proto, &golden [index]);
        CHECK (zframe_streq (dafka_proto_routing_id (proto), "peer"));
        dafka_proto_destroy (&proto);
        zframe_destroy (&routing_id);
    }
}

//  Each guard holds a ZeroMQ message between bytes that the library must not write. This shows that the library and the
//  program agree on the size of a message.

typedef struct {
    byte before [64];
    zmq_msg_t msg;
    byte after [64];
} guard_t;

static void
s_guard_init (guard_t *self)
{
    memset (self, 0xA5, sizeof (*self));
    zmq_msg_init (&self->msg);
}

static void
s_guard_check (guard_t *self)
{
    for (size_t place = 0; place < sizeof (self->before); place++)
        CHECK (self->before [place] == 0xA5 && self->after [place] == 0xA5);
}

static void
s_test_content (void)
{
    static const size_t sizes [] = { 0, 1, 33, 34, 1000, 1000000 };
    dafka_proto_t *proto = dafka_proto_new ();
    dafka_proto_set_id (proto, DAFKA_PROTO_RECORD);
    for (size_t index = 0; index < sizeof (sizes) / sizeof (sizes [0]); index++) {
        size_t size = sizes [index];
        test_case ("a content of %lu bytes is moved in and out", (unsigned long) size);
        guard_t in, out;
        s_guard_init (&in);
        CHECK (zmq_msg_init_size (&in.msg, size) == 0);
        test_fill ((byte *) zmq_msg_data (&in.msg), size, size);
        void *octets = zmq_msg_data (&in.msg);
        dafka_proto_set_content (proto, &in.msg);
        s_guard_check (&in);
        CHECK (zmq_msg_size (&in.msg) == 0);
        CHECK (zmq_msg_close (&in.msg) == 0);
        zmq_msg_t *content = dafka_proto_content (proto);
        CHECK (content && zmq_msg_size (content) == size);
        CHECK (test_filled ((byte *) zmq_msg_data (content), size, size));
        //  Moved, not copied: large contents keep their address.
        CHECK (size < 1000 || zmq_msg_data (content) == octets);

        //  The previous content of the caller's message is released.
        s_guard_init (&out);
        CHECK (zmq_msg_init_size (&out.msg, 5000) == 0);
        memset (zmq_msg_data (&out.msg), 1, 5000);
        dafka_proto_get_content (proto, &out.msg);
        s_guard_check (&out);
        CHECK (zmq_msg_size (&out.msg) == size);
        CHECK (test_filled ((byte *) zmq_msg_data (&out.msg), size, size));
        CHECK (size < 1000 || zmq_msg_data (&out.msg) == octets);
        CHECK (zmq_msg_size (dafka_proto_content (proto)) == 0);

        //  Move it in again, until the next round replaces it.
        dafka_proto_set_content (proto, &out.msg);
        CHECK (zmq_msg_close (&out.msg) == 0);
        CHECK (zmq_msg_size (dafka_proto_content (proto)) == size);
    }
    test_case ("destroying a message with content");
    dafka_proto_destroy (&proto);
}

static void
s_test_subjects (void)
{
    test_case ("subjects are moved in and out");
    dafka_proto_t *proto = dafka_proto_new ();
    dafka_proto_set_id (proto, DAFKA_PROTO_CONSUMER_HELLO);
    zlist_t *list = zlist_new ();
    zlist_autofree (list);
    zlist_append (list, "hello");
    zlist_append (list, "");
    zlist_append (list, "hello2");
    zlist_t *given = list;
    dafka_proto_set_subjects (proto, &list);
    CHECK (list == NULL);
    CHECK (dafka_proto_subjects (proto) == given);
    CHECK (zlist_size (given) == 3);

    zlist_t *taken = dafka_proto_get_subjects (proto);
    CHECK (taken == given);
    CHECK_STR ((char *) zlist_first (taken), "hello");
    CHECK_STR ((char *) zlist_next (taken), "");
    CHECK_STR ((char *) zlist_next (taken), "hello2");
    CHECK (zlist_next (taken) == NULL);
    CHECK (dafka_proto_subjects (proto) == NULL || zlist_size (dafka_proto_subjects (proto)) == 0);

    test_case ("another list of subjects replaces the first");
    dafka_proto_set_subjects (proto, &taken);
    list = zlist_new ();                    //  A list that does not own its strings
    zlist_append (list, "static");
    dafka_proto_set_subjects (proto, &list);
    CHECK (list == NULL);
    CHECK_STR ((char *) zlist_first (dafka_proto_subjects (proto)), "static");

    test_case ("a long list of subjects of maximum length");
    list = zlist_new ();
    zlist_autofree (list);
    char subject [257];
    memset (subject, 's', sizeof (subject));
    subject [255] = 0;
    for (int number = 0; number < 1000; number++)
        zlist_append (list, subject);
    dafka_proto_set_subjects (proto, &list);
    zframe_t *frame = dafka_proto_encode (proto);
    CHECK (frame);
    //  id, NUL, version, empty address, count, and each subject with its length
    CHECK (zframe_size (frame) == 1 + 1 + 1 + 1 + 4 + 1000 * (4 + 255));
    zframe_destroy (&frame);

    test_case ("a subject that is too long is not sent");
    subject [255] = 's';
    subject [256] = 0;
    zlist_append (dafka_proto_subjects (proto), subject);
    CHECK (dafka_proto_encode (proto) == NULL);

    test_case ("an empty list of subjects, and none");
    list = zlist_new ();
    dafka_proto_set_subjects (proto, &list);
    for (int round = 0; round < 2; round++) {
        frame = dafka_proto_encode (proto);
        CHECK (frame);
        CHECK (zframe_size (frame) == 8 && memcmp (zframe_data (frame), "W\0\1\0\0\0\0\0", 8) == 0);
        zframe_destroy (&frame);
        list = NULL;
        dafka_proto_set_subjects (proto, &list);
    }
    dafka_proto_destroy (&proto);
}

static void
s_test_limits (void)
{
    test_case ("strings are cut after 255 bytes");
    char text [301];
    memset (text, 't', 300);
    text [300] = 0;
    dafka_proto_t *proto = dafka_proto_new ();
    dafka_proto_set_id (proto, DAFKA_PROTO_RECORD);
    dafka_proto_set_topic (proto, text);
    dafka_proto_set_address (proto, text);
    dafka_proto_set_subject (proto, text);
    for (int round = 0; round < 2; round++) {
        CHECK (strlen (dafka_proto_topic (proto)) == 255 && strspn (dafka_proto_topic (proto), "t") == 255);
        CHECK (strlen (dafka_proto_address (proto)) == 255 && strspn (dafka_proto_address (proto), "t") == 255);
        CHECK (strlen (dafka_proto_subject (proto)) == 255 && strspn (dafka_proto_subject (proto), "t") == 255);
        zframe_t *frame = dafka_proto_encode (proto);
        CHECK (frame && zframe_size (frame) == 1 + 255 + 1 + 1 + 256 + 256 + 8);
        zframe_destroy (&frame);
        //  The setters copy.
        memset (text, 'u', 300);
        text [255] = 0;
    }

    test_case ("a string of exactly 255 bytes is kept");
    dafka_proto_set_topic (proto, text);
    CHECK_STR (dafka_proto_topic (proto), text);

    test_case ("strings replace each other; a field may be set from itself");
    dafka_proto_set_topic (proto, "short");
    dafka_proto_set_topic (proto, dafka_proto_topic (proto));
    CHECK_STR (dafka_proto_topic (proto), "short");
    dafka_proto_set_subject (proto, dafka_proto_topic (proto));
    CHECK_STR (dafka_proto_subject (proto), "short");
    dafka_proto_set_address (proto, "");
    CHECK_STR (dafka_proto_address (proto), "");

    test_case ("bytes that are not UTF-8");
    dafka_proto_set_subject (proto, "\xFF\xC0\x80");
    CHECK_STR (dafka_proto_subject (proto), "\xFF\xC0\x80");
    dafka_proto_set_topic (proto, "\xFE");
    CHECK_STR (dafka_proto_topic (proto), "\xFE");
    zframe_t *frame = dafka_proto_encode (proto);
    CHECK (frame && zframe_size (frame) == 17);
    CHECK (memcmp (zframe_data (frame), "M\xFE\0\1\0\3\xFF\xC0\x80\0\0\0\0\0\0\0\0", 17) == 0);
    zframe_destroy (&frame);

    test_case ("a routing id is copied, replaced, removed");
    zframe_t *routing_id = zframe_new ("\0id\xFF", 4);
    dafka_proto_set_routing_id (proto, routing_id);
    CHECK (dafka_proto_routing_id (proto) != routing_id);
    CHECK (zframe_eq (dafka_proto_routing_id (proto), routing_id));
    zframe_reset (routing_id, "other", 5);
    CHECK (zframe_size (dafka_proto_routing_id (proto)) == 4);
    dafka_proto_set_routing_id (proto, routing_id);
    CHECK (zframe_streq (dafka_proto_routing_id (proto), "other"));
    dafka_proto_set_routing_id (proto, NULL);
    CHECK (dafka_proto_routing_id (proto) == NULL);
    zframe_destroy (&routing_id);
    dafka_proto_destroy (&proto);
}

static void
s_test_print (void)
{
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        const golden_t *message = &golden [index];
        test_case ("%s: printing", message->command);
        dafka_proto_t *proto = golden_new (message);
        test_log_begin ();
        dafka_proto_print (proto);
        CHECK (test_log_has ("D:", message->command, NULL));
        CHECK (!message->address || test_log_has ("D:", "address", message->address));
        CHECK (!message->subject || test_log_has ("D:", "subject", message->subject));
        CHECK (!message->has_sequence || test_log_has ("D:", "sequence", NULL));
        char *count = zsys_sprintf ("%lu", (unsigned long) message->count);
        CHECK (!message->count || test_log_has ("D:", "count", count));
        zstr_free (&count);
        CHECK (!message->subjects || test_log_has ("D:", "subjects", NULL));
        CHECK (!message->subjects || test_log_has ("D:", message->subjects, NULL));
        CHECK (!test_log_has ("D:", "no such field", NULL));
        test_log_end ();
        golden_check (proto, message);
        dafka_proto_destroy (&proto);
    }
    test_case ("printing text that looks like a format, and a large content");
    dafka_proto_t *proto = golden_new (golden_by_id (DAFKA_PROTO_RECORD));
    dafka_proto_set_subject (proto, "%s%s%n%100000d");
    zmq_msg_t content;
    CHECK (zmq_msg_init_size (&content, 1000000) == 0);
    memset (zmq_msg_data (&content), 0xFF, 1000000);
    dafka_proto_set_content (proto, &content);
    CHECK (zmq_msg_close (&content) == 0);
    test_log_begin ();
    dafka_proto_print (proto);
    CHECK (test_log_has ("D:", "subject", "%s%s%n%100000d"));
    dafka_proto_set_id (proto, 'x');
    dafka_proto_print (proto);
    test_log_end ();
    dafka_proto_destroy (&proto);
}

static void
s_check_zpl (zconfig_t *zpl, const golden_t *message)
{
    CHECK_STR (zconfig_name (zpl), "dafka_proto");
    char *constant = zsys_sprintf ("DAFKA_PROTO_%s", message->command);
    CHECK_STR (zconfig_get (zpl, "message", NULL), constant);
    zstr_free (&constant);
    CHECK_STR (zconfig_get (zpl, "topic", NULL), message->topic);
    CHECK_STR (zconfig_get (zpl, "content/version", NULL), "1");
    CHECK (!message->address == !zconfig_locate (zpl, "content/address"));
    if (message->address)
        CHECK_STR (zconfig_get (zpl, "content/address", NULL), message->address);
    CHECK (!message->subject == !zconfig_locate (zpl, "content/subject"));
    if (message->subject)
        CHECK_STR (zconfig_get (zpl, "content/subject", NULL), message->subject);
    CHECK (!message->has_sequence == !zconfig_locate (zpl, "content/sequence"));
    if (message->has_sequence)
        CHECK (strtoull (zconfig_get (zpl, "content/sequence", ""), NULL, 10) == message->sequence);
    CHECK (!message->count == !zconfig_locate (zpl, "content/count"));
    if (message->count)
        CHECK (strtoul (zconfig_get (zpl, "content/count", ""), NULL, 10) == message->count);
    CHECK (!message->content == !zconfig_locate (zpl, "content/content"));
    if (message->content) {
        zframe_t *frame = zframe_new (message->content, message->content_size);
        char *hex = zframe_strhex (frame);
        CHECK (strcasecmp (zconfig_get (zpl, "content/content", "?"), hex) == 0);
        zstr_free (&hex);
        zframe_destroy (&frame);
    }
    CHECK (!message->subjects == !zconfig_locate (zpl, "content/subjects"));
    if (message->subjects) {
        zconfig_t *subject = zconfig_child (zconfig_locate (zpl, "content/subjects"));
        CHECK (subject);
        CHECK_STR (zconfig_value (subject), message->subjects);
        subject = zconfig_next (subject);
        CHECK (subject && zconfig_next (subject) == NULL);
        CHECK_STR (zconfig_value (subject), message->subjects2);
    }
}

static void
s_test_zpl (void)
{
    zconfig_t *parent = zconfig_new ("root", NULL);
    for (size_t index = 0; index < GOLDEN_COUNT; index++) {
        const golden_t *message = &golden [index];
        test_case ("%s: to ZPL and back", message->command);
        dafka_proto_t *proto = golden_new (message);
        zconfig_t *zpl = dafka_proto_zpl (proto, NULL);
        CHECK (zpl);
        s_check_zpl (zpl, message);
        CHECK (zconfig_locate (zpl, "routing_id") == NULL);
        dafka_proto_t *back = dafka_proto_new_zpl (zpl);
        CHECK (back);
        golden_check (back, message);
        CHECK (dafka_proto_routing_id (back) == NULL);
        dafka_proto_destroy (&back);

        test_case ("%s: through the text of a ZPL file", message->command);
        zconfig_t *copy = test_config_copy (zpl);
        back = dafka_proto_new_zpl (copy);
        //  The text form of CZMQ starts with the children of the root.
        if (!back && zconfig_child (copy))
            back = dafka_proto_new_zpl (zconfig_child (copy));
        CHECK (back);
        golden_check (back, message);
        dafka_proto_destroy (&back);
        zconfig_destroy (&copy);
        zconfig_destroy (&zpl);

        test_case ("%s: with a routing id, below a parent", message->command);
        zframe_t *routing_id = zframe_new ("\0\x1F\xFFk", 4);
        dafka_proto_set_routing_id (proto, routing_id);
        zpl = dafka_proto_zpl (proto, parent);
        CHECK (zpl && zconfig_locate (parent, "dafka_proto"));
        s_check_zpl (zpl, message);
        CHECK (strcasecmp (zconfig_get (zpl, "routing_id", "?"), "001FFF6B") == 0);
        back = dafka_proto_new_zpl (zpl);
        CHECK (back);
        golden_check (back, message);
        CHECK (zframe_eq (dafka_proto_routing_id (back), routing_id));
        dafka_proto_destroy (&back);
        zframe_destroy (&routing_id);
        dafka_proto_destroy (&proto);
    }
    size_t children = 0;
    for (zconfig_t *child = zconfig_child (parent); child; child = zconfig_next (child))
        children++;
    CHECK (children == GOLDEN_COUNT);       //  The parent owns them all
    zconfig_destroy (&parent);

    test_case ("a message without an id has no ZPL form");
    dafka_proto_t *proto = dafka_proto_new ();
    CHECK (dafka_proto_zpl (proto, NULL) == NULL);
    dafka_proto_destroy (&proto);
}

//  Invalid ZPL gives NULL or a message. The call must return, and a message must be complete.

static void
s_try_zpl (const char *text)
{
    zconfig_t *zpl = zconfig_str_load (text);
    CHECK (zpl);
    dafka_proto_t *proto = dafka_proto_new_zpl (zpl);
    if (proto) {
        CHECK (strlen (dafka_proto_topic (proto)) < 256);
        CHECK (strlen (dafka_proto_address (proto)) < 256);
        zframe_t *frame = dafka_proto_encode (proto);
        zframe_destroy (&frame);
        zconfig_t *back = dafka_proto_zpl (proto, NULL);
        zconfig_destroy (&back);
    }
    dafka_proto_destroy (&proto);
    zconfig_destroy (&zpl);
}

static void
s_test_wrong_zpl (void)
{
    test_case ("ZPL that is not a message");
    zconfig_t *zpl = zconfig_new ("dafka_proto", NULL);
    CHECK (dafka_proto_new_zpl (zpl) == NULL);
    zconfig_put (zpl, "message", "DAFKA_PROTO_NONE");
    CHECK (dafka_proto_new_zpl (zpl) == NULL);
    zconfig_destroy (&zpl);

    test_case ("ZPL with invalid fields");
    s_try_zpl ("message = DAFKA_PROTO_RECORD\n");
    s_try_zpl ("message = DAFKA_PROTO_RECORD\ntopic = x\ncontent\n");
    s_try_zpl ("message = DAFKA_PROTO_RECORD\ncontent\n    version = many\n    sequence = -1\n    content = 0G\n");
    s_try_zpl ("message = DAFKA_PROTO_RECORD\ncontent\n    version = 1\n    address = a\n    subject = s\n"
               "    sequence = 99999999999999999999999\n    content = 012\n");
    s_try_zpl ("message = DAFKA_PROTO_FETCH\ncontent\n    version = 1\n    count = 4294967296\n");
    s_try_zpl ("message = DAFKA_PROTO_CONSUMER_HELLO\nrouting_id = xyz\ncontent\n    subjects\n        a\n");
    s_try_zpl ("message = \ncontent = \n");
}

int
main (void)
{
    test_begin ("test_proto", 60);
    s_test_new ();
    s_test_ids ();
    s_test_octets ();
    s_test_dup ();
    s_test_content ();
    s_test_subjects ();
    s_test_limits ();
    s_test_print ();
    s_test_zpl ();
    s_test_wrong_zpl ();
    return test_end ();
}
