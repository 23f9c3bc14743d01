/*  =========================================================================
    dafka - decentralized, distributed streaming on ZeroMQ

    This Source Code Form is subject to the terms of the Mozilla Public
    License, v. 2.0. If a copy of the MPL was not distributed with this
    file, You can obtain one at http://mozilla.org/MPL/2.0/.

    Made from src/capi by cbindgen (make header). Do not edit.
    =========================================================================
*/

#ifndef DAFKA_H_INCLUDED
#define DAFKA_H_INCLUDED

#include <czmq.h>

//  The version of this library.
#define DAFKA_VERSION_MAJOR 0
#define DAFKA_VERSION_MINOR 2
#define DAFKA_VERSION_PATCH 0

#define DAFKA_MAKE_VERSION(major, minor, patch) \
    ((major) * 10000 + (minor) * 100 + (patch))
#define DAFKA_VERSION \
    DAFKA_MAKE_VERSION(DAFKA_VERSION_MAJOR, DAFKA_VERSION_MINOR, DAFKA_VERSION_PATCH)

#if defined (__GNUC__)
#   define DAFKA_EXPORT __attribute__ ((visibility ("default")))
#else
#   define DAFKA_EXPORT
#endif

//  The messages of the wire protocol (RFC 46/DAFKA), by their first octet.
#define DAFKA_PROTO_RECORD 'M'
#define DAFKA_PROTO_MSG DAFKA_PROTO_RECORD
#define DAFKA_PROTO_DIRECT_RECORD 'D'
#define DAFKA_PROTO_FETCH 'F'
#define DAFKA_PROTO_ACK 'K'
#define DAFKA_PROTO_HEAD 'H'
#define DAFKA_PROTO_DIRECT_HEAD 'E'
#define DAFKA_PROTO_GET_HEADS 'G'
#define DAFKA_PROTO_CONSUMER_HELLO 'W'
#define DAFKA_PROTO_STORE_HELLO 'L'

//  Opaque types.
typedef struct _dafka_proto_t dafka_proto_t;
typedef struct _dafka_beacon_t dafka_beacon_t;
typedef struct _dafka_tower_t dafka_tower_t;
typedef struct _dafka_store_t dafka_store_t;
typedef struct _dafka_producer_t dafka_producer_t;
typedef struct _dafka_producer_msg_t dafka_producer_msg_t;
typedef struct _dafka_consumer_t dafka_consumer_t;
typedef struct _dafka_consumer_msg_t dafka_consumer_msg_t;
typedef struct _dafka_publisher_t dafka_publisher_t;
typedef struct _dafka_subscriber_t dafka_subscriber_t;

// What a consumer is made with.
typedef struct {
    // NULL: defaults. Remains the caller's, and may be destroyed once `dafka_consumer_new` has returned.
    zconfig_t *config;
    // Where records go; the consumer owns the socket then. NULL: the consumer makes a pipe of its own.
    zsock_t *record_sink;
} dafka_consumer_args_t;

// What `dafka_producer` is started with. Topic and configuration remain the caller's, and may be freed once
// `zactor_new` has returned.
typedef struct {
    // The topic to publish to, 1 to 255 octets.
    const char *topic;
    // NULL: defaults.
    zconfig_t *config;
} dafka_producer_args_t;

// What `dafka_publisher_actor` is started with. Topic and configuration remain the caller's, and may be freed
// once `zactor_new` has returned.
typedef struct {
    // The topic to publish to, 1 to 255 octets.
    const char *topic;
    // NULL: defaults.
    zconfig_t *config;
} dafka_publisher_args_t;

// What `dafka_beacon_actor` is started with. Prefix and configuration remain the caller's, and may be freed
// once `zactor_new` has returned.
typedef struct {
    // What its log lines begin with; NULL: "Beacon".
    const char *log_prefix;
    // NULL: defaults.
    zconfig_t *config;
} dafka_beacon_args_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// A new message without an id, all fields empty or 0. The caller owns it, and destroys it with
// `dafka_proto_destroy`. NULL when there is no memory for it.
DAFKA_EXPORT dafka_proto_t *dafka_proto_new(void);

