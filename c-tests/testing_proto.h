/*  =========================================================================
    testing_proto - one message of each kind, with its octets on the wire

    The octets were written by hand from the description of the wire protocol.
    =========================================================================
*/

#ifndef TESTING_PROTO_H_INCLUDED
#define TESTING_PROTO_H_INCLUDED

#include "testing.h"

typedef struct {
    char id;
    const char *command;            //  Its name, from dafka_proto_command
    const char *topic;
    const char *address;            //  NULL here and below: the message has no such field
    const char *subject;
    bool has_sequence;
    uint64_t sequence;
    uint32_t count;                 //  0: none
    const char *subjects;           //  The first of two
    const char *subjects2;
    const byte *content;            //  The second frame
    size_t content_size;
    const byte *octets;             //  The first frame
    size_t size;
} golden_t;

//  An array of octets, written as a string without the final NUL
#define OCTETS(text) (const byte *) (text), sizeof (text) - 1

#define GOLDEN_COUNT 9

//  The id; the topic, which a NUL ends; version 1; the fields.
static const golden_t golden [GOLDEN_COUNT] = {
    { DAFKA_PROTO_RECORD, "RECORD", "hello", "PART", "hello", true, UINT64_C (0x0102030405060708), 0, NULL, NULL,
        OCTETS ("world"),
        OCTETS ("M" "hello\0" "\x01" "\x04" "PART" "\x05" "hello" "\x01\x02\x03\x04\x05\x06\x07\x08") },
    { DAFKA_PROTO_DIRECT_RECORD, "DIRECT_RECORD", "ASKER", "PART", "hello", true, UINT64_C (0x8000000000000001), 0,
        NULL, NULL,
        OCTETS ("\0\xFF" "binary\0"),
        OCTETS ("D" "ASKER\0" "\x01" "\x04" "PART" "\x05" "hello" "\x80\0\0\0\0\0\0\x01") },
    { DAFKA_PROTO_FETCH, "FETCH", "PART", "ASKER", "hello", true, 5, UINT32_C (0x01020304), NULL, NULL,
        NULL, 0,
        OCTETS ("F" "PART\0" "\x01" "\x05" "ASKER" "\x05" "hello" "\0\0\0\0\0\0\0\x05" "\x01\x02\x03\x04") },
    { DAFKA_PROTO_ACK, "ACK", "PART", NULL, "hello", true, 256, 0, NULL, NULL,
        NULL, 0,
        OCTETS ("K" "PART\0" "\x01" "\x05" "hello" "\0\0\0\0\0\0\x01\0") },
    { DAFKA_PROTO_HEAD, "HEAD", "hello", "PART", "hello", true, UINT64_MAX, 0, NULL, NULL,
        NULL, 0,
        OCTETS ("H" "hello\0" "\x01" "\x04" "PART" "\x05" "hello" "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF") },
    { DAFKA_PROTO_DIRECT_HEAD, "DIRECT_HEAD", "ASKER", "PART", "hello", true, 0, 0, NULL, NULL,
        NULL, 0,
        OCTETS ("E" "ASKER\0" "\x01" "\x04" "PART" "\x05" "hello" "\0\0\0\0\0\0\0\0") },
    { DAFKA_PROTO_GET_HEADS, "GET_HEADS", "hello", "ASKER", NULL, false, 0, 0, NULL, NULL,
        NULL, 0,
        OCTETS ("G" "hello\0" "\x01" "\x05" "ASKER") },
    { DAFKA_PROTO_CONSUMER_HELLO, "CONSUMER_HELLO", "STORE", "ASKER", NULL, false, 0, 0, "hello", "hello2",
        NULL, 0,
        OCTETS ("W" "STORE\0" "\x01" "\x05" "ASKER" "\0\0\0\x02" "\0\0\0\x05" "hello" "\0\0\0\x06" "hello2") },
    { DAFKA_PROTO_STORE_HELLO, "STORE_HELLO", "ASKER", "STORE", NULL, false, 0, 0, NULL, NULL,
        NULL, 0,
        OCTETS ("L" "ASKER\0" "\x01" "\x05" "STORE") }
};

static inline const golden_t *
golden_by_id (char id)
{
    for (size_t index = 0; index < GOLDEN_COUNT; index++)
        if (golden [index].id == id)
            return &golden [index];
    test_fail (__FILE__, __LINE__, "no such message");
}

//  Makes the message with the setters. The caller owns it.

static inline dafka_proto_t *
golden_new (const golden_t *message)
{
    dafka_proto_t *proto = dafka_proto_new ();
    CHECK (proto);
    dafka_proto_set_id (proto, message->id);
    dafka_proto_set_topic (proto, message->topic);
    if (message->address)
        dafka_proto_set_address (proto, message->address);
    if (message->subject)
        dafka_proto_set_subject (proto, message->subject);
    dafka_proto_set_sequence (proto, message->sequence);
    dafka_proto_set_count (proto, message->count);
    if (message->subjects) {
        zlist_t *list = zlist_new ();
        zlist_autofree (list);
        zlist_append (list, (void *) message->subjects);
        zlist_append (list, (void *) message->subjects2);
        dafka_proto_set_subjects (proto, &list);
        CHECK (list == NULL);
    }
    if (message->content) {
        zmq_msg_t content;
        CHECK (zmq_msg_init_size (&content, message->content_size) == 0);
        memcpy (zmq_msg_data (&content), message->content, message->content_size);
        dafka_proto_set_content (proto, &content);
        CHECK (zmq_msg_close (&content) == 0);
    }
    return proto;
}

//  Checks all getters: the fields of the message are set, the others are empty.

static inline void
golden_check (dafka_proto_t *proto, const golden_t *message)
{
    CHECK (dafka_proto_id (proto) == message->id);
    CHECK_STR (dafka_proto_command (proto), message->command);
    CHECK_STR (dafka_proto_topic (proto), message->topic);
    CHECK_STR (dafka_proto_address (proto), message->address ? message->address : "");
    CHECK_STR (dafka_proto_subject (proto), message->subject ? message->subject : "");
    CHECK (dafka_proto_sequence (proto) == message->sequence);
    CHECK (dafka_proto_count (proto) == message->count);
    zmq_msg_t *content = dafka_proto_content (proto);
    CHECK (content && zmq_msg_size (content) == message->content_size);
    if (message->content)
        CHECK (memcmp (zmq_msg_data (content), message->content, message->content_size) == 0);
    zlist_t *list = dafka_proto_subjects (proto);
    if (message->subjects) {
        CHECK (list && zlist_size (list) == 2);
        CHECK_STR ((char *) zlist_first (list), message->subjects);
        CHECK_STR ((char *) zlist_next (list), message->subjects2);
    }
    else
        CHECK (list == NULL || zlist_size (list) == 0);
}

#endif
