//  Workers that share the jobs of one topic: consumers of one group. Each job is handled by one of them, although all
//  jobs come from one producer. One worker leaves in the middle, and the others take over.
//
//  usage: workers [DIRECTORY]
//
//  The store keeps the positions of the group, and so each job is handled at least once, also if a worker is killed. A
//  network usually consists of several programs on several hosts; here it runs in one program.

#include <dafka.h>

#define WORKERS 3
#define JOBS 300
#define IDLE_MSECS 100

//  A worker: sends the number of each job that it has handled to its owner.
static void
s_worker (zsock_t *pipe, void *args)
{
    dafka_consumer_args_t consumer_args = { (zconfig_t *) args, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    dafka_consumer_subscribe (consumer, "jobs");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    zpoller_t *poller = zpoller_new (pipe, dafka_consumer_record_source (consumer), NULL);
    zsock_signal (pipe, 0);
    //  A job counts as handled when the worker asks for the next one. While there is none, the worker must commit, so
    //  that a worker that joins need not wait for it. The owner sends $TERM to end the worker
    int timeout_msecs = -1;
    void *which;
    while ((which = zpoller_wait (poller, timeout_msecs)) != pipe && !zsys_interrupted) {
        if (!which)
            dafka_consumer_commit (consumer);
        else
        if (dafka_consumer_msg_recv (msg, consumer) == 0) {
            char *job = dafka_consumer_msg_strdup (msg);
            zstr_send (pipe, job);
            zstr_free (&job);
        }
        timeout_msecs = which ? IDLE_MSECS : -1;
    }
    //  The last job counts as handled, too. Without this, another worker would get it again
    dafka_consumer_commit (consumer);
    zpoller_destroy (&poller);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
}

//  Publishes the jobs first to end - 1
static void
s_publish (zactor_t *producer, int first, int end)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int job = first; job < end; job++) {
        char *text = zsys_sprintf ("%d", job);
        dafka_producer_msg_set_content_str (msg, text);
        dafka_producer_msg_send (msg, producer);
        zstr_free (&text);
    }
    dafka_producer_msg_destroy (&msg);
}

int
main (int argc, char *argv [])
{
    //  A unique name
    zuuid_t *uuid = zuuid_new ();
    char *directory = argc > 1 ? strdup (argv [1]) : zsys_sprintf ("/tmp/dafka-workers-%s", zuuid_str (uuid));
    zuuid_destroy (&uuid);
    zconfig_t *config = zconfig_str_load (
        "tower\n    sub_address = inproc://workers-sub\n    pub_address = inproc://workers-pub\n"
        "beacon\n    sub_address = inproc://workers-sub\n    pub_address = inproc://workers-pub\n"
        "    interval = 50\n    address = 127.0.0.1\n"
        "consumer\n    group = workers\n    offset\n        reset = earliest\n");
    zconfig_put (config, "store/db", directory);
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    zactor_t *store = zactor_new (dafka_store_actor, config);
    dafka_producer_args_t args = { "jobs", config };
    zactor_t *producer = zactor_new (dafka_producer, &args);

    zactor_t *workers [WORKERS];
    zpoller_t *poller = zpoller_new (NULL);
    for (int i = 0; i < WORKERS; i++) {
        workers [i] = zactor_new (s_worker, config);
        zpoller_add (poller, workers [i]);
    }
    int times [JOBS] = { 0 }, handled = 0, repeated = 0;
    s_publish (producer, 0, JOBS / 2);
    while (handled < JOBS && !zsys_interrupted) {
        zactor_t *worker = (zactor_t *) zpoller_wait (poller, -1);
        char *job = worker ? zstr_recv (worker) : NULL;
        if (job && times [atoi (job)]++ > 0)
            repeated++;
        else
        if (job && ++handled == JOBS / 2) {
            zpoller_remove (poller, workers [0]);
            zactor_destroy (&workers [0]);
            s_publish (producer, JOBS / 2, JOBS);
        }
        zstr_free (&job);
    }
    printf ("%d jobs handled by %d workers, %d of them twice\n", handled, WORKERS, repeated);

    zpoller_destroy (&poller);
    for (int i = 0; i < WORKERS; i++)
        zactor_destroy (&workers [i]);
    zactor_destroy (&producer);
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
    return handled == JOBS ? 0 : 1;
}