// A new message out of its ZPL form, as `dafka_proto_zpl` makes it; the configuration remains the caller's. The
// caller owns the message. NULL, with a log line, when the configuration is NULL or holds no message.
DAFKA_EXPORT
dafka_proto_t *dafka_proto_new_zpl(zconfig_t *config);

// Destroys a message with all that it holds and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
DAFKA_EXPORT
void dafka_proto_destroy(dafka_proto_t **self_p);

// A deep copy, which the caller owns. NULL when `self` is NULL or there is no memory for it.
DAFKA_EXPORT dafka_proto_t *dafka_proto_dup(dafka_proto_t *self);

// Waits for a message and reads it; fields that it does not have are empty then. On a ROUTER it reads the routing
// id first. On an XPUB it reads a subscription instead (or the end of one): fills `is_subscribe`, `id` and `topic`
// and leaves the rest alone. Returns 0; -1 when a signal interrupted it, the socket's time limit (ZMQ_RCVTIMEO)
// passed, the socket cannot receive or an argument is NULL; -2 when what came is no message of this protocol,
// which is dropped as a whole and logged, and leaves the fields as they were.
DAFKA_EXPORT
int dafka_proto_recv(dafka_proto_t *self,
                     zsock_t *input);

// Sends the message, on a ROUTER after its routing id; it can be sent again. Waits while the socket is full.
// Returns 0, or -1 when the id is that of no message, the socket cannot take it, a ROUTER's message has no routing
// id or an argument is NULL.
DAFKA_EXPORT
int dafka_proto_send(dafka_proto_t *self,
                     zsock_t *output);

// The message's first frame, as it is sent; RECORD and DIRECT_RECORD have the content as a second one. The caller
// owns the frame. NULL when `self` is NULL or its id is that of no message.
DAFKA_EXPORT
zframe_t *dafka_proto_encode(dafka_proto_t *self);

// Prints the message to CZMQ's log (zsys_debug), a line for each field.
DAFKA_EXPORT void dafka_proto_print(dafka_proto_t *self);

// The message in ZPL form: a node `dafka_proto`, a child of `parent` (which owns it then) or a root of its own when
// `parent` is NULL (the caller's to destroy). It holds `message` (the constant's name), `routing_id` in hexadecimal
// digits when there is one, `topic`, and a node `content` with `version` and the message's fields by name: `content`
// in hexadecimal digits, `subjects` as children. NULL when `self` is NULL or its id is that of no message.
DAFKA_EXPORT
zconfig_t *dafka_proto_zpl(dafka_proto_t *self,
                           zconfig_t *parent);

// The routing id of the peer that the message came from, off a ROUTER, or goes to. The message owns the frame. NULL
// when there is none.
DAFKA_EXPORT
zframe_t *dafka_proto_routing_id(dafka_proto_t *self);

// Sets the routing id to a copy of a frame, which remains the caller's. NULL: none.
DAFKA_EXPORT void dafka_proto_set_routing_id(dafka_proto_t *self, zframe_t *routing_id);

// The message's id: one of the DAFKA_PROTO constants, 0 in a new message.
DAFKA_EXPORT char dafka_proto_id(dafka_proto_t *self);

// Sets the message's id. It decides which of the fields are sent.
DAFKA_EXPORT void dafka_proto_set_id(dafka_proto_t *self, char id);

// The message's name, a constant string: "RECORD", "DIRECT_RECORD", "FETCH", "ACK", "HEAD", "DIRECT_HEAD",
// "GET_HEADS", "CONSUMER_HELLO", "STORE_HELLO", or "?" when its id is that of no message.
DAFKA_EXPORT
const char *dafka_proto_command(dafka_proto_t *self);

// The ZeroMQ topic of the message, by which it finds who subscribed to it: the topic's name in RECORD, HEAD and
// GET_HEADS, the receiver's address in all others (in FETCH and ACK: the partition's). A string that the message
// owns, valid until the field changes; never NULL unless `self` is.
DAFKA_EXPORT
const char *dafka_proto_topic(dafka_proto_t *self);

