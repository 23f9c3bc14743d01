//  A reactor: one zloop that publishes on a timer, and reads records when they arrive.
//
//  usage: zloop_ticker [COUNT [INTERVAL]]
//
//  Publishes "tick 1", "tick 2", ... every INTERVAL ms (default 100), reads and prints them. Ends with exit code 0
//  after COUNT ticks (default 10), or after SIGINT or SIGTERM.

#include <dafka.h>

typedef struct {
    zactor_t *producer;
    dafka_producer_msg_t *sent;         //  Both messages are reused
    dafka_consumer_msg_t *received;
    int count;                          //  Number of ticks to read
    int published;
    int read;
} ticker_t;

//  The timer's handler. 0 continues, -1 ends the loop.
static int
s_publish (zloop_t *loop, int timer_id, void *arg)
{
    ticker_t *self = (ticker_t *) arg;
    char *content = zsys_sprintf ("tick %d", ++self->published);
    dafka_producer_msg_set_content_str (self->sent, content);
    zstr_free (&content);
    //  This waits while the producer's pipe is full, and the loop waits too. A program that publishes faster than its
    //  stores write should publish in a separate thread.
    int rc = dafka_producer_msg_send (self->sent, self->producer);
    if (self->published == self->count)
        zloop_timer_end (loop, timer_id);
    return rc;
}

//  The reader's handler: called while there are records to read, so it reads one at a time.
static int
s_read (zloop_t *loop, zsock_t *source, void *arg)
{
    (void) loop;
    ticker_t *self = (ticker_t *) arg;
    //  There is a record, so this does not wait. dafka_consumer_msg_recv with the consumer would work too.
    if (dafka_consumer_msg_recv_from_socket (self->received, source) == -1)
        return -1;
    char *content = dafka_consumer_msg_strdup (self->received);
    puts (content);
    fflush (stdout);
    zstr_free (&content);
    return ++self->read < self->count ? 0 : -1;
}

int
main (int argc, char *argv [])
{
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
    zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
    zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
    zconfig_put (config, "beacon/address", "127.0.0.1");
    //  The first tick may be published before the consumer has found the producer, and must not be missed
    zconfig_put (config, "consumer/offset/reset", "earliest");
    //  There is no store to acknowledge records: let the producer end without an ACK
    zconfig_put (config, "producer/terminate_unacked", "1");

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    dafka_producer_args_t producer_args = { "ticks", config };
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    ticker_t ticker = {
        .producer = zactor_new (dafka_producer, &producer_args),
        .sent = dafka_producer_msg_new (),
        .received = dafka_consumer_msg_new (),
        .count = argc > 1 ? atoi (argv [1]) : 10
    };
    int rc = dafka_consumer_subscribe (consumer, "ticks");

    if (rc == 0) {
        zloop_t *loop = zloop_new ();
        zloop_timer (loop, argc > 2 ? (size_t) atoi (argv [2]) : 100, 0, s_publish, &ticker);
        zloop_reader (loop, dafka_consumer_record_source (consumer), s_read, &ticker);
        //  Runs until a handler returns -1, or a signal comes (CZMQ handles SIGINT and SIGTERM: zsys_interrupted)
        zloop_start (loop);
        zloop_destroy (&loop);
        printf ("%d of %d ticks read%s\n", ticker.read, ticker.count, zsys_interrupted ? ", interrupted" : "");
        if (ticker.read < ticker.count && !zsys_interrupted)
            rc = -1;
    }

    //  The loop first, since it uses the record source; then consumer and producer, and the tower last
    dafka_consumer_msg_destroy (&ticker.received);
    dafka_producer_msg_destroy (&ticker.sent);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&ticker.producer);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return rc == 0 ? 0 : 1;
}
