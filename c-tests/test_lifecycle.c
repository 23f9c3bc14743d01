/*  =========================================================================
    test_lifecycle - nodes start and end in every order: no tower, a late tower, a restarted tower,
    actors that cannot start, many starts and ends
    =========================================================================
*/

#include "testing.h"

//  A call that takes less time than this returns "at once", also on a loaded machine and under valgrind. A hang takes
//  longer.
#define AT_ONCE_MS 20000

//  Checks that a record reaches the consumer

static void
s_check_flow (zactor_t *producer, dafka_consumer_t *consumer, const char *content)
{
    test_send (producer, "%s", content);
    test_recv (consumer, NULL, dafka_producer_address (producer), "%s", content);
}


//  --------------------------------------------------------------------------

static void
s_test_no_tower (const char *transport)
{
    zconfig_t *config = test_config (transport);
    zconfig_put (config, "beacon/connect_timeout", "200");

    static const struct {
        const char *name;
        zactor_fn *task;
    } actors [] = {
        { "producer", dafka_producer },
        { "publisher", dafka_publisher_actor },
        { "subscriber", dafka_subscriber_actor },
        { "store", dafka_store_actor }
    };
    for (size_t index = 0; index < sizeof (actors) / sizeof (actors [0]); index++) {
        test_case ("%s without a tower, over %s", actors [index].name, transport);
        dafka_producer_args_t producer_args = { "no tower", config };
        dafka_publisher_args_t publisher_args = { "no tower", config };
        void *args = config;
        if (actors [index].task == dafka_producer)
            args = &producer_args;
        if (actors [index].task == dafka_publisher_actor)
            args = &publisher_args;
        int64_t start = zclock_mono ();
        zactor_t *actor = zactor_new (actors [index].task, args);
        CHECK (actor);
        CHECK (zclock_mono () - start < 200 + AT_ONCE_MS);
        start = zclock_mono ();
        zactor_destroy (&actor);
        CHECK (zclock_mono () - start < AT_ONCE_MS);
    }

    test_case ("consumer without a tower, over %s", transport);
    int64_t start = zclock_mono ();
    dafka_consumer_t *consumer = test_consumer_new ("no tower", config);
    CHECK (zclock_mono () - start < 200 + AT_ONCE_MS);
    start = zclock_mono ();
    dafka_consumer_destroy (&consumer);
    CHECK (zclock_mono () - start < AT_ONCE_MS);

    test_case ("producer with records, without a tower, terminate_unacked, over %s", transport);
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *producer = test_producer_new ("no tower", config);
    for (int number = 0; number < 100; number++)
        test_send (producer, "nobody gets this");
    start = zclock_mono ();
    zactor_destroy (&producer);
    CHECK (zclock_mono () - start < AT_ONCE_MS);
    zconfig_destroy (&config);
}

static void
s_test_late_tower (const char *transport)
{
    test_case ("nodes start and end before their tower, over %s", transport);
    zconfig_t *config = test_config (transport);
    zconfig_put (config, "beacon/connect_timeout", "1");
    for (int number = 0; number < 5; number++) {
        zactor_t *store = test_store_new (config);
        zactor_t *producer = test_producer_new ("late tower", config);
        dafka_consumer_t *consumer = test_consumer_new ("late tower", config);
        CHECK (store);
        zactor_destroy (&producer);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&store);
    }
    zactor_t *early = test_tower_new (config);
    zactor_destroy (&early);
    zconfig_destroy (&config);

    test_case ("nodes join a tower that starts later, over %s", transport);
    config = test_config (transport);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "beacon/connect_timeout", "100");

    zactor_t *producer = test_producer_new ("late tower", config);
    test_send (producer, "before the tower");
    dafka_consumer_t *consumer = test_consumer_new ("late tower", config);
    zactor_t *store = test_store_new (config);
    zactor_t *tower = test_tower_new (config);
    test_recv (consumer, "late tower", dafka_producer_address (producer), "before the tower");
    s_check_flow (producer, consumer, "after the tower");

    test_case ("the store joined too, over %s", transport);
    zactor_destroy (&producer);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static void
