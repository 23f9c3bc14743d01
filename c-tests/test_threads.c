/*  =========================================================================
    test_threads - two consumers, a subscriber, a producer and a publisher, each in its own thread: each reader receives
    each record exactly once, and in order; four threads that send to one producer; objects that are made in one thread
    and used in another
    =========================================================================
*/

#include "testing.h"
#include <pthread.h>

typedef struct {
    zconfig_t *config;
    size_t count;                       //  Records of each writer
    zsock_t *ready;                     //  Where a reader says that it has all
    zactor_t *publisher;
} thread_t;

static void
s_write (zactor_t *producer, const char *writer, size_t number)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    char *content = zsys_sprintf ("%s %lu", writer, (unsigned long) number);
    CHECK (dafka_producer_msg_set_content_str (msg, content) == 0);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    zstr_free (&content);
    dafka_producer_msg_destroy (&msg);
}

static void *
s_producer (void *args)
{
    thread_t *self = (thread_t *) args;
    zactor_t *producer = test_producer_new ("threads", self->config);
    for (size_t number = 0; number < self->count; number++)
        s_write (producer, "producer", number);
    zactor_destroy (&producer);         //  The store has acknowledged all
    return args;
}

static void *
s_publisher (void *args)
{
    thread_t *self = (thread_t *) args;
    self->publisher = test_publisher_new ("threads", self->config);
    for (size_t number = 0; number < self->count; number++) {
        char *content = zsys_sprintf ("publisher %lu", (unsigned long) number);
        zframe_t *frame = zframe_from (content);
        CHECK (dafka_publisher_publish (self->publisher, &frame) == 0);
        zstr_free (&content);
    }
    return args;                        //  A publisher would end before a slow store is connected
}

//  The records of the two writers arrive interleaved, those of each writer without a gap.

static void
s_check_next (const char *text, size_t next [2])
{
    int writer = strncmp (text, "publisher ", 10) == 0;
    CHECK (writer || strncmp (text, "producer ", 9) == 0);
    char *expected = zsys_sprintf ("%s %lu", writer ? "publisher" : "producer", (unsigned long) next [writer]);
    CHECK_STR (text, expected);
    zstr_free (&expected);
    next [writer]++;
}

static void
s_report (thread_t *self, const char *where)
{
    CHECK (zstr_send (self->ready, where) == 0);
}