// Sets the topic to a copy of a string, of which at most 255 octets are kept.
DAFKA_EXPORT void dafka_proto_set_topic(dafka_proto_t *self, const char *topic);

// The address field: the partition in RECORD, DIRECT_RECORD, HEAD and DIRECT_HEAD, else the sender. A string that the message
// owns, valid until the field changes; never NULL unless `self` is.
DAFKA_EXPORT
const char *dafka_proto_address(dafka_proto_t *self);

// Sets the address to a copy of a string, of which at most 255 octets are kept.
DAFKA_EXPORT void dafka_proto_set_address(dafka_proto_t *self, const char *address);

// The subject field: the topic's name. A string that the message
// owns, valid until the field changes; never NULL unless `self` is.
DAFKA_EXPORT const char *dafka_proto_subject(dafka_proto_t *self);

// Sets the subject to a copy of a string, of which at most 255 octets are kept.
DAFKA_EXPORT void dafka_proto_set_subject(dafka_proto_t *self, const char *subject);

// The sequence field: an offset in a partition, 0 for its first record.
DAFKA_EXPORT uint64_t dafka_proto_sequence(dafka_proto_t *self);

// Sets the sequence.
DAFKA_EXPORT void dafka_proto_set_sequence(dafka_proto_t *self, uint64_t sequence);

// The count field of FETCH: how many records it asks for.
DAFKA_EXPORT uint32_t dafka_proto_count(dafka_proto_t *self);

// Sets the count.
DAFKA_EXPORT void dafka_proto_set_count(dafka_proto_t *self, uint32_t count);

// The content of a RECORD or DIRECT_RECORD, which the message owns: to be read, not closed.
DAFKA_EXPORT zmq_msg_t *dafka_proto_content(dafka_proto_t *self);

// Moves the content to `content`, a message that the caller has initialized (zmq_msg_init) and owns; what it held is
// released. The message's content is empty then.
DAFKA_EXPORT
void dafka_proto_get_content(dafka_proto_t *self,
                             zmq_msg_t *content);

// Moves the content in from `content`, which is an empty message afterwards, still the caller's to close.
DAFKA_EXPORT
void dafka_proto_set_content(dafka_proto_t *self,
                             zmq_msg_t *content);

// The topics in a CONSUMER_HELLO, strings; the message owns the list. NULL when there is no list.
DAFKA_EXPORT zlist_t *dafka_proto_subjects(dafka_proto_t *self);

// Moves the list of subjects out: the caller owns it, and the message has none. NULL when there is no list.
DAFKA_EXPORT
zlist_t *dafka_proto_get_subjects(dafka_proto_t *self);

// Moves a list of strings in and sets `*subjects_p` to NULL; the list that was there is destroyed. A pointer to NULL
// leaves the message without a list.
DAFKA_EXPORT
void dafka_proto_set_subjects(dafka_proto_t *self,
                              zlist_t **subjects_p);

// Subscribes a SUB socket (ZMQ_SUBSCRIBE) to the messages with this id whose topic begins with `topic`.
DAFKA_EXPORT
void dafka_proto_subscribe(zsock_t *sub,
                           char id,
                           const char *topic);

// Ends what `dafka_proto_subscribe` began (ZMQ_UNSUBSCRIBE).
DAFKA_EXPORT void dafka_proto_unsubscribe(zsock_t *sub, char id, const char *topic);

// Whether the last subscription that was read off an XPUB began one; false when it ended one.
DAFKA_EXPORT bool dafka_proto_is_subscribe(dafka_proto_t *self);

// The self test of this class: prints " * dafka_proto: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_proto_test(bool verbose);

// The tower: introduces producers, consumers and stores to each other. An actor for `zactor_new`, whose
// `args` is a `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
//
// Binds to `tower/sub_address` and `tower/pub_address`; when it cannot, it logs why and ends. Understands
// `$TERM`.
DAFKA_EXPORT
void dafka_tower_actor(zsock_t *pipe,
                       void *args);

