//  Quickstart: publisher and subscriber, the first generation of the API. Both are actors, and the application reads
//  the records from the subscriber's pipe.
//
//  usage: quickstart_publisher_subscriber [DIRECTORY]
//
//  Runs a tower, a store, a publisher and a subscriber, publishes three records and reads them. Then it ends the
//  publisher, and a second subscriber reads the records again, from the store. With a DIRECTORY, the records stay
//  there. Without it, the store uses a temporary directory.

#include <dafka.h>

#define TOPIC "greetings"
#define COUNT 3

//  quickstart_producer_consumer.c explains these keys
static zconfig_t *
s_config_new (const char *directory)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "store/db", directory);
    return config;
}

//  Publishes COUNT records
static int
s_publish (zactor_t *publisher)
{
    int rc = 0;
    for (int number = 1; rc == 0 && number <= COUNT; number++) {
        char *content = zsys_sprintf ("record %d", number);
        zframe_t *frame = zframe_from (content);
        zstr_free (&content);
        //  Takes ownership of the frame, also when it fails
        rc = dafka_publisher_publish (publisher, &frame);
    }
    return rc;
}

//  Reads until all COUNT records of a partition have arrived
static int
s_read (const char *who, zactor_t *subscriber, const char *partition)
{
    int received = 0;
    while (received < COUNT) {
        char *subject, *address;
        zframe_t *content;
        //  Waits for the next record. The actor owns the strings, which are valid until the next call. We own the
        //  frame. -1 means that SIGINT or SIGTERM came (CZMQ handles them).
        if (zsock_brecv (subscriber, "ssf", &subject, &address, &content) == -1)
            return -1;
        printf ("%s: %s %s %.*s\n", who, subject, address,
                (int) zframe_size (content), (const char *) zframe_data (content));
        zframe_destroy (&content);
        if (streq (address, partition))
            received++;
    }
    return 0;
}

int
main (int argc, char *argv [])
{
    //  A unique name
    zuuid_t *uuid = zuuid_new ();
    char *directory = argc > 1
        ? strdup (argv [1])
        : zsys_sprintf ("/tmp/dafka-quickstart-%s", zuuid_str (uuid));
    zuuid_destroy (&uuid);
    zconfig_t *config = s_config_new (directory);

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);

    //  A publisher writes one partition, named after its address. The arguments may be freed after zactor_new has
    //  returned.
    dafka_publisher_args_t args = { TOPIC, config };
    zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
    const char *address = dafka_publisher_address (publisher);
    char *partition = address ? strdup (address) : NULL;
    int rc = partition ? 0 : -1;

    //  A subscriber reads from the first record on, unless consumer/offset/reset is "latest"
    zactor_t *live = zactor_new (dafka_subscriber_actor, config);
    if (rc == 0)
        rc = dafka_subscriber_subscribe (live, TOPIC);
    if (rc == 0)
        rc = s_publish (publisher);
    if (rc == 0)
        rc = s_read ("live", live, partition);
    zactor_destroy (&live);

    //  Returns when a store has acknowledged all records
    zactor_destroy (&publisher);

    zactor_t *late = zactor_new (dafka_subscriber_actor, config);
    if (rc == 0)
        rc = dafka_subscriber_subscribe (late, TOPIC);
    if (rc == 0)
        rc = s_read ("late", late, partition);
    zactor_destroy (&late);

    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    if (argc == 1) {
        zdir_t *dir = zdir_new (directory, NULL);
        if (dir)
            zdir_remove (dir, true);
        zdir_destroy (&dir);
    }
    zstr_free (&partition);
    zstr_free (&directory);
    return rc == 0 ? 0 : 1;
}
