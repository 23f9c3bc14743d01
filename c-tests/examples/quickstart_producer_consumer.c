//  Quickstart: producer and consumer, with a store between them.
//
//  usage: quickstart_producer_consumer [DIRECTORY]
//
//  Runs a tower, a store and a producer, publishes three records, and ends the producer. Only then it starts a
//  consumer, which reads the records from the store. With a DIRECTORY, the records stay there. Without it, the store
//  uses a temporary directory. A network usually consists of several programs; here it runs in one program.

#include <dafka.h>

#define TOPIC "greetings"
#define COUNT 3

//  The configuration of all nodes. zconfig_load ("dafka.cfg") would read it from a file.
static zconfig_t *
s_config_new (const char *directory)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    //  The tower listens at tower/..., and the nodes connect to beacon/... Within one process, inproc:// is enough.
    //  Between processes use tcp://HOST:PORT. The tower's default is tcp://*:5556 and tcp://*:5557.
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    //  Nodes connect directly to each other over TCP, at this host.
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "store/db", directory);
    //  A consumer's default is "latest": only records that are published from now on
    zconfig_put (config, "consumer/offset/reset", "earliest");
    return config;
}

//  Publishes COUNT records. Returns the partition's name, to be freed with zstr_free, or NULL.
static char *
s_publish (zconfig_t *config)
{
    //  The arguments may be freed after zactor_new has returned
    dafka_producer_args_t args = { TOPIC, config };
    zactor_t *producer = zactor_new (dafka_producer, &args);

    //  Each producer writes one partition, named after the producer's address. The actor owns that string.
    const char *address = dafka_producer_address (producer);
    char *partition = address ? strdup (address) : NULL;

    int rc = partition ? 0 : -1;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 1; rc == 0 && number <= COUNT; number++) {
        char *content = zsys_sprintf ("record %d", number);
        dafka_producer_msg_set_content_str (msg, content);
        zstr_free (&content);
        //  Hands the content to the actor. The message is then empty, and can be used for the next record.
        rc = dafka_producer_msg_send (msg, producer);
    }
    dafka_producer_msg_destroy (&msg);

    //  Returns when a store has acknowledged all records. Without a store it waits for ever, unless
    //  producer/terminate_unacked is 1.
    zactor_destroy (&producer);
    if (rc == -1)
        zstr_free (&partition);
    return partition;
}

//  Reads until all COUNT records of our partition have arrived.
static int
s_read (zconfig_t *config, const char *partition)
{
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    int rc = dafka_consumer_subscribe (consumer, TOPIC);

    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    int received = 0;
    while (rc == 0 && received < COUNT) {
        //  Waits for the next record. -1 means an error, or that SIGINT or SIGTERM came (CZMQ handles them).
        rc = dafka_consumer_msg_recv (msg, consumer);
        if (rc == 0) {
            char *content = dafka_consumer_msg_strdup (msg);
            printf ("%s %s %s\n", dafka_consumer_msg_subject (msg), dafka_consumer_msg_address (msg), content);
            zstr_free (&content);
            //  Records of one partition arrive in order, those of different partitions in any order
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
    //  A unique name
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
        printf ("published %d records: the store has them, their producer has ended\n", COUNT);
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