// The self test of this class: prints " * dafka_tower: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_tower_test(bool verbose);

// The beacon: makes a node known to the towers at `beacon/sub_address` and `beacon/pub_address`, and tells it of
// its peers. An actor for `zactor_new`, whose `args` is a `dafka_beacon_args_t *` (NULL: defaults).
//
// Understands `START` uuid port (picture `ssi`), `STOP` and `$TERM`. It is ready when a tower has welcomed it, or
// none has within `beacon/connect_timeout`; sends `CONNECT` endpoint and `DISCONNECT` endpoint, two string frames
// each, which `dafka_beacon_recv` applies to a socket.
DAFKA_EXPORT
void dafka_beacon_actor(zsock_t *pipe,
                        void *args);

// Reads one `CONNECT` or `DISCONNECT` off a beacon, waiting for it, and applies it to `sub`. With `verbose` the
// change is logged, after `log_prefix` (NULL: "Beacon"). An endpoint that cannot be used is logged.
DAFKA_EXPORT
void dafka_beacon_recv(zactor_t *beacon,
                       zsock_t *sub,
                       bool verbose,
                       const char *log_prefix);

// The self test of this class: prints " * dafka_beacon: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_beacon_test(bool verbose);

// The store: keeps the records of all topics in the directory `store/db`, acknowledges them to their producers
// once they are on disk, and answers consumers from there. An actor for `zactor_new`, whose `args` is a
// `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
//
// A directory that cannot be used (not writable, in use by another store, another database's) is logged, and
// the actor ends. Understands `$TERM`: what it has taken in by then is written.
DAFKA_EXPORT
void dafka_store_actor(zsock_t *pipe,
                       void *args);

// The self test of this class: prints " * dafka_store: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_store_test(bool verbose);

// The producer: publishes records to a topic and keeps each until a store has acknowledged it. An actor for
// `zactor_new`, whose `args` is a `dafka_producer_args_t *`.
//
// Understands frame `P` + content frame (publish), `GET ADDRESS` (answered with picture `p`) and `$TERM`, upon
// which it waits for missing acknowledgements, unless `producer/terminate_unacked` is 1.
DAFKA_EXPORT
void dafka_producer(zsock_t *pipe,
                    void *args);

// The address of a producer, which is the name of the partition that it writes: 32 hexadecimal digits. Valid
// while the actor lives; NULL when it has ended.
DAFKA_EXPORT
const char *dafka_producer_address(zactor_t *self);

// The self test of this class: prints " * dafka_producer: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_producer_test(bool verbose);

// A new, empty message. The caller owns it, and destroys it with `dafka_producer_msg_destroy`.
DAFKA_EXPORT dafka_producer_msg_t *dafka_producer_msg_new(void);

// Destroys a message and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
DAFKA_EXPORT void dafka_producer_msg_destroy(dafka_producer_msg_t **self_p);

// The content, which the message owns; valid until the message changes. NULL when the message is empty.
DAFKA_EXPORT
const byte *dafka_producer_msg_content(dafka_producer_msg_t *self);

// The content's length in octets; 0 when the message is empty.
DAFKA_EXPORT size_t dafka_producer_msg_content_size(dafka_producer_msg_t *self);

// Takes the content out of the message, which is empty then. The caller owns the frame. NULL when the message
// is empty.
DAFKA_EXPORT
zframe_t *dafka_producer_msg_get_content(dafka_producer_msg_t *self);

// Gives the message a content of `size` octets, all zero, to be filled through `dafka_producer_msg_content`.
// Returns 0, or -1 when there is no memory for it; the message is as before then.
DAFKA_EXPORT
int dafka_producer_msg_init_content(dafka_producer_msg_t *self,
                                    size_t size);

// Gives the message a content. Takes the frame and sets `*content` to NULL. With NULL the message is empty.
DAFKA_EXPORT
void dafka_producer_msg_set_content(dafka_producer_msg_t *self,
                                    zframe_t **content);

