/*  =========================================================================
    test_cannot_start - stores and towers that cannot start, and invalid values for keys of each kind: each is logged with key
    and value; zactor_new, dafka_consumer_new and the destructors return

    More nodes that cannot start: test_no_sockets (no sockets left), test_limits (a topic that is not valid).
    =========================================================================
*/

#include "testing.h"

//  A call that takes less time than this returns "at once", also on a loaded machine and under valgrind. A hang takes
//  longer.
#define AT_ONCE_MS 20000

typedef enum {
    TOWER, STORE, BEACON, PRODUCER, PUBLISHER, SUBSCRIBER, CONSUMER, CONSUMER_WITH_SINK,
    KINDS
} kind_t;

static const char *s_names [KINDS] = {
    "tower", "store", "beacon", "producer", "publisher", "subscriber", "consumer", "consumer with a sink"
};

//  Starts an actor and destroys it, both within the time limit. A consumer's sink gets its signal in any case.

static void
s_start_and_end (kind_t kind, zconfig_t *config)
{
    int64_t start = zclock_mono ();
    if (kind == CONSUMER || kind == CONSUMER_WITH_SINK) {
        zsock_t *sink = NULL;
        zsock_t *reader = kind == CONSUMER ? NULL : zsys_create_pipe (&sink);
        dafka_consumer_args_t args = { config, sink };
        dafka_consumer_t *consumer = dafka_consumer_new (&args);
        CHECK (consumer);
        if (reader)
            CHECK (zsock_wait (reader) >= 0);       //  The signal
        dafka_consumer_destroy (&consumer);
        CHECK (consumer == NULL);
        zsock_destroy (&reader);
    }
    else {
        static zactor_fn *const tasks [] = {
            dafka_tower_actor, dafka_store_actor, dafka_beacon_actor, dafka_producer, dafka_publisher_actor,
            dafka_subscriber_actor
        };
        dafka_producer_args_t producer_args = { "topic", config };
        dafka_publisher_args_t publisher_args = { "topic", config };
        dafka_beacon_args_t beacon_args = { "Beacon of ours", config };
        void *args = kind == PRODUCER ? (void *) &producer_args
                   : kind == PUBLISHER ? (void *) &publisher_args
                   : kind == BEACON ? (void *) &beacon_args
                   : (void *) config;
        zactor_t *actor = zactor_new (tasks [kind], args);
        CHECK (actor);
        zactor_destroy (&actor);
        CHECK (actor == NULL);
    }
    CHECK (zclock_mono () - start < AT_ONCE_MS);
}

//  The same with one changed value, which the log must name

static void
s_try (kind_t kind, zconfig_t *config, const char *key, const char *value, const char *text, const char *text2)
{
    test_case ("%s with %s = %.100s", s_names [kind], key, value);
    zconfig_t *changed = test_config_copy (config);
    zconfig_put (changed, key, value);
    test_log_begin ();
    s_start_and_end (kind, changed);
    CHECK (test_log_has ("E:", text, text2) || test_log_has ("W:", text, text2));
    test_log_end ();
    zconfig_destroy (&changed);
}


//  --------------------------------------------------------------------------

static void
s_test_store (zconfig_t *config)
{
    test_case ("a file in place of the directory");
    char *path = test_new_path ("file");
    FILE *file = fopen (path, "w");
    CHECK (file && fputs ("a regular file\n", file) >= 0 && fclose (file) == 0);
    s_try (STORE, config, "store/db", path, path, NULL);
    char *below = zsys_sprintf ("%s/storedb", path);
    s_try (STORE, config, "store/db", below, below, NULL);
    zstr_free (&below);
    zstr_free (&path);

    //  Even root cannot write here.
    s_try (STORE, config, "store/db", "/proc/self", "/proc/self", NULL);
    s_try (STORE, config, "store/db", "/sys/no such directory", "/sys/no such directory", NULL);
    if (geteuid () != 0) {
        path = test_new_path ("forbidden");
        CHECK (mkdir (path, 0500) == 0);
        s_try (STORE, config, "store/db", path, path, NULL);
        zstr_free (&path);
    }

    test_case ("the database of the C library");
    path = test_new_path ("leveldb");
    CHECK (mkdir (path, 0700) == 0);
    char *current = zsys_sprintf ("%s/CURRENT", path);
    file = fopen (current, "w");
    CHECK (file && fputs ("MANIFEST-000001\n", file) >= 0 && fclose (file) == 0);
    s_try (STORE, config, "store/db", path, path, NULL);
    zstr_free (&current);
    zstr_free (&path);

    test_case ("a path that is too long");
    char longest [9000];
    memset (longest, 'd', sizeof (longest));
    longest [0] = '/';
    longest [sizeof (longest) - 1] = 0;
    s_try (STORE, config, "store/db", longest, "/ddddd", NULL);
    //  With the default store/db, in this directory
    s_try (STORE, config, "store/db", "", "store/db = ", NULL);
}

