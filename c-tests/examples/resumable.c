//  A processor that continues where it stopped, also after kill -9. Its work is to print the records of a topic.
//
//  usage: resumable CONFIG TOPIC NAME [COUNT]      until SIGINT or SIGTERM, or until it has printed COUNT records
//
//  Stores keep the positions of a consumer with a name. This program commits them after its work, so it processes each
//  record AT LEAST ONCE: after a crash, the next run gets the records since the last commit again. The example wordcount
//  shows how results become exact in spite of that.

#include <dafka.h>

#define COMMIT_EVERY 100        //  Records. The program waits for a store's disk at each commit
#define IDLE_MSECS 100          //  It also commits when no record has arrived for this time

//  When this function returns, the results must be safe: after the next commit, nobody reads the record again.
static int
s_process (dafka_consumer_msg_t *msg)
{
    char *content = dafka_consumer_msg_strdup (msg);
    printf ("%" PRIu64 " %s\n", dafka_consumer_msg_sequence (msg), content);
    zstr_free (&content);
    return fflush (stdout);
}

//  Commits all records that the program has received
static int
s_commit (dafka_consumer_t *consumer)
{
    if (dafka_consumer_commit (consumer) == 0)
        return 0;
    //  EAGAIN: no store has confirmed the commit within 5 seconds. The consumer repeats it until a store does
    //  EINTR: a signal came. dafka_consumer_destroy waits for the confirmation
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

int
main (int argc, char *argv [])
{
    zconfig_t *config = argc == 4 || argc == 5 ? zconfig_load (argv [1]) : NULL;
    if (!config) {
        fprintf (stderr, "usage: resumable CONFIG TOPIC NAME [COUNT]\n");
        return 1;
    }
    size_t left = argc == 5 ? (size_t) strtoul (argv [4], NULL, 10) : SIZE_MAX;
    zconfig_put (config, "consumer/name", argv [3]);
    zconfig_put (config, "consumer/commit", "manual");
    //  In partitions without a committed position, begin at the first record
    zconfig_put (config, "consumer/offset/reset", "earliest");

    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    int rc = dafka_consumer_subscribe (consumer, argv [2]);
    if (rc == 0)
        zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), IDLE_MSECS);

    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t uncommitted = 0;
    while (rc == 0 && left > 0 && !zsys_interrupted) {
        bool is_idle = dafka_consumer_msg_recv (msg, consumer) == -1;
        if (!is_idle) {
            rc = s_process (msg);
            left--;
            uncommitted++;
        }
        if (rc == 0 && (is_idle || left == 0 || uncommitted == COMMIT_EVERY)) {
            rc = s_commit (consumer);
            uncommitted = 0;
        }
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zconfig_destroy (&config);
    return rc == 0 ? 0 : 1;
}
