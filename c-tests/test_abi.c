/*  =========================================================================
    test_abi - C programs and the library agree on layouts: the argument structs, with each field at its place and
    nothing after the last one, constants, numbers at their limits, the version

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

static void
s_test_arguments (void)
{
    test_case ("starting a tower and a subscriber");
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);

    test_case ("dafka_consumer_args_t: config, record_sink");
    edge_t edge = s_edge_new (sizeof (dafka_consumer_args_t));
    dafka_consumer_args_t *consumer_args = (dafka_consumer_args_t *) edge.memory;
    zsock_t *sink;
    zsock_t *source = zsys_create_pipe (&sink);
    consumer_args->config = config;
    consumer_args->record_sink = sink;
    dafka_consumer_t *consumer = dafka_consumer_new (consumer_args);
    CHECK (consumer);
    CHECK (consumer_args->config == config && consumer_args->record_sink == sink);
    s_edge_destroy (&edge);
    CHECK (zsock_wait (source) == 0);
    CHECK (dafka_consumer_record_source (consumer) == NULL);
    CHECK (dafka_consumer_subscribe (consumer, "of the producer") == 0);
    CHECK (dafka_consumer_subscribe (consumer, "of the publisher") == 0);

    test_case ("dafka_producer_args_t: topic, config");
    edge = s_edge_new (sizeof (dafka_producer_args_t));
    dafka_producer_args_t *producer_args = (dafka_producer_args_t *) edge.memory;
    producer_args->topic = "of the producer";
    producer_args->config = config;
    zactor_t *producer = zactor_new (dafka_producer, producer_args);
    CHECK (producer);
    s_edge_destroy (&edge);

    test_case ("dafka_publisher_args_t: topic, config");
    edge = s_edge_new (sizeof (dafka_publisher_args_t));
    dafka_publisher_args_t *publisher_args = (dafka_publisher_args_t *) edge.memory;
    publisher_args->topic = "of the publisher";
    publisher_args->config = config;
    zactor_t *publisher = zactor_new (dafka_publisher_actor, publisher_args);
    CHECK (publisher);
    s_edge_destroy (&edge);

    test_case ("dafka_beacon_args_t: log_prefix, config");
    edge = s_edge_new (sizeof (dafka_beacon_args_t));
    dafka_beacon_args_t *beacon_args = (dafka_beacon_args_t *) edge.memory;
    zconfig_t *verbose = test_config_copy (config);
    zconfig_put (verbose, "beacon/verbose", "1");
    beacon_args->log_prefix = "Prefix of the beacon";
    beacon_args->config = verbose;
    test_log_begin ();
    zactor_t *beacon = zactor_new (dafka_beacon_actor, beacon_args);
    CHECK (beacon);
    s_edge_destroy (&edge);
    zconfig_destroy (&verbose);
    CHECK (zsock_send (beacon, "ssi", "START", "0123456789ABCDEF0123456789ABCDEF", 12345) == 0);
    test_log_await (NULL, "Prefix of the beacon", NULL);        //  It reports the peers in the network of its config
    test_log_end ();

    test_case ("the topics are those of the arguments");
    test_send (producer, "hello");
    test_publish (publisher, "hello");
    bool seen [2] = { false, false };
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (int number = 0; number < 2; number++) {
        CHECK (dafka_consumer_msg_recv_from_socket (msg, source) == 0);
        bool first = streq (dafka_consumer_msg_address (msg), dafka_producer_address (producer));
        CHECK_STR (dafka_consumer_msg_subject (msg), first ? "of the producer" : "of the publisher");
        seen [first] = true;
    }
    CHECK (seen [0] && seen [1]);
    dafka_consumer_msg_destroy (&msg);

    zactor_destroy (&beacon);
    zactor_destroy (&publisher);
    zactor_destroy (&producer);
    dafka_consumer_destroy (&consumer);
    zsock_destroy (&source);
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
