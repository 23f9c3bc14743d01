/*  =========================================================================
    test_abi - C programs and the library agree on the layout of the argument structs (each field is at its place, and
    nothing follows the last one), on constants, on numbers at their limits, and on the version

    test_proto covers message ids and zmq_msg_t.
    =========================================================================
*/

#define _DEFAULT_SOURCE         //  MAP_ANONYMOUS

#include "testing.h"
#include <stddef.h>
#include <sys/mman.h>

//  Memory right before an inaccessible page: reading or writing one byte more ends the process.

typedef struct {
    void *pages;
    size_t page;
    void *memory;
} edge_t;

static edge_t
s_edge_new (size_t size)
{
    edge_t self;
    self.page = (size_t) sysconf (_SC_PAGESIZE);
    self.pages = mmap (NULL, 2 * self.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK (self.pages != MAP_FAILED);
    memset (self.pages, 0xA5, 2 * self.page);
    CHECK (mprotect ((byte *) self.pages + self.page, self.page, PROT_NONE) == 0);
    self.memory = (byte *) self.pages + self.page - size;
    return self;
}

//  Checks that nothing was written before the memory.

static void
s_edge_destroy (edge_t *self)
{
    for (byte *octet = (byte *) self->pages; octet < (byte *) self->memory; octet++)
        CHECK (*octet == 0xA5);
    CHECK (munmap (self->pages, 2 * self->page) == 0);
}

//  Shows that the inaccessible page works.

static void
s_test_edge (void)
{
    test_case ("access to one byte after the edge is detected");
    if (test_in_valgrind ())
        return;                             //  valgrind would report an error
    edge_t edge = s_edge_new (16);
    //  The kernel detects the access, without a signal.
    int handles [2];
    CHECK (pipe (handles) == 0);
    CHECK (write (handles [1], edge.memory, 16) == 16);
    CHECK (write (handles [1], (byte *) edge.memory + 16, 1) == -1 && errno == EFAULT);
    close (handles [0]);
    close (handles [1]);
    s_edge_destroy (&edge);
}


//  --------------------------------------------------------------------------

//  Starts an actor with arguments right before the inaccessible page. Then frees the arguments, which the library must
//  not have modified, and overwrites and frees the string and the configuration in them.
#define START(actor, task, args_type, field, text) \
    do { \
        edge_t edge = s_edge_new (sizeof (args_type)); \
        args_type *args = (args_type *) edge.memory; \
        char *string = strdup (text); \
        zconfig_t *copy = test_config_copy (config); \
        args->field = string; \
        args->config = copy; \
        actor = zactor_new (task, args); \
        CHECK (actor); \
        CHECK (args->field == string && args->config == copy); \
        s_edge_destroy (&edge); \
        test_spoil_str (&string); \
        test_spoil_config (&copy); \
    } while (0)

static zactor_t *
s_start_with_config (zactor_t *(*start) (zconfig_t *), zconfig_t *config)
{
    zconfig_t *copy = test_config_copy (config);
    zactor_t *actor = start (copy);
    test_spoil_config (&copy);
    return actor;
}

//  Started with a record sink, or without one

static dafka_consumer_t *
s_start_consumer (zconfig_t *config, zsock_t *sink)
{
    edge_t edge = s_edge_new (sizeof (dafka_consumer_args_t));
    dafka_consumer_args_t *args = (dafka_consumer_args_t *) edge.memory;
    zconfig_t *copy = test_config_copy (config);
    args->config = copy;
    args->record_sink = sink;
    dafka_consumer_t *consumer = dafka_consumer_new (args);
    CHECK (consumer);
    CHECK (args->config == copy && args->record_sink == sink);
    CHECK ((dafka_consumer_record_source (consumer) == NULL) == (sink != NULL));
    s_edge_destroy (&edge);
    test_spoil_config (&copy);
    char *topic = strdup ("of the producer");
    CHECK (dafka_consumer_subscribe (consumer, topic) == 0);
    test_spoil_str (&topic);
    CHECK (dafka_consumer_subscribe (consumer, "of the publisher") == 0);
    CHECK_STR ((char *) zlist_first (dafka_consumer_subscription (consumer)), "of the producer");
    return consumer;
}

static void
s_test_arguments (void)
{
    test_case ("arguments at an edge, which are freed after the start");
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = s_start_with_config (test_tower_new, config);
    zactor_t *store = s_start_with_config (test_store_new, config);
    zactor_t *subscriber = s_start_with_config (test_subscriber_new, config);
    zsock_t *sink;
    zsock_t *source = zsys_create_pipe (&sink);
    dafka_consumer_t *with_sink = s_start_consumer (config, sink);
    CHECK (zsock_wait (source) == 0);
    dafka_consumer_t *consumer = s_start_consumer (config, NULL);
    char *topic = strdup ("of the producer");
    CHECK (dafka_subscriber_subscribe (subscriber, topic) == 0);
    test_spoil_str (&topic);
    zactor_t *producer, *publisher, *beacon;
    START (producer, dafka_producer, dafka_producer_args_t, topic, "of the producer");
    START (publisher, dafka_publisher_actor, dafka_publisher_args_t, topic, "of the publisher");
    zconfig_put (config, "beacon/verbose", "1");
    test_log_begin ();
    START (beacon, dafka_beacon_actor, dafka_beacon_args_t, log_prefix, "Prefix of the beacon");

    test_case ("each argument has taken effect");
    test_send (producer, "hello");
    test_recv (consumer, "of the producer", dafka_producer_address (producer), "hello");
    test_recv_from (subscriber, "of the producer", dafka_producer_address (producer), "hello");
    test_publish (publisher, "hello");
    test_recv (consumer, "of the publisher", dafka_publisher_address (publisher), "hello");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    bool seen [2] = { false, false };
    for (int number = 0; number < 2; number++) {
        CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == 0);
        bool first = streq (dafka_consumer_msg_address (msg), dafka_producer_address (producer));
        CHECK_STR (dafka_consumer_msg_subject (msg), first ? "of the producer" : "of the publisher");
        seen [first] = true;
    }
    CHECK (seen [0] && seen [1]);
    dafka_consumer_msg_destroy (&msg);
    //  The beacon reports the peers in the network of its configuration. Its log lines have the prefix.
    char *uuid = strdup ("0123456789ABCDEF0123456789ABCDEF");
    CHECK (zsock_send (beacon, "ssi", "START", uuid, 12345) == 0);
    test_spoil_str (&uuid);
    char *command, *endpoint;
    CHECK (zstr_recvx (beacon, &command, &endpoint, NULL) == 2);
    CHECK_STR (command, "CONNECT");
    zstr_free (&command);
    zstr_free (&endpoint);
    test_log_await (NULL, "Prefix of the beacon", NULL);
    test_log_end ();

    zactor_destroy (&beacon);
    zactor_destroy (&publisher);
    zactor_destroy (&producer);
    dafka_consumer_destroy (&consumer);
    dafka_consumer_destroy (&with_sink);
    zsock_destroy (&source);
    zactor_destroy (&subscriber);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static void
s_test_numbers (void)
{
    test_case ("sizes and numbers keep all their bytes");
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    CHECK (dafka_producer_msg_set_content_str (msg, "kept") == 0);
    CHECK (dafka_producer_msg_init_content (msg, SIZE_MAX) == -1);
    CHECK (dafka_producer_msg_init_content (msg, SIZE_MAX / 2) == -1);
    CHECK (dafka_producer_msg_streq (msg, "kept"));
    dafka_producer_msg_destroy (&msg);

    dafka_proto_t *proto = dafka_proto_new ();
    for (int bit = 0; bit < 64; bit++) {
        dafka_proto_set_sequence (proto, UINT64_C (1) << bit);
        CHECK (dafka_proto_sequence (proto) == UINT64_C (1) << bit);
        dafka_proto_set_count (proto, UINT32_C (1) << bit % 32);
        CHECK (dafka_proto_count (proto) == UINT32_C (1) << bit % 32);
    }
    dafka_proto_destroy (&proto);
}

//  The version of the header, and that of the library (PACKAGE_VERSION, from pkg-config)

static void
s_test_version (void)
{
    test_case ("the version of the header is that of the library");
    char *version = zsys_sprintf ("%d.%d.%d", DAFKA_VERSION_MAJOR, DAFKA_VERSION_MINOR, DAFKA_VERSION_PATCH);
    CHECK_STR (version, PACKAGE_VERSION);
    zstr_free (&version);
}

//  The dafka_selftest of 0.1.0 calls this for its private classes

static void
s_test_private_selftest (void)
{
    test_case ("the checks of the library's internals");
    dafka_private_selftest (false, "dafka_unacked_list_test");
    dafka_private_selftest (false, "$ALL");
    dafka_private_selftest (false, "no such test");
    test_log_begin ();
    dafka_private_selftest (false, NULL);
    CHECK (test_log_has ("E:", "dafka_private_selftest", "NULL"));
    test_log_end ();
}

//  The struct consists of two pointers of these types, in this order.
#define CHECK_PAIR(type, first_type, first, second_type, second) \
    do { \
        static type object; \
        first_type *first_place = &object.first; \
        second_type *second_place = &object.second; \
        CHECK (first_place && second_place); \
        CHECK (offsetof (type, first) == 0); \
        CHECK (offsetof (type, second) == sizeof (void *)); \
        CHECK (sizeof (object.first) == sizeof (void *)); \
        CHECK (sizeof (object.second) == sizeof (void *)); \
        CHECK (sizeof (type) == 2 * sizeof (void *)); \
    } while (0)

static void
s_test_constants (void)
{
    test_case ("layouts and constants, as the C compiler sees them");
    CHECK_PAIR (dafka_publisher_args_t, const char *, topic, zconfig_t *, config);
    CHECK_PAIR (dafka_producer_args_t, const char *, topic, zconfig_t *, config);
    CHECK_PAIR (dafka_beacon_args_t, const char *, log_prefix, zconfig_t *, config);
    CHECK_PAIR (dafka_consumer_args_t, zconfig_t *, config, zsock_t *, record_sink);

    CHECK (DAFKA_PROTO_RECORD == 0x4D);
    CHECK (DAFKA_PROTO_MSG == 0x4D);
    CHECK (DAFKA_PROTO_DIRECT_RECORD == 0x44);
    CHECK (DAFKA_PROTO_FETCH == 0x46);
    CHECK (DAFKA_PROTO_ACK == 0x4B);
    CHECK (DAFKA_PROTO_HEAD == 0x48);
    CHECK (DAFKA_PROTO_DIRECT_HEAD == 0x45);
    CHECK (DAFKA_PROTO_GET_HEADS == 0x47);
    CHECK (DAFKA_PROTO_CONSUMER_HELLO == 0x57);
    CHECK (DAFKA_PROTO_STORE_HELLO == 0x4C);

    //  This compiles only if the ids are constants and differ, except for the alias.
    switch (getpid () > 0 ? DAFKA_PROTO_ACK : 0) {
        case DAFKA_PROTO_RECORD:
        case DAFKA_PROTO_DIRECT_RECORD:
        case DAFKA_PROTO_FETCH:
        case DAFKA_PROTO_HEAD:
        case DAFKA_PROTO_DIRECT_HEAD:
        case DAFKA_PROTO_GET_HEADS:
        case DAFKA_PROTO_CONSUMER_HELLO:
        case DAFKA_PROTO_STORE_HELLO:
            CHECK (false);
            break;
        case DAFKA_PROTO_ACK:
            break;
    }
}

int
main (void)
{
    test_begin ("test_abi", 60);
    s_test_constants ();
    s_test_edge ();
    s_test_arguments ();
    s_test_numbers ();
    s_test_version ();
    s_test_private_selftest ();
    return test_end ();
}