s_test_restarted_tower (void)
{
    test_case ("a tower replaces another one at once, over inproc");
    zconfig_t *inproc = test_config ("inproc");
    test_log_begin ();
    for (int number = 0; number < 20; number++) {
        zactor_t *tower = test_tower_new (inproc);
        zactor_destroy (&tower);
    }
    CHECK (!test_log_has ("E:", "cannot bind", NULL));
    zactor_t *first = test_tower_new (inproc);
    zactor_t *second = test_tower_new (inproc);
    CHECK (test_log_has ("E:", "cannot bind", NULL));       //  Two towers at the same time would log this
    test_log_end ();
    zactor_destroy (&second);
    zactor_destroy (&first);
    zconfig_destroy (&inproc);

    test_case ("before the tower is restarted");
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zconfig_put (config, "beacon/timeout", "60000");        //  Connected nodes stay connected
    zactor_t *tower = test_tower_new (config);
    zactor_t *old_producer = test_producer_new ("restart", config);
    dafka_consumer_t *old_consumer = test_consumer_new ("restart", config);
    s_check_flow (old_producer, old_consumer, "first");

    test_case ("without the tower");
    zactor_destroy (&tower);
    s_check_flow (old_producer, old_consumer, "second");

    test_case ("restarting the tower");
    test_await_unbound (zconfig_get (config, "tower/sub_address", ""));
    test_await_unbound (zconfig_get (config, "tower/pub_address", ""));
    tower = test_tower_new (config);

    test_case ("a new consumer finds the old producer");
    dafka_consumer_t *new_consumer = test_consumer_new ("restart", config);
    char *old_address = strdup (dafka_producer_address (old_producer));
    test_recv (new_consumer, "restart", old_address, "first");
    test_recv (new_consumer, "restart", old_address, "second");

    test_case ("old and new consumer find a new producer");
    zactor_t *new_producer = test_producer_new ("restart", config);
    s_check_flow (new_producer, old_consumer, "third");
    test_recv (new_consumer, "restart", dafka_producer_address (new_producer), "third");

    test_case ("old nodes are still connected");
    s_check_flow (old_producer, old_consumer, "fourth");
    test_recv (new_consumer, "restart", old_address, "fourth");

    test_case ("ending the nodes after the tower");
    zactor_destroy (&tower);
    free (old_address);
    dafka_consumer_destroy (&old_consumer);
    dafka_consumer_destroy (&new_consumer);
    zactor_destroy (&old_producer);
    zactor_destroy (&new_producer);
    zconfig_destroy (&config);
}

//  A tower and its nodes end at the same moment, again and again. All sockets of the process share ZeroMQ's I/O thread:
//  if an ending node blocks that thread (as an unread socket monitor does), no records arrive after that.

static void
s_test_ends_with_tower (void)
{
    test_case ("tower and nodes end together");
    size_t count = test_scale (20, 3);
    for (size_t number = 0; number < count; number++) {
        test_at (number);
        zconfig_t *config = test_config ("tcp");
        zconfig_put (config, "consumer/offset/reset", "earliest");
        zconfig_put (config, "producer/terminate_unacked", "1");
        zactor_t *tower = test_tower_new (config);
        zactor_t *producer = test_producer_new ("ends", config);
        dafka_consumer_t *consumer = test_consumer_new ("ends", config);
        s_check_flow (producer, consumer, "hello");
        zactor_destroy (&tower);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&producer);
        zconfig_destroy (&config);
    }
}


//  --------------------------------------------------------------------------

static void
s_start_and_end (zactor_fn task, void *args)
{
    int64_t start = zclock_mono ();
    zactor_t *actor = zactor_new (task, args);
    CHECK (actor);
    zactor_destroy (&actor);
    CHECK (actor == NULL);
    CHECK (zclock_mono () - start < AT_ONCE_MS);
}

//  No tower introduces them later. If the store does not learn of the producer now, the producer waits for ever.

