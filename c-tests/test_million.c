/*  =========================================================================
    test_million - a program publishes a million small records in a loop, and destroys the producer at once. Many
    producers publish some thousand records each, and are destroyed at once. zactor_destroy sends $TERM without waiting:
    there must be room for it in the pipe after the records, and no record may be lost.

    usage: test_million producer|publisher [PIPE_HWM [RECEIVE_HWM]]

    The test passes PIPE_HWM to zsys_set_pipehwm, and RECEIVE_HWM to zsys_set_rcvhwm while it makes producers. Both are
    1000 by default. A pipe holds as many messages as their sum: with "1 1", two messages fill a pipe.
    =========================================================================
*/

#include "testing.h"

#define DEFAULT_RECEIVE_HWM 1000

static bool s_publisher = false;        //  False: producers
static size_t s_receive_hwm = DEFAULT_RECEIVE_HWM;

static zactor_t *
s_actor_new (const char *topic, zconfig_t *config)
{
    zsys_set_rcvhwm (s_receive_hwm);
    zactor_t *actor = s_publisher ? test_publisher_new (topic, config) : test_producer_new (topic, config);
    zsys_set_rcvhwm (DEFAULT_RECEIVE_HWM);
    return actor;
}

static void
s_write_content (char *buffer, size_t size, size_t offset)
{
    snprintf (buffer, size, "record number %lu", (unsigned long) offset);
}

static void
s_produce (zactor_t *producer, size_t count)
{
    char content [40];
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        s_write_content (content, sizeof (content), offset);
        CHECK (dafka_producer_msg_set_content_str (msg, content) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    dafka_producer_msg_destroy (&msg);
}

static void
s_publish (zactor_t *publisher, size_t count)
{
    char content [40];
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        s_write_content (content, sizeof (content), offset);
        zframe_t *frame = zframe_from (content);
        CHECK (dafka_publisher_publish (publisher, &frame) == 0);
        CHECK (frame == NULL);
    }
}

static void
s_test_million (zconfig_t *config)
{
    const size_t count = test_scale (1000000, 5000);
    test_case ("publishing %lu records", (unsigned long) count);
    zactor_t *actor = s_actor_new ("million", config);
    char *address = strdup (s_publisher ? dafka_publisher_address (actor) : dafka_producer_address (actor));
    int64_t start = zclock_mono ();
    if (s_publisher)
        s_publish (actor, count);
    else
        s_produce (actor, count);
    test_case ("zactor_destroy right after the last record");
    zactor_destroy (&actor);
    int64_t published = zclock_mono ();

    test_case ("a consumer reads all %lu from the store", (unsigned long) count);
    dafka_consumer_t *consumer = test_consumer_new ("million", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t offset = 0; offset < count; offset++) {
        test_at (offset);
        char content [40];
        s_write_content (content, sizeof (content), offset);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        CHECK (dafka_consumer_msg_streq (msg, content));
        if (offset == 0)
            CHECK_STR (dafka_consumer_msg_address (msg), address);
    }
    int64_t consumed = zclock_mono ();
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    free (address);
    fprintf (stderr, "%lu records: published and stored in %ld ms, replayed in %ld ms\n",
             (unsigned long) count, (long) (published - start), (long) (consumed - published));
}

//  The messages exist beforehand, so that the program is faster than the actor, and the pipe is usually full.

static void
s_burst (zconfig_t *config, size_t round, size_t count)
{
    zframe_t **frames = (zframe_t **) zmalloc (count * sizeof (zframe_t *));
    dafka_producer_msg_t **msgs = (dafka_producer_msg_t **) zmalloc (count * sizeof (dafka_producer_msg_t *));
    for (size_t offset = 0; offset < count; offset++) {
        size_t content [2] = { round, offset };
        if (s_publisher)
            frames [offset] = zframe_new (content, sizeof (content));
        else {
            msgs [offset] = dafka_producer_msg_new ();
            CHECK (dafka_producer_msg_set_content_buffer (msgs [offset], (byte *) content, sizeof (content)) == 0);
        }
    }
    zactor_t *actor = s_actor_new ("bursts", config);
    if (s_publisher)
        for (size_t offset = 0; offset < count; offset++)
            CHECK (dafka_publisher_publish (actor, &frames [offset]) == 0);
    else
        for (size_t offset = 0; offset < count; offset++)
            CHECK (dafka_producer_msg_send (msgs [offset], actor) == 0);
    zactor_destroy (&actor);

    for (size_t offset = 0; offset < count; offset++)
        dafka_producer_msg_destroy (&msgs [offset]);
    freen (msgs);
    freen (frames);
}

static void
s_test_bursts (zconfig_t *config)
{
    const size_t rounds = test_scale (100, 10);
    test_case ("%lu producers, each destroyed after a burst", (unsigned long) rounds);
    size_t *counts = (size_t *) zmalloc (rounds * sizeof (size_t));
    size_t *next = (size_t *) zmalloc (rounds * sizeof (size_t));
    size_t total = 0;
    for (size_t round = 0; round < rounds; round++) {
        test_at (round);
        counts [round] = 1 + (round + 1) * 997 % 3000;
        total += counts [round];
        s_burst (config, round, counts [round]);
    }

    test_case ("a consumer reads the %lu records of all bursts from the store", (unsigned long) total);
    dafka_consumer_t *consumer = test_consumer_new ("bursts", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t received = 0; received < total; received++) {
        test_at (received);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        size_t content [2];
        CHECK (dafka_consumer_msg_content_size (msg) == sizeof (content));
        memcpy (content, dafka_consumer_msg_content (msg), sizeof (content));
        CHECK (content [0] < rounds);
        CHECK (content [1] == next [content [0]]);
        CHECK (content [1] < counts [content [0]]);
        next [content [0]]++;
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    freen (counts);
    freen (next);
}

int
main (int argc, char *argv [])
{
    if (argc < 2 || (strneq (argv [1], "producer") && strneq (argv [1], "publisher"))) {
        fprintf (stderr, "usage: %s producer|publisher [PIPE_HWM [RECEIVE_HWM]]\n", argv [0]);
        return 2;
    }
    s_publisher = streq (argv [1], "publisher");
    test_begin ("test_million", 300);
    //  Takes effect only before the first socket
    if (argc > 2)
        zsys_set_pipehwm ((size_t) strtoul (argv [2], NULL, 10));
    if (argc > 3)
        s_receive_hwm = (size_t) strtoul (argv [3], NULL, 10);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    test_case ("starting tower and store");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);

    s_test_million (config);
    s_test_bursts (config);

    test_case ("ending store and tower");
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