static void
s_test_tower (zconfig_t *config)
{
    test_case ("a tower whose port is in use");
    zconfig_t *tcp = test_config ("tcp");
    static const char *keys [] = { "tower/sub_address", "tower/pub_address" };
    for (int index = 0; index < 2; index++) {
        char *address = strdup (zconfig_get (tcp, keys [index], ""));
        int handle = test_listen (atoi (strrchr (address, ':') + 1));
        CHECK (handle >= 0);
        s_try (TOWER, tcp, keys [index], address, address, NULL);
        //  The tower has released its other address.
        const char *other = zconfig_get (tcp, keys [!index], "");
        test_await_unbound (other);
        close (handle);
        free (address);
    }
    zconfig_destroy (&tcp);

    //  Addresses that this machine does not have, or that no program can bind
    static const char *addresses [] = {
        "tcp://240.0.0.1:*", "tcp://no such interface:*", "ipc:///no/such/directory/socket"
    };
    for (size_t number = 0; number < sizeof (addresses) / sizeof (addresses [0]); number++)
        for (int index = 0; index < 2; index++)
            s_try (TOWER, config, keys [index], addresses [number], addresses [number], NULL);

    //  In place of an invalid address the tower uses its default, a port on all interfaces. The test must not open that
    //  port, so it occupies the default ports meanwhile, unless another program has them.
    int handles [] = { test_listen (5556), test_listen (5557) };
    static const char *wrong [] = {
        "invalid", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:port", "tcp://127.0.0.1:-1",
        "gopher://127.0.0.1:70", "inproc://", "%s%n%s", ""
    };
    for (size_t number = 0; number < sizeof (wrong) / sizeof (wrong [0]); number++)
        for (int index = 0; index < 2; index++) {
            char *value = zsys_sprintf ("= %s", wrong [number]);
            s_try (TOWER, config, keys [index], wrong [number], keys [index], value);
            zstr_free (&value);
        }
    for (int index = 0; index < 2; index++)
        if (handles [index] >= 0)
            close (handles [index]);
}

//  Nodes use the default too: the addresses of a tower on the loopback interface, which may not exist.

static void
s_test_addresses (zconfig_t *config)
{
    static const char *keys [] = { "beacon/sub_address", "beacon/pub_address" };
    static const char *wrong [] = {
        "invalid", "tcp://", "tcp://127.0.0.1:99999", "gopher://127.0.0.1:70", "%s%n%s", "tcp://127.0.0.1:1,invalid"
    };
    for (int kind = STORE; kind < KINDS; kind++)
        for (size_t number = 0; number < sizeof (wrong) / sizeof (wrong [0]); number++)
            s_try ((kind_t) kind, config, keys [number % 2], wrong [number], keys [number % 2], wrong [number]);
}


//  --------------------------------------------------------------------------

//  Two nodes that read a key. (All nodes read the keys of the beacon.)

