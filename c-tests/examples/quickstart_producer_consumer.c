//  Quickstart: producer and consumer, with a store between them.
//
//  usage: quickstart_producer_consumer [DIRECTORY]
//
//  Runs a tower, a store and a producer, publishes three records, and ends the producer. Only then it starts a
//  consumer, which gets the records from the store. With a DIRECTORY they stay there; else the store's directory is a
//  temporary one. A network is usually several programs; here one program is the whole of it.

#include <dafka.h>

#define TOPIC "greetings"
#define COUNT 3

//  All nodes read the same kind of configuration. From a file it would be zconfig_load ("dafka.cfg").
static zconfig_t *
s_config_new (const char *directory)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    //  The tower listens at tower/..., the nodes find it at beacon/... Within one process inproc:// will do; between
    //  processes it is tcp://HOST:PORT, the tower's own default being tcp://*:5556 and tcp://*:5557.
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    //  Nodes connect directly to each other, over TCP. This is the host that they are told to connect to.
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "store/db", directory);
    //  A consumer's default is "latest": only what is published from now on
    zconfig_put (config, "consumer/offset/reset", "earliest");
    return config;
}

//  Publish COUNT records. Returns the partition's name, to be freed with zstr_free, or NULL.
static char *
s_publish (zconfig_t *config)
{
    //  The arguments may go away once zactor_new has returned
    dafka_producer_args_t args = { TOPIC, config };
    zactor_t *producer = zactor_new (dafka_producer, &args);

    //  Each producer writes a partition of its own, named by the producer's address. The actor owns that string.
    const char *address = dafka_producer_address (producer);
    char *partition = address ? strdup (address) : NULL;

    int rc = partition ? 0 : -1;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 1; rc == 0 && number <= COUNT; number++) {
        char *content = zsys_sprintf ("record %d", number);
        dafka_producer_msg_set_content_str (msg, content);
        zstr_free (&content);
        //  Hands the content to the actor; the message is empty again, and can be used for the next one
        rc = dafka_producer_msg_send (msg, producer);
    }
    dafka_producer_msg_destroy (&msg);

    //  Returns when a store has acknowledged all records. It waits for ever if there is no store; a producer that is
    //  not to wait has producer/terminate_unacked = 1.
    zactor_destroy (&producer);
    if (rc == -1)
        zstr_free (&partition);
    return partition;
}

//  Read until all COUNT records of our partition have come.
static int
s_read (zconfig_t *config, const char *partition)
{
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    int rc = dafka_consumer_subscribe (consumer, TOPIC);

    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int received = 0;
    while (rc == 0 && received < COUNT) {
        //  Waits for the next record. -1 means that SIGINT or SIGTERM came (CZMQ handles them), or an error.
        rc = dafka_consumer_msg_recv (msg, consumer);
        if (rc == 0) {
            char *content = dafka_consumer_msg_strdup (msg);
            printf ("%s %s %s\n", dafka_consumer_msg_subject (msg), dafka_consumer_msg_address (msg), content);
            zstr_free (&content);
            //  Records of one partition come in their order; those of several in any
            if (streq (dafka_consumer_msg_address (msg), partition))
                received++;
        }
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    return rc;
}

int
main (int argc, char *argv [])
{
    //  A name that no other run has
    zuuid_t *uuid = zuuid_new ();
    char *directory = argc > 1
        ? strdup (argv [1])
        : zsys_sprintf ("/tmp/dafka-quickstart-%s", zuuid_str (uuid));
    zuuid_destroy (&uuid);
    zconfig_t *config = s_config_new (directory);

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);

    int rc = -1;
    char *partition = s_publish (config);
    if (partition) {
        printf ("published %d records: the store has them, their producer is gone\n", COUNT);
        rc = s_read (config, partition);
    }
    zstr_free (&partition);

    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    if (argc == 1) {
        zdir_t *dir = zdir_new (directory, NULL);
        if (dir)
            zdir_remove (dir, true);
        zdir_destroy (&dir);
    }
    zstr_free (&directory);
    return rc == 0 ? 0 : 1;
}
