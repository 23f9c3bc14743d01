//  A producer that knows which of its records are safe, and copes with a missing store.
//
//  usage: durable_producer [DIRECTORY]
//
//  Publishes records, and flushes after every ten of them: a flush returns when a store has all records on disk. No store
//  runs at first, so the first flush ends with a timeout. The records stay in the producer's memory, and the next flush
//  succeeds after a store has started. A network usually consists of several programs; here it runs in one program.

#include <dafka.h>

#define COUNT 30
#define GROUP 10
#define TIMEOUT_MSECS 500

static zactor_t *s_store = NULL;

//  In a real network, somebody starts the store. A program would log that it waits, and perhaps read no more input.
static void
s_handle_missing_store (zactor_t *producer, zconfig_t *config)
{
    if (s_store)
        return;                 //  It has started, and will connect soon
    printf ("no store: %d records wait in memory\n", (int) dafka_producer_unacked (producer));
    s_store = zactor_new (dafka_store_actor, config);
}

//  Returns 0 when a store has all records that were sent, -1 after a signal or an error.
static int
s_flush (zactor_t *producer, zconfig_t *config)
{
    while (dafka_producer_flush (producer, TIMEOUT_MSECS) == -1) {
        //  EINTR: SIGINT or SIGTERM came (CZMQ handles them). Other values: the producer has failed
        if (errno != EAGAIN)
            return -1;
        s_handle_missing_store (producer, config);
    }
    uint64_t sequence;
    if (dafka_producer_acked (producer, &sequence) == 0)
        printf ("records 0 to %d are on disk\n", (int) sequence);
    return 0;
}

static int
s_publish (zactor_t *producer, zconfig_t *config)
{
    int rc = 0;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 1; rc == 0 && number <= COUNT; number++) {
        char *content = zsys_sprintf ("record %d", number);
        dafka_producer_msg_set_content_str (msg, content);
        zstr_free (&content);
        //  -1: the budget of unacknowledged records is used up. A program that must not wait would now do something
        //  else. This one waits for the store.
        while (rc == 0 && dafka_producer_msg_try_send (msg, producer) == -1)
            rc = errno == EAGAIN ? s_flush (producer, config) : -1;
        //  One flush for many records: they travel and are written together
        if (rc == 0 && number % GROUP == 0)
            rc = s_flush (producer, config);
    }
    dafka_producer_msg_destroy (&msg);
    return rc;
}

int
main (int argc, char *argv [])
{
    //  A unique name
    zuuid_t *uuid = zuuid_new ();
    char *directory = argc > 1
        ? strdup (argv [1])
        : zsys_sprintf ("/tmp/dafka-durable-%s", zuuid_str (uuid));
    zuuid_destroy (&uuid);
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    zconfig_put (config, "store/db", directory);
    //  The budget, in bytes of memory. Without this key, there is no limit while no store acknowledges records.
    zconfig_put (config, "producer/max_unacked_bytes", "1000000");
    //  After a failed flush, zactor_destroy must not wait for a store
    zconfig_put (config, "producer/terminate_unacked", "1");

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t args = { "durable", config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    int rc = s_publish (producer, config);
    if (rc == -1)
        printf ("%d records may be lost\n", (int) dafka_producer_unacked (producer));

    zactor_destroy (&producer);
    zactor_destroy (&s_store);
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
