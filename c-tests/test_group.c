/*  =========================================================================
    test_group - consumers of one group share the records of their topic
    =========================================================================
*/

#include "testing.h"

#define TOPIC "jobs"
#define MOST 3
#define KEYS 200

#define CHECK_ERRNO(call, expected) \
    do { \
        errno = 0; \
        CHECK ((call) == -1); \
        CHECK (errno == (expected)); \
    } while (0)

//  A member, and the message of the record that it processes.
typedef struct {
    dafka_consumer_t *consumer;
    dafka_consumer_msg_t *msg;
    size_t count;               //  Records that it has received
} member_t;

static dafka_consumer_t *
s_consumer (zconfig_t *config, const char *group, const char *group_by, const char *commit)
{
    zconfig_t *own = test_config_copy (config);
    zconfig_put (own, "consumer/group", group);
    zconfig_put (own, "consumer/group_by", group_by);
    zconfig_put (own, "consumer/commit", commit);
    zconfig_put (own, "consumer/commit_interval", "20");
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, own);
    zconfig_destroy (&own);
    return consumer;
}

static void
s_join (member_t *member, zconfig_t *config, const char *group_by)
{
    member->consumer = s_consumer (config, group_by, group_by, "auto");
    member->msg = dafka_consumer_msg_new ();
    member->count = 0;
}

static void
s_leave (member_t *member)
{
    //  The last record counts as processed.
    CHECK (dafka_consumer_commit (member->consumer) == 0);
    dafka_consumer_destroy (&member->consumer);
    dafka_consumer_msg_destroy (&member->msg);
}

//  Reads the records first to end - 1, each at one of the members. owners has the member of each key, from 1 on; if it is
//  not NULL, each key must be at one member. Each record has its number as content.
static void
s_read (member_t *members, size_t member_count, size_t first, size_t end, size_t *owners)
{
    bool *received = (bool *) zmalloc (end - first);
    zpoller_t *poller = zpoller_new (NULL);
    CHECK (poller);
    for (size_t i = 0; i < member_count; i++)
        CHECK (zpoller_add (poller, dafka_consumer_record_source (members [i].consumer)) == 0);
    for (size_t count = first; count < end; count++) {
        test_at (count);
        void *which = zpoller_wait (poller, 30000);
        CHECK (which);
        size_t i = 0;
        while (which != dafka_consumer_record_source (members [i].consumer))
            i++;
        CHECK (dafka_consumer_msg_recv (members [i].msg, members [i].consumer) == 0);
        char *text = dafka_consumer_msg_strdup (members [i].msg);
        CHECK (text);
        size_t number = (size_t) atoi (text);
        zstr_free (&text);
        CHECK (number >= first && number < end && !received [number - first]);
        received [number - first] = true;
        members [i].count++;
        if (owners && dafka_consumer_msg_key_size (members [i].msg) == 1) {
            size_t key = *dafka_consumer_msg_key (members [i].msg);
            CHECK (owners [key] == 0 || owners [key] == i + 1);
            owners [key] = i + 1;
        }
    }
    zpoller_destroy (&poller);
    free (received);
}

static void
s_send (zactor_t *producer, size_t first, size_t end)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (size_t number = first; number < end; number++) {
        char text [32];
        snprintf (text, sizeof (text), "%zu", number);
        byte key = (byte) (number % KEYS);
        CHECK (dafka_producer_msg_set_key (msg, &key, 1) == 0);
        CHECK (dafka_producer_msg_set_content_str (msg, text) == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == 0);
    }
    CHECK (dafka_producer_flush (producer, 30000) == 0);
    dafka_producer_msg_destroy (&msg);
}

//  Publishes records, from *next_p on, until each member handles some of them. The keys are of almost all slots.
static void
s_await_sharing (zactor_t *producer, member_t *members, size_t *next_p)
{
    bool is_shared = false;
    while (!is_shared) {
        for (size_t i = 0; i < MOST; i++)
            members [i].count = 0;
        s_send (producer, *next_p, *next_p + KEYS);
        s_read (members, MOST, *next_p, *next_p + KEYS, NULL);
        *next_p += KEYS;
        is_shared = true;
        for (size_t i = 0; i < MOST; i++)
            is_shared = is_shared && members [i].count > 0;
    }
}