static void
s_test_store_before_tower_ends (void)
{
    size_t count = test_scale (5, 3);
    for (size_t round = 0; round < count; round++) {
        test_case ("a tower that ends still introduces a store that has just started, round %zu", round);
        zconfig_t *config = test_config ("inproc");
        zactor_t *tower = test_tower_new (config);
        zactor_t *producer = test_producer_new ("introduced", config);
        test_send (producer, "before there was a store");
        zactor_t *store = test_store_new (config);
        zactor_destroy (&tower);
        zactor_destroy (&producer);         //  Waits until the store has the record
        zactor_destroy (&store);
        zconfig_destroy (&config);
    }
}

static void
s_test_failed_store (void)
{
    test_case ("a store whose directory cannot be created");
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);

    char *path = test_new_path ("file");
    FILE *file = fopen (path, "w");
    CHECK (file);
    fputs ("a regular file\n", file);
    fclose (file);
    zconfig_t *impossible = test_config_copy (config);
    zconfig_putf (impossible, "store/db", "%s/storedb", path);
    s_start_and_end (dafka_store_actor, impossible);
    test_case ("a store whose directory is a file");
    zconfig_put (impossible, "store/db", path);
    s_start_and_end (dafka_store_actor, impossible);
    zconfig_destroy (&impossible);
    zstr_free (&path);

    test_case ("a second store on the same directory");
    zactor_t *store = test_store_new (config);
    s_start_and_end (dafka_store_actor, config);
    s_start_and_end (dafka_store_actor, config);

    test_case ("the first store still works");
    zactor_t *producer = test_producer_new ("store", config);
    for (int number = 0; number < 100; number++)
        test_send (producer, "record %d", number);
    s_start_and_end (dafka_store_actor, config);
    zactor_destroy (&producer);             //  Waits until all are acknowledged
    dafka_consumer_t *consumer = test_consumer_new ("store", config);
    for (int number = 0; number < 100; number++)
        test_recv (consumer, "store", NULL, "record %d", number);
    dafka_consumer_destroy (&consumer);

    test_case ("a store replaces another one on the same directory");
    zactor_destroy (&store);
    store = test_store_new (config);
    consumer = test_consumer_new ("store", config);
    test_recv (consumer, "store", NULL, "record 0");
    dafka_consumer_destroy (&consumer);     //  With 99 records unread

    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static void
s_test_failed_tower (void)
{
    test_case ("a tower whose ports are in use by another program");
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    const char *colon = strrchr (zconfig_get (config, "tower/pub_address", ""), ':');
    CHECK (colon);
    int handle = test_listen (atoi (colon + 1));
    CHECK (handle >= 0);
    s_start_and_end (dafka_tower_actor, config);        //  The other port is free
    close (handle);
    test_await_unbound (zconfig_get (config, "tower/sub_address", ""));

    test_case ("a tower whose ports are in use by a tower");
    zactor_t *tower = test_tower_new (config);
    s_start_and_end (dafka_tower_actor, config);
    zactor_t *producer = test_producer_new ("tower", config);
    dafka_consumer_t *consumer = test_consumer_new ("tower", config);
    s_check_flow (producer, consumer, "the first tower works");
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}


//  --------------------------------------------------------------------------

static void
s_test_many (void)
{
    test_case ("many starts and ends");
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    size_t count = test_scale (100, 4);
    for (size_t number = 0; number < count; number++) {
        test_at (number);
        zactor_t *producer = test_producer_new ("many", config);
        dafka_consumer_t *consumer = test_consumer_new ("many", config);
        s_check_flow (producer, consumer, "hello");
        test_send (producer, "unread");
        if (number % 2)
            zactor_destroy (&producer);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&producer);
    }
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

int
main (void)
{
    test_begin ("test_lifecycle", 240);
    s_test_no_tower ("tcp");
    s_test_no_tower ("inproc");
    s_test_late_tower ("tcp");
    s_test_late_tower ("inproc");
    s_test_restarted_tower ();
    s_test_ends_with_tower ();
    s_test_store_before_tower_ends ();
    s_test_failed_store ();
    s_test_failed_tower ();
    s_test_many ();
    return test_end ();
}