// Gives the message a copy of a string, without its NUL. Returns 0, or -1 when there is no memory for it or an
// argument is NULL.
DAFKA_EXPORT
int dafka_producer_msg_set_content_str(dafka_producer_msg_t *self,
                                       const char *content);

// Gives the message a copy of `size` octets. Returns 0, or -1 when there is no memory for it or an argument is
// NULL (`content` may be NULL when `size` is 0).
DAFKA_EXPORT
int dafka_producer_msg_set_content_buffer(dafka_producer_msg_t *self,
                                          const byte *content,
                                          size_t size);

// Hands the content to a producer; the message is empty then, and can be used again. Waits while the
// producer's pipe is full. Returns 0, or -1 when the message is empty, an argument is NULL or the producer has
// ended; the content is kept in the first two cases.
DAFKA_EXPORT
int dafka_producer_msg_send(dafka_producer_msg_t *self,
                            zactor_t *producer);

// A fresh NUL-terminated copy of the content, to be freed with `zstr_free`. NULL when the message is empty.
DAFKA_EXPORT
char *dafka_producer_msg_strdup(dafka_producer_msg_t *self);

// True when the content equals a string, its NUL not counted; false when the message is empty.
DAFKA_EXPORT bool dafka_producer_msg_streq(dafka_producer_msg_t *self, const char *text);

// The self test of this class: prints " * dafka_producer_msg: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_producer_msg_test(bool verbose);

// A new consumer with a thread of its own. The caller owns it, and destroys it with `dafka_consumer_destroy`.
// `*args` is not modified. With a `record_sink`, which the consumer owns from now on, it sends a signal
// (`zsock_signal (sink, 0)`) and then the records there: each is three frames, subject, address, content.
// Reads new partitions from where `consumer/offset/reset` says, by default from the next record on. Returns
// NULL when `args` is NULL or there are no more sockets or threads.
DAFKA_EXPORT
dafka_consumer_t *dafka_consumer_new(dafka_consumer_args_t *args);

// Ends a consumer and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
DAFKA_EXPORT void dafka_consumer_destroy(dafka_consumer_t **self_p);

// Subscribes to a topic of 1 to 255 octets; to subscribe twice is one subscription. Returns 0, or -1 when the
// topic is no topic, an argument is NULL or the consumer has ended.
DAFKA_EXPORT
int dafka_consumer_subscribe(dafka_consumer_t *self,
                             const char *topic);

// Ends a subscription. Returns 0, also when there was none, or -1 when an argument is NULL or the consumer has
// ended.
DAFKA_EXPORT
int dafka_consumer_unsubscribe(dafka_consumer_t *self,
                               const char *topic);

// The consumer's address, 32 hexadecimal digits; a string that the consumer owns.
DAFKA_EXPORT const char *dafka_consumer_address(dafka_consumer_t *self);

// The topics subscribed to, as strings. The list belongs to the consumer, and is valid until the next call.
DAFKA_EXPORT
zlist_t *dafka_consumer_subscription(dafka_consumer_t *self);

// The reading end of the consumer's record pipe, for `zpoller` and `zloop`; it belongs to the consumer. Each
// record is three frames: subject, address, content. NULL with a custom sink.
DAFKA_EXPORT
zsock_t *dafka_consumer_record_source(dafka_consumer_t *self);

// The self test of this class: prints " * dafka_consumer: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_consumer_test(bool verbose);

// A new, empty message. The caller owns it, and destroys it with `dafka_consumer_msg_destroy`.
DAFKA_EXPORT dafka_consumer_msg_t *dafka_consumer_msg_new(void);

// Destroys a message and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
DAFKA_EXPORT void dafka_consumer_msg_destroy(dafka_consumer_msg_t **self_p);

// The record's topic, a string that the message owns; valid until the next record. NULL when the message is
// empty.
DAFKA_EXPORT
const char *dafka_consumer_msg_subject(dafka_consumer_msg_t *self);

// The address of the record's producer, which is the name of its partition; a string that the message owns,
// valid until the next record. NULL when the message is empty.
DAFKA_EXPORT
const char *dafka_consumer_msg_address(dafka_consumer_msg_t *self);

