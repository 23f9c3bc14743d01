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

// The tower: introduces producers, consumers and stores to each other. An actor for `zactor_new`, whose
// `args` is a `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
//
// Binds to `tower/sub_address` and `tower/pub_address`; when it cannot, it logs why and ends. Understands
// `$TERM`.
DAFKA_EXPORT
void dafka_tower_actor(zsock_t *pipe,
                       void *args);

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

// The store: keeps the records of all topics in the directory `store/db`, acknowledges them to their producers
// once they are on disk, and answers consumers from there. An actor for `zactor_new`, whose `args` is a
// `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
//
// A directory that cannot be used (not writable, in use by another store, another database's) is logged, and
// the actor ends. Understands `$TERM`: what it has taken in by then is written.
DAFKA_EXPORT
void dafka_store_actor(zsock_t *pipe,
                       void *args);

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

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DAFKA_H_INCLUDED */