//  Publishes records from *next_p on.
static void
s_test_sharing (zconfig_t *config, zactor_t *producer, const char *group_by, size_t *next_p, size_t count)
{
    test_case ("members share one partition by %s", group_by);
    member_t members [MOST];
    s_join (&members [0], config, group_by);
    s_read (members, 1, 0, *next_p, NULL);
    //  The program has processed its last record, and does not ask for another one.
    CHECK (dafka_consumer_commit (members [0].consumer) == 0);
    s_join (&members [1], config, group_by);
    s_join (&members [2], config, group_by);
    if (!streq (group_by, "partition"))
        s_await_sharing (producer, members, next_p);
    size_t owners [KEYS] = { 0 };
    size_t end = *next_p + count;
    s_send (producer, *next_p, end);
    s_read (members, MOST, *next_p, end, streq (group_by, "key") ? owners : NULL);
    if (streq (group_by, "offset"))
        for (size_t i = 0; i < MOST; i++)
            CHECK (members [i].count > count / 10);

    test_case ("the others take over from members that leave, by %s", group_by);
    s_leave (&members [0]);
    s_leave (&members [1]);
    s_send (producer, end, end + count);
    s_read (&members [2], 1, end, end + count, NULL);
    s_leave (&members [2]);
    *next_p = end + count;
}

static void
s_test_manual (zconfig_t *config, size_t end)
{
    test_case ("a member that commits by itself");
    dafka_consumer_t *consumer = s_consumer (config, "manual", "partition", "manual");
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (int i = 0; i < 10; i++)
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK (dafka_consumer_commit_msg (consumer, msg) == 0);
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    dafka_consumer_destroy (&consumer);
    consumer = s_consumer (config, "manual", "partition", "manual");
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK (dafka_consumer_msg_sequence (msg) == 10);

    test_case ("a member does not seek");
    CHECK_ERRNO (dafka_consumer_seek (consumer, TOPIC, dafka_consumer_msg_address (msg), 3), ENOTSUP);
    CHECK_ERRNO (dafka_consumer_seek_time (consumer, TOPIC, 0), ENOTSUP);
    CHECK_ERRNO (dafka_consumer_seek_end (consumer, TOPIC), ENOTSUP);
    CHECK (dafka_consumer_lag (consumer, TOPIC) == (int64_t) (end - 11));
    CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
    CHECK (dafka_consumer_msg_sequence (msg) == 11);
    dafka_consumer_destroy (&consumer);
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_config (zconfig_t *config)
{
    test_case ("invalid values");
    test_log_begin ();
    zconfig_t *own = test_config_copy (config);
    zconfig_put (own, "consumer/group", "a\x1f");
    zconfig_put (own, "consumer/group_by", "topic");
    dafka_consumer_t *consumer = test_consumer_new (TOPIC, own);
    CHECK (test_log_has ("E:", "consumer/group", "must be a name"));
    CHECK (test_log_has ("E:", "consumer/group_by", "must be offset, key or partition"));
    dafka_consumer_destroy (&consumer);
    zconfig_put (own, "consumer/group", "workers");
    zconfig_put (own, "consumer/group_by", "offset");
    zconfig_put (own, "consumer/name", "me");
    zconfig_put (own, "consumer/offset/reset", "@0");
    consumer = test_consumer_new (TOPIC, own);
    CHECK (test_log_has ("E:", "consumer/name", "is ignored, because consumer/group is set"));
    CHECK (test_log_has ("E:", "consumer/offset/reset", "must not be a time in a group"));
    dafka_consumer_destroy (&consumer);
    zconfig_destroy (&own);
    test_log_end ();
}

int
main (void)
{
    test_begin ("group", 240);
    const size_t count = test_scale (4000, 400);
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *producer = test_producer_new (TOPIC, config);
    const char *ways [] = { "offset", "key", "partition" };
    size_t end = 100;
    s_send (producer, 0, end);
    for (size_t i = 0; i < 3; i++)
        s_test_sharing (config, producer, ways [i], &end, count);
    s_test_manual (config, end);
    s_test_config (config);
    zactor_destroy (&producer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