static const struct {
    const char *key;
    kind_t first;
    kind_t second;
} s_keys [] = {
    { "tower/max_subscription_bytes", TOWER, TOWER },
    { "tower/verbose", TOWER, TOWER },
    { "beacon/interval", PRODUCER, BEACON },
    { "beacon/timeout", SUBSCRIBER, STORE },
    { "beacon/connect_timeout", CONSUMER, PUBLISHER },
    { "beacon/max_peers", CONSUMER, BEACON },
    { "beacon/max_pending_peers", CONSUMER, BEACON },
    { "beacon/max_subscription_bytes", STORE, CONSUMER },
    { "beacon/verbose", BEACON, CONSUMER_WITH_SINK },
    { "producer/head_interval", PRODUCER, PUBLISHER },
    { "producer/high_watermark", PRODUCER, PUBLISHER },
    { "producer/terminate_unacked", PRODUCER, PUBLISHER },
    { "producer/min_stores", PRODUCER, PUBLISHER },
    { "producer/max_unacked_bytes", PRODUCER, PUBLISHER },
    { "producer/max_unsent_bytes", PRODUCER, PUBLISHER },
    { "producer/max_fetches", PRODUCER, PUBLISHER },
    { "producer/compression", PRODUCER, PUBLISHER },
    { "producer/verbose", PRODUCER, PUBLISHER },
    { "consumer/high_watermark", CONSUMER, SUBSCRIBER },
    { "consumer/reorder_bytes", CONSUMER, SUBSCRIBER },
    { "consumer/max_partitions", CONSUMER, SUBSCRIBER },
    { "consumer/max_partitions_per_peer", CONSUMER, SUBSCRIBER },
    { "consumer/max_record_bytes", CONSUMER, SUBSCRIBER },
    { "consumer/offset/reset", CONSUMER_WITH_SINK, SUBSCRIBER },
    { "consumer/verbose", CONSUMER, SUBSCRIBER },
    { "store/high_watermark", STORE, STORE },
    { "store/reorder_bytes", STORE, STORE },
    { "store/max_partitions", STORE, STORE },
    { "store/max_partitions_per_peer", STORE, STORE },
    { "store/max_record_bytes", STORE, STORE },
    { "store/max_unsent_bytes", STORE, STORE },
    { "store/max_fetches", STORE, STORE },
    { "store/sync", STORE, STORE },
    { "store/file_mode", STORE, STORE },
    { "store/verbose", STORE, STORE }
};
#define KEYS (sizeof (s_keys) / sizeof (s_keys [0]))

static void
s_test_values (zconfig_t *config)
{
    static const char *values [] = {
        "soon", "-5", "1e3", "7 apples", "99999999999999999999", "%s%n%s", "newest", "\xFF\xFE"
    };
    //  Scaled runs (valgrind) try a quarter of the values with each key.
    const size_t step = test_scale (4, 1) == 4 ? 1 : 4;
    zconfig_t *empty = test_config_copy (config);
    for (size_t index = 0; index < KEYS; index++) {
        for (size_t number = index % step; number < sizeof (values) / sizeof (values [0]); number += step) {
            //  Any number but 0 turns a switch on, as in 0.1.0, and a consumer can begin at the last five records.
            if (streq (values [number], "-5")
            && (strstr (s_keys [index].key, "/verbose") || strstr (s_keys [index].key, "/terminate_unacked")
                || streq (s_keys [index].key, "consumer/offset/reset")))
                continue;
            s_try (number % 2 ? s_keys [index].first : s_keys [index].second, config,
                   s_keys [index].key, values [number],
                   //  Bytes that are not text may be escaped.
                   s_keys [index].key, isascii (values [number] [0]) ? values [number] : NULL);
        }
        test_case ("%s empty", s_keys [index].key);
        zconfig_put (empty, s_keys [index].key, "");
        s_start_and_end (s_keys [index].first, empty);
    }
    zconfig_destroy (&empty);

    //  0 ms between beacons or heads is invalid too
    test_case ("intervals of 0, and huge ones");
    static const char *limits [] = { "0", "1", "2147483647" };
    for (size_t number = 0; number < sizeof (limits) / sizeof (limits [0]); number++) {
        zconfig_t *limit = test_config_copy (config);
        zconfig_put (limit, "beacon/interval", limits [number]);
        zconfig_put (limit, "beacon/timeout", limits [number]);
        zconfig_put (limit, "beacon/connect_timeout", limits [number]);
        zconfig_put (limit, "producer/head_interval", limits [number]);
        for (int kind = STORE; kind < KINDS; kind++)
            s_start_and_end ((kind_t) kind, limit);
        zconfig_destroy (&limit);
    }
}