static void *
s_consumer (void *args)
{
    thread_t *self = (thread_t *) args;
    dafka_consumer_t *consumer = test_consumer_new ("threads", self->config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t next [2] = { 0, 0 };
    while (next [0] < self->count || next [1] < self->count) {
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK_STR (dafka_consumer_msg_subject (msg), "threads");
        char *text = dafka_consumer_msg_strdup (msg);
        s_check_next (text, next);
        zstr_free (&text);
    }
    s_report (self, "all");
    //  The next record is written after all readers have reported. A reader must not receive a duplicate before this
    //  record.
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK (dafka_consumer_msg_streq (msg, "last 0"));
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    return args;
}

static void *
s_subscriber (void *args)
{
    thread_t *self = (thread_t *) args;
    zactor_t *subscriber = test_subscriber_new (self->config);
    CHECK (dafka_subscriber_subscribe (subscriber, "threads") == 0);
    size_t next [2] = { 0, 0 };
    bool last = false;
    while (!last) {
        char *subject, *address;
        zframe_t *frame;
        CHECK (zsock_brecv (subscriber, "ssf", &subject, &address, &frame) == 0);
        char *text = zframe_strdup (frame);
        last = streq (text, "last 0");
        if (last)
            CHECK (next [0] == self->count && next [1] == self->count);
        else
            s_check_next (text, next);
        zstr_free (&text);
        zframe_destroy (&frame);
        if (!last && next [0] == self->count && next [1] == self->count)
            s_report (self, "all");
    }
    zactor_destroy (&subscriber);
    return args;
}

static void
s_test_threads (zconfig_t *config, bool readers_first)
{
    test_case ("readers and writers in threads, %s first", readers_first ? "readers" : "writers");
    static void *(*const tasks [5]) (void *) = { s_consumer, s_consumer, s_subscriber, s_producer, s_publisher };
    //  libzmq releases the name some time after its socket was closed.
    const char *name = readers_first? "inproc://ready-readers": "inproc://ready-writers";
    zsock_t *ready = zsock_new (ZMQ_PULL);
    CHECK (ready && zsock_bind (ready, "%s", name) != -1);
    thread_t threads [5];
    pthread_t handles [5];
    for (int number = 0; number < 5; number++) {
        int index = readers_first ? number : 4 - number;
        threads [index].config = config;
        threads [index].count = test_scale (10000, 200);
        threads [index].publisher = NULL;
        threads [index].ready = zsock_new_push (name);
        CHECK (threads [index].ready);
        CHECK (pthread_create (&handles [index], NULL, tasks [index], &threads [index]) == 0);
    }
    for (int number = 0; number < 3; number++) {
        char *word = zstr_recv (ready);
        CHECK_STR (word, "all");
        zstr_free (&word);
    }

    test_case ("no duplicates");
    zactor_t *producer = test_producer_new ("threads", config);
    s_write (producer, "last", 0);
    for (int number = 0; number < 5; number++) {
        void *result;
        CHECK (pthread_join (handles [number], &result) == 0);
        CHECK (result == &threads [number]);
        zactor_destroy (&threads [number].publisher);
        zsock_destroy (&threads [number].ready);
    }
    zactor_destroy (&producer);
    zsock_destroy (&ready);
}


//  --------------------------------------------------------------------------
//  Several threads send to one producer

#define SENDERS 4
#define LONG_SIZE 10000
#define LONG_EVERY 10

typedef struct {
    zactor_t *producer;
    uint32_t index;                     //  Of this thread
    uint32_t count;                     //  Records of each thread
} sender_t;

//  Thread and number, and zeros up to another length for each record. Each tenth record is long. Some contents are
//  frames of the program. After a pause, the producer's actor waits, and these threads publish some records themselves.

static void *
s_sender (void *args)
{
    sender_t *self = (sender_t *) args;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    byte content [LONG_SIZE] = { 0 };
    for (uint32_t number = 0; number < self->count; number++) {
        uint32_t head [2] = { self->index, number };
        memcpy (content, head, sizeof (head));
        size_t size = number % LONG_EVERY == 0 ? LONG_SIZE : sizeof (head) + number % 100;
        if (number % 3 == 0) {
            zframe_t *frame = zframe_new (content, size);
            dafka_producer_msg_set_content (msg, &frame);
        }
        else
            CHECK (dafka_producer_msg_set_content_buffer (msg, content, size) == 0);
        CHECK (dafka_producer_msg_send (msg, self->producer) == 0);
        CHECK (dafka_producer_msg_content (msg) == NULL);
        if (number % 100 == 0)
            zclock_sleep (1);
    }
    dafka_producer_msg_destroy (&msg);
    return args;
}

static void
s_check_record (dafka_consumer_msg_t *msg, uint32_t next [SENDERS])
{
    size_t size = dafka_consumer_msg_content_size (msg);
    const byte *content = dafka_consumer_msg_content (msg);
    uint32_t head [2];
    CHECK (size >= sizeof (head));
    memcpy (head, content, sizeof (head));
    CHECK (head [0] < SENDERS);
    CHECK (head [1] == next [head [0]]);
    CHECK (size == (head [1] % LONG_EVERY == 0 ? LONG_SIZE : sizeof (head) + head [1] % 100));
    for (size_t at = sizeof (head); at < size; at++)
        CHECK (content [at] == 0);
    next [head [0]]++;
}

static void
s_test_shared_producer (zconfig_t *config, size_t pipe_high_watermark)
{
    test_case ("%d threads send to one producer, zsys_set_pipehwm (%lu)", SENDERS,
               (unsigned long) pipe_high_watermark);
    zsys_set_pipehwm (pipe_high_watermark);
    zactor_t *producer = test_producer_new ("shared", config);
    zsys_set_pipehwm (1000);
    sender_t senders [SENDERS];
    pthread_t handles [SENDERS];
    for (uint32_t index = 0; index < SENDERS; index++) {
        senders [index].producer = producer;
        senders [index].index = index;
        senders [index].count = (uint32_t) test_scale (10000, 200);
        CHECK (pthread_create (&handles [index], NULL, s_sender, &senders [index]) == 0);
    }
    for (int index = 0; index < SENDERS; index++)
        CHECK (pthread_join (handles [index], NULL) == 0);
    char *address = strdup (dafka_producer_address (producer));
    test_send (producer, "last");
    zactor_destroy (&producer);         //  The store has acknowledged all

    dafka_consumer_t *consumer = test_consumer_new ("shared", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    uint32_t next [SENDERS] = { 0 };
    do {
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        if (streq (dafka_consumer_msg_address (msg), address) && !dafka_consumer_msg_streq (msg, "last"))
            s_check_record (msg, next);
    }
    while (!streq (dafka_consumer_msg_address (msg), address) || !dafka_consumer_msg_streq (msg, "last"));
    for (int index = 0; index < SENDERS; index++)
        CHECK (next [index] == senders [index].count);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    free (address);
}


//  --------------------------------------------------------------------------

typedef struct {
    zactor_t *producer;
    dafka_consumer_t *consumer;
    zconfig_t *config;
} objects_t;

static void *
s_make (void *args)
{
    objects_t *self = (objects_t *) args;
    self->producer = test_producer_new ("hands", self->config);
    self->consumer = test_consumer_new ("hands", self->config);
    return args;
}

static void *
s_use (void *args)
{
    objects_t *self = (objects_t *) args;
    test_send (self->producer, "hello");
    test_recv (self->consumer, "hands", dafka_producer_address (self->producer), "hello");
    CHECK (zlist_size (dafka_consumer_subscription (self->consumer)) == 1);
    return args;
}

static void *
s_end (void *args)
{
    objects_t *self = (objects_t *) args;
    dafka_consumer_destroy (&self->consumer);
    zactor_destroy (&self->producer);
    return args;
}

//  One thread after the other, which ZeroMQ allows: creating and joining a thread are full barriers.

static void
s_test_hands (zconfig_t *config)
{
    static void *(*const tasks []) (void *) = { s_make, s_use, s_use, s_use, s_end };
    objects_t objects = { NULL, NULL, config };
    for (size_t index = 0; index < sizeof (tasks) / sizeof (tasks [0]); index++) {
        test_case ("objects go from thread to thread: %lu", (unsigned long) index);
        pthread_t handle;
        CHECK (pthread_create (&handle, NULL, tasks [index], &objects) == 0);
        CHECK (pthread_join (handle, NULL) == 0);
    }
    CHECK (objects.producer == NULL && objects.consumer == NULL);
}

int
main (void)
{
    test_begin ("test_threads", 120);
    for (int round = 0; round < 2; round++) {
        zconfig_t *config = test_config (round ? "tcp" : "inproc");
        zconfig_put (config, "consumer/offset/reset", "earliest");
        zactor_t *tower = test_tower_new (config);
        zactor_t *store = test_store_new (config);
        s_test_threads (config, round == 0);
        s_test_shared_producer (config, round ? 1 : 1000);
        s_test_hands (config);
        zactor_destroy (&store);
        zactor_destroy (&tower);
        zconfig_destroy (&config);
    }
    return test_end ();
}
