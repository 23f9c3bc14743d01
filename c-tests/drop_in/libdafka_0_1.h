/*  =========================================================================
    libdafka_0_1 - the interface of libdafka 0.1.0, as its reference has it

    Written without a look at our dafka.h. Drop-in programs include this file in place of our dafka.h. So they are
    compiled as if against the C library, and then run with ours.
    =========================================================================
*/

#ifndef LIBDAFKA_0_1_H_INCLUDED
#define LIBDAFKA_0_1_H_INCLUDED

#include <czmq.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct _dafka_proto_t dafka_proto_t;
typedef struct _dafka_producer_msg_t dafka_producer_msg_t;
typedef struct _dafka_consumer_t dafka_consumer_t;
typedef struct _dafka_consumer_msg_t dafka_consumer_msg_t;

typedef struct { const char *topic; zconfig_t *config; } dafka_publisher_args_t;
typedef struct { const char *topic; zconfig_t *config; } dafka_producer_args_t;
typedef struct { const char *log_prefix; zconfig_t *config; } dafka_beacon_args_t;
typedef struct { zconfig_t *config; zsock_t *record_sink; } dafka_consumer_args_t;

#define DAFKA_PROTO_RECORD 'M'
#define DAFKA_PROTO_MSG 'M'
#define DAFKA_PROTO_DIRECT_RECORD 'D'
#define DAFKA_PROTO_FETCH 'F'
#define DAFKA_PROTO_ACK 'K'
#define DAFKA_PROTO_HEAD 'H'
#define DAFKA_PROTO_DIRECT_HEAD 'E'
#define DAFKA_PROTO_GET_HEADS 'G'
#define DAFKA_PROTO_CONSUMER_HELLO 'W'
#define DAFKA_PROTO_STORE_HELLO 'L'

//  Actors
void dafka_tower_actor (zsock_t *pipe, void *args);
void dafka_store_actor (zsock_t *pipe, void *args);
void dafka_beacon_actor (zsock_t *pipe, void *args);
void dafka_producer (zsock_t *pipe, void *args);
void dafka_publisher_actor (zsock_t *pipe, void *args);
void dafka_subscriber_actor (zsock_t *pipe, void *args);

//  Publisher and subscriber
int dafka_publisher_publish (zactor_t *self, zframe_t **content);
const char *dafka_publisher_address (zactor_t *self);
int dafka_subscriber_subscribe (zactor_t *self, const char *topic);

//  Producer
const char *dafka_producer_address (zactor_t *self);
dafka_producer_msg_t *dafka_producer_msg_new (void);
void dafka_producer_msg_destroy (dafka_producer_msg_t **);
const byte *dafka_producer_msg_content (dafka_producer_msg_t *);
size_t dafka_producer_msg_content_size (dafka_producer_msg_t *);
zframe_t *dafka_producer_msg_get_content (dafka_producer_msg_t *);
int dafka_producer_msg_init_content (dafka_producer_msg_t *, size_t size);
void dafka_producer_msg_set_content (dafka_producer_msg_t *, zframe_t **content);
int dafka_producer_msg_set_content_str (dafka_producer_msg_t *, const char *);
int dafka_producer_msg_set_content_buffer (dafka_producer_msg_t *, const byte *, size_t);
int dafka_producer_msg_send (dafka_producer_msg_t *, zactor_t *producer);
char *dafka_producer_msg_strdup (dafka_producer_msg_t *);
bool dafka_producer_msg_streq (dafka_producer_msg_t *, const char *);