// The record's content, which the message owns; valid until the next record. NULL when the message is empty.
DAFKA_EXPORT
const byte *dafka_consumer_msg_content(dafka_consumer_msg_t *self);

// The content's length in octets; 0 when the message is empty.
DAFKA_EXPORT size_t dafka_consumer_msg_content_size(dafka_consumer_msg_t *self);

// Takes the content out of the message, which has none then. The caller owns the frame. NULL when there is no
// content.
DAFKA_EXPORT
zframe_t *dafka_consumer_msg_get_content(dafka_consumer_msg_t *self);

// Waits for the consumer's next record and reads it into the message. Returns 0, or -1 when a signal
// interrupted it (SIGINT and SIGTERM under CZMQ's handling), the consumer has ended, has a sink of its own, or
// an argument is NULL.
DAFKA_EXPORT
int dafka_consumer_msg_recv(dafka_consumer_msg_t *self,
                            dafka_consumer_t *consumer);

// Waits for a record on any socket that carries a consumer's records (frames subject, address, content) and
// reads it into the message. Returns 0, or -1 when a signal interrupted it, what came is no record, or an
// argument is NULL.
DAFKA_EXPORT
int dafka_consumer_msg_recv_from_socket(dafka_consumer_msg_t *self,
                                        zsock_t *socket);

// A fresh NUL-terminated copy of the content, to be freed with `zstr_free`. NULL when there is no content.
DAFKA_EXPORT
char *dafka_consumer_msg_strdup(dafka_consumer_msg_t *self);

// True when the content equals a string, its NUL not counted; false when there is no content.
DAFKA_EXPORT bool dafka_consumer_msg_streq(dafka_consumer_msg_t *self, const char *text);

// The self test of this class: prints " * dafka_consumer_msg: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_consumer_msg_test(bool verbose);

// The publisher: publishes records to a topic and keeps each until a store has acknowledged it. An actor for
// `zactor_new`, whose `args` is a `dafka_publisher_args_t *`.
//
// Understands `PUBLISH` + a frame holding a `zframe_t *` in picture `p` (ownership passes), `GET ADDRESS`
// (answered with picture `p`) and `$TERM`, as `dafka_producer` does.
DAFKA_EXPORT
void dafka_publisher_actor(zsock_t *pipe,
                           void *args);

// Publishes a record. Takes the frame and sets `*content` to NULL, also on error. Waits while the publisher's
// pipe is full. Returns 0, or -1 when the publisher has ended or an argument is NULL.
DAFKA_EXPORT
int dafka_publisher_publish(zactor_t *self,
                            zframe_t **content);

// The address of a publisher, which is the name of the partition that it writes: 32 hexadecimal digits. Valid
// while the actor lives; NULL when it has ended.
DAFKA_EXPORT
const char *dafka_publisher_address(zactor_t *self);

// The self test of this class: prints " * dafka_publisher: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_publisher_test(bool verbose);

// The subscriber: hands the records of its topics to its owner. An actor for `zactor_new`, whose `args` is a
// `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
//
// Understands `SUBSCRIBE` topic, `UNSUBSCRIBE` topic and `$TERM`; sends each record in zsock_bsend's picture
// `ssf`: subject, address, content. Reads each partition from its first record, unless its configuration says
// `consumer/offset/reset = latest`.
DAFKA_EXPORT
void dafka_subscriber_actor(zsock_t *pipe,
                            void *args);

// Subscribes to a topic of 1 to 255 octets. Returns 0, or -1 when the topic is no topic, an argument is NULL
// or the subscriber has ended.
DAFKA_EXPORT
int dafka_subscriber_subscribe(zactor_t *self,
                               const char *topic);

// The self test of this class: prints " * dafka_subscriber: OK", and aborts the process when a check fails. With `verbose`
// the actors that it runs log more.
DAFKA_EXPORT
void dafka_subscriber_test(bool verbose);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DAFKA_H_INCLUDED */