//  Sinks without a reader, or that cannot send: the consumer starts and ends, and destroys the sink.

static void
s_test_sinks (zconfig_t *config)
{
    static const int types [] = { ZMQ_PUSH, ZMQ_DEALER, ZMQ_PUB, ZMQ_PULL, ZMQ_SUB, ZMQ_REP, ZMQ_PAIR };
    for (size_t index = 0; index < sizeof (types) / sizeof (types [0]); index++) {
        test_case ("a sink of type %d without a reader", types [index]);
        int64_t start = zclock_mono ();
        dafka_consumer_args_t args = { config, zsock_new (types [index]) };
        dafka_consumer_t *consumer = dafka_consumer_new (&args);
        dafka_consumer_destroy (&consumer);
        CHECK (zclock_mono () - start < AT_ONCE_MS);
    }
}

//  Invalid values for all keys, except for the addresses and the directory: all nodes use their defaults, and work.

static void
s_test_defaults (zconfig_t *config)
{
    test_case ("nodes with invalid values for all keys: starting");
    zconfig_t *invalid = test_config_copy (config);
    for (size_t index = 0; index < KEYS; index++)
        zconfig_put (invalid, s_keys [index].key, "invalid");
    zconfig_t *private = test_config ("inproc");
    static const char *addresses [] = {
        "tower/sub_address", "tower/pub_address", "beacon/sub_address", "beacon/pub_address", "store/db"
    };
    for (size_t index = 0; index < sizeof (addresses) / sizeof (addresses [0]); index++)
        zconfig_put (invalid, addresses [index], zconfig_get (private, addresses [index], ""));
    zactor_t *tower = test_tower_new (invalid);
    zactor_t *store = test_store_new (invalid);
    dafka_consumer_t *consumer = test_consumer_new ("topic", invalid);
    zactor_t *subscriber = test_subscriber_new (invalid);
    zactor_t *producer = test_producer_new ("topic", invalid);
    CHECK (dafka_subscriber_subscribe (subscriber, "topic") == 0);

    test_case ("nodes with invalid values for all keys: records flow");
    //  A consumer's default is latest: it receives what is published after it has met the producer.
    size_t sent = 0;
    do
        test_send (producer, "record %lu", (unsigned long) sent++);
    while (!test_poll (dafka_consumer_record_source (consumer), 50));
    char *text = test_recv_text (consumer);
    CHECK (strncmp (text, "record ", 7) == 0);
    zstr_free (&text);
    //  A subscriber's default is earliest.
    for (size_t number = 0; number < sent; number++)
        test_recv_from (subscriber, NULL, NULL, "record %lu", (unsigned long) number);

    test_case ("nodes with invalid values for all keys: ending");
    zactor_destroy (&producer);             //  By default it waits for the store
    zactor_destroy (&subscriber);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&private);
    zconfig_destroy (&invalid);
}

int
main (void)
{
    test_begin ("test_cannot_start", 120);
    CHECK (chdir (test_dir ()) == 0);       //  A store with the default store/db uses the working directory
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "beacon/connect_timeout", "1");
    s_test_store (config);
    s_test_tower (config);
    s_test_addresses (config);

    test_case ("a tower for the others");
    zactor_t *tower = test_tower_new (config);
    zconfig_t *other = test_config_copy (config);
    zconfig_t *free_addresses = test_config ("inproc");
    zconfig_put (other, "tower/sub_address", zconfig_get (free_addresses, "tower/sub_address", ""));
    zconfig_put (other, "tower/pub_address", zconfig_get (free_addresses, "tower/pub_address", ""));
    s_test_values (other);
    s_test_sinks (other);
    s_test_defaults (other);
    zactor_destroy (&tower);
    zconfig_destroy (&free_addresses);
    zconfig_destroy (&other);
    zconfig_destroy (&config);
    return test_end ();
}