//  Consumer
dafka_consumer_t *dafka_consumer_new (dafka_consumer_args_t *args);
void dafka_consumer_destroy (dafka_consumer_t **);
int dafka_consumer_subscribe (dafka_consumer_t *, const char *topic);
int dafka_consumer_unsubscribe (dafka_consumer_t *, const char *topic);
const char *dafka_consumer_address (dafka_consumer_t *);
zlist_t *dafka_consumer_subscription (dafka_consumer_t *);
zsock_t *dafka_consumer_record_source (dafka_consumer_t *);
dafka_consumer_msg_t *dafka_consumer_msg_new (void);
void dafka_consumer_msg_destroy (dafka_consumer_msg_t **);
const char *dafka_consumer_msg_subject (dafka_consumer_msg_t *);
const char *dafka_consumer_msg_address (dafka_consumer_msg_t *);
const byte *dafka_consumer_msg_content (dafka_consumer_msg_t *);
size_t dafka_consumer_msg_content_size (dafka_consumer_msg_t *);
zframe_t *dafka_consumer_msg_get_content (dafka_consumer_msg_t *);
int dafka_consumer_msg_recv (dafka_consumer_msg_t *, dafka_consumer_t *);
int dafka_consumer_msg_recv_from_socket (dafka_consumer_msg_t *, zsock_t *);
char *dafka_consumer_msg_strdup (dafka_consumer_msg_t *);
bool dafka_consumer_msg_streq (dafka_consumer_msg_t *, const char *);

//  Beacon
void dafka_beacon_recv (zactor_t *beacon, zsock_t *sub, bool verbose, const char *log_prefix);

//  Protocol codec
dafka_proto_t *dafka_proto_new (void);
void dafka_proto_destroy (dafka_proto_t **);
dafka_proto_t *dafka_proto_dup (dafka_proto_t *);
int dafka_proto_recv (dafka_proto_t *, zsock_t *input);
int dafka_proto_send (dafka_proto_t *, zsock_t *output);
zframe_t *dafka_proto_encode (dafka_proto_t *);
void dafka_proto_print (dafka_proto_t *);
dafka_proto_t *dafka_proto_new_zpl (zconfig_t *);
zconfig_t *dafka_proto_zpl (dafka_proto_t *, zconfig_t *parent);
zframe_t *dafka_proto_routing_id (dafka_proto_t *);
void dafka_proto_set_routing_id (dafka_proto_t *, zframe_t *);
const char *dafka_proto_topic (dafka_proto_t *);
void dafka_proto_set_topic (dafka_proto_t *, const char *);
char dafka_proto_id (dafka_proto_t *);
void dafka_proto_set_id (dafka_proto_t *, char);
const char *dafka_proto_address (dafka_proto_t *);
void dafka_proto_set_address (dafka_proto_t *, const char *);
const char *dafka_proto_subject (dafka_proto_t *);
void dafka_proto_set_subject (dafka_proto_t *, const char *);
uint64_t dafka_proto_sequence (dafka_proto_t *);
void dafka_proto_set_sequence (dafka_proto_t *, uint64_t);
uint32_t dafka_proto_count (dafka_proto_t *);
void dafka_proto_set_count (dafka_proto_t *, uint32_t);
const char *dafka_proto_command (dafka_proto_t *);
zmq_msg_t *dafka_proto_content (dafka_proto_t *);
void dafka_proto_get_content (dafka_proto_t *, zmq_msg_t *);
void dafka_proto_set_content (dafka_proto_t *, zmq_msg_t *);
zlist_t *dafka_proto_subjects (dafka_proto_t *);
zlist_t *dafka_proto_get_subjects (dafka_proto_t *);
void dafka_proto_set_subjects (dafka_proto_t *, zlist_t **);
void dafka_proto_subscribe (zsock_t *sub, char id, const char *topic);
void dafka_proto_unsubscribe (zsock_t *, char, const char *);
bool dafka_proto_is_subscribe (dafka_proto_t *);

//  Self tests
void dafka_proto_test (bool);
void dafka_beacon_test (bool);
void dafka_tower_test (bool);
void dafka_store_test (bool);
void dafka_producer_test (bool);
void dafka_producer_msg_test (bool);
void dafka_consumer_test (bool);
void dafka_consumer_msg_test (bool);
void dafka_publisher_test (bool);
void dafka_subscriber_test (bool);
void dafka_private_selftest (bool, const char *);

#ifdef __cplusplus
}
#endif

#endif
