/*  =========================================================================
    test_attributes - sequence, timestamp, key and headers of records: live, from a store, and from a restarted store;
    with and without compression; also for a program that reads some records from the record source itself
    =========================================================================
*/

#include "testing.h"

#define LONG_SIZE 20000                 //  More than a producer copies into a batch
#define BEFORE_1970 -1000               //  A timestamp

//  --------------------------------------------------------------------------
//  Record number n has the attributes that the bits of n select, so neighbours in a batch differ

static bool
s_has_key (size_t number)
{
    return number & 1;
}

static bool
s_has_headers (size_t number)
{
    return number & 2;
}

static bool
s_has_timestamp (size_t number)
{
    return number & 4;
}

static size_t
s_size (size_t number)
{
    return number % 50 < 4 ? LONG_SIZE : number % 11;
}

static void
s_send (zactor_t *producer, dafka_producer_msg_t *msg, size_t number)
{
    byte buffer [LONG_SIZE];
    char text [30];
    size_t size = s_size (number);
    test_at (number);
    test_fill (buffer, size, number);
    CHECK (dafka_producer_msg_set_content_buffer (msg, buffer, size) == 0);
    snprintf (text, sizeof (text), "%lu", (unsigned long) number);
    if (s_has_key (number))
        CHECK (dafka_producer_msg_set_key (msg, (byte *) text, number % 5 ? strlen (text) : 0) == 0);
    if (s_has_headers (number)) {
        CHECK (dafka_producer_msg_set_header (msg, "replaced", (byte *) "before", 6) == 0);
        CHECK (dafka_producer_msg_set_header (msg, "number", (byte *) text, strlen (text)) == 0);
        CHECK (dafka_producer_msg_set_header (msg, "", NULL, 0) == 0);
        CHECK (dafka_producer_msg_set_header (msg, "replaced", (byte *) "after", 5) == 0);
    }
    if (s_has_timestamp (number))
        dafka_producer_msg_set_timestamp (msg, BEFORE_1970 - (int64_t) number);
    CHECK (dafka_producer_msg_send (msg, producer) == 0);
    CHECK (dafka_producer_msg_content (msg) == NULL);
}

static bool
s_equals (const byte *data, size_t size, const char *text)
{
    return data && size == strlen (text) && memcmp (data, text, size) == 0;
}

static void
s_check_headers (dafka_consumer_msg_t *msg, const char *number)
{
    static const char *names [] = { "number", "", "replaced" };
    const char *values [] = { number, "", "after" };
    size_t size = 1;
    for (int index = 0; index < 3; index++) {
        const byte *value = dafka_consumer_msg_header (msg, names [index], &size);
        CHECK (s_equals (value, size, values [index]));
        value = index? dafka_consumer_msg_next_header (msg, &size): dafka_consumer_msg_first_header (msg, &size);
        CHECK (s_equals (value, size, values [index]));
        CHECK_STR (dafka_consumer_msg_header_name (msg), names [index]);
    }
    CHECK (dafka_consumer_msg_next_header (msg, &size) == NULL && size == 0);
    CHECK_STR (dafka_consumer_msg_header_name (msg), "");
    CHECK (dafka_consumer_msg_header (msg, "other", NULL) == NULL);
}

static void
s_check (dafka_consumer_msg_t *msg, size_t number, int64_t begin, int64_t end)
{
    char text [30];
    snprintf (text, sizeof (text), "%lu", (unsigned long) number);
    CHECK (dafka_consumer_msg_sequence (msg) == number);
    CHECK (dafka_consumer_msg_content_size (msg) == s_size (number));
    CHECK (test_filled (dafka_consumer_msg_content (msg), s_size (number), number));
    int64_t timestamp = dafka_consumer_msg_timestamp (msg);
    if (s_has_timestamp (number))
        CHECK (timestamp == BEFORE_1970 - (int64_t) number);
    else
        CHECK (begin <= timestamp && timestamp <= end);
    size_t size = 1;
    if (s_has_key (number))
        CHECK (s_equals (dafka_consumer_msg_key (msg), dafka_consumer_msg_key_size (msg), number % 5 ? text : ""));
    else
        CHECK (dafka_consumer_msg_key (msg) == NULL && dafka_consumer_msg_key_size (msg) == 0);
    if (s_has_headers (number))
        s_check_headers (msg, text);
    else
        CHECK (dafka_consumer_msg_first_header (msg, &size) == NULL && size == 0);
}

//  Reads the next record as CZMQ does, and checks its content.
static void
s_recv_raw (dafka_consumer_t *consumer, size_t number)
{
    zmsg_t *record = zmsg_recv (dafka_consumer_record_source (consumer));
    CHECK (record && zmsg_size (record) == 3);
    zframe_t *content = zmsg_last (record);
    CHECK (zframe_size (content) == s_size (number));
    CHECK (test_filled (zframe_data (content), s_size (number), number));
    zmsg_destroy (&record);
}

//  Reads records, and checks them. begin and end are times before the first record and after the last one. With
//  is_mixed, reads each tenth record as CZMQ does. All records then travel as three frames.
static void
s_consume (dafka_consumer_t *consumer, size_t count, bool is_mixed, int64_t begin, int64_t end)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t number = 0; number < count; number++) {
        test_at (number);
        if (is_mixed && number % 10 == 0) {
            s_recv_raw (consumer, number);
            continue;
        }
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
        s_check (msg, number, begin, end);
    }
    test_case ("the attributes stay when the content is taken");
    zframe_t *content = dafka_consumer_msg_get_content (msg);
    CHECK (content && dafka_consumer_msg_content (msg) == NULL);
    zframe_destroy (&content);
    CHECK (dafka_consumer_msg_get_content (msg) == NULL);
    CHECK (dafka_consumer_msg_sequence (msg) == count - 1);
    CHECK ((dafka_consumer_msg_key (msg) != NULL) == s_has_key (count - 1));
    dafka_consumer_msg_destroy (&msg);
}

static void
s_test_streams (zconfig_t *config, const char *compression)
{
    //  A consumer reads its first 1000 records in another way than the later ones. The last record has a key.
    const size_t count = test_scale (4000, 1200);
    zconfig_put (config, "producer/compression", compression);
    zactor_t *store = test_store_new (config);
    zactor_t *producer = test_producer_new ("attributes", config);
    dafka_consumer_t *consumer = test_consumer_new ("attributes", config);
    dafka_consumer_t *mixed = test_consumer_new ("attributes", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    test_case ("records with attributes are published");
    int64_t begin = zclock_time ();
    for (size_t number = 0; number < count; number++)
        s_send (producer, msg, number);
    dafka_producer_msg_destroy (&msg);
    test_case ("live records have their attributes");
    s_consume (consumer, count, false, begin, INT64_MAX);
    dafka_consumer_destroy (&consumer);
    test_case ("records that travel as three frames have their attributes");
    s_consume (mixed, count, true, begin, INT64_MAX);
    dafka_consumer_destroy (&mixed);
    zactor_destroy (&producer);
    int64_t end = zclock_time ();

    test_case ("records from a store have their attributes");
    consumer = test_consumer_new ("attributes", config);
    s_consume (consumer, count, false, begin, end);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    test_case ("records from a restarted store have their attributes");
    store = test_store_new (config);
    consumer = test_consumer_new ("attributes", config);
    s_consume (consumer, count, false, begin, end);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
}

//  A program that writes a record into the producer's pipe. All later records then travel through the pipe.
static void
s_test_pipe (zconfig_t *config)
{
    const size_t count = 100;
    byte buffer [LONG_SIZE];
    zactor_t *producer = test_producer_new ("pipe", config);
    dafka_consumer_t *consumer = test_consumer_new ("pipe", config);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int64_t begin = zclock_time ();
    test_fill (buffer, s_size (0), 0);
    zsock_send (producer, "sb", "P", buffer, s_size (0));
    CHECK (*dafka_producer_address (producer));
    for (size_t number = 1; number < count; number++)
        s_send (producer, msg, number);
    dafka_producer_msg_destroy (&msg);
    test_case ("records through the producer's pipe have their attributes");
    s_consume (consumer, count, false, begin, INT64_MAX);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

//  --------------------------------------------------------------------------
//  Attributes without a network

static void
s_test_limits (void)
{
    static byte data [70000];
    char name [257];
    memset (name, 'n', 256);
    name [256] = 0;
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    test_case ("a key has at most 65535 bytes");
    CHECK (dafka_producer_msg_set_key (msg, data, 65535) == 0);
    errno = 0;
    CHECK (dafka_producer_msg_set_key (msg, data, 65536) == -1 && errno == EMSGSIZE);
    CHECK (dafka_producer_msg_set_key (msg, NULL, 0) == 0);
    test_case ("the name of a header has at most 255 bytes, all headers 65535");
    errno = 0;
    CHECK (dafka_producer_msg_set_header (msg, name, data, 1) == -1 && errno == EMSGSIZE);
    CHECK (dafka_producer_msg_set_header (msg, name + 1, data, 1) == 0);
    CHECK (dafka_producer_msg_set_header (msg, "n", data, 65535 - 255 - 1 - 3 - 1 - 3) == 0);
    CHECK (dafka_producer_msg_set_header (msg, "n", data, 65535 - 255 - 1 - 3 - 1 - 3 + 1) == -1);
    CHECK (dafka_producer_msg_set_header (msg, "m", data, 1) == -1 && errno == EMSGSIZE);
    dafka_producer_msg_destroy (&msg);

    test_case ("a message that has received nothing has no attributes");
    dafka_consumer_msg_t *record = dafka_consumer_msg_new ();
    CHECK (dafka_consumer_msg_sequence (record) == UINT64_MAX);
    CHECK (dafka_consumer_msg_timestamp (record) == -1);
    CHECK (dafka_consumer_msg_key (record) == NULL);
    CHECK (dafka_consumer_msg_header (record, "n", NULL) == NULL);
    CHECK (dafka_consumer_msg_next_header (record, NULL) == NULL);
    CHECK_STR (dafka_consumer_msg_header_name (record), "");
    dafka_consumer_msg_destroy (&record);
}

int
main (void)
{
    test_begin ("attributes", 240);
    s_test_limits ();
    static const char *compressions [] = { "none", "lz4" };
    for (int index = 0; index < 2; index++) {
        zconfig_t *config = test_config ("inproc");
        zconfig_put (config, "consumer/offset/reset", "earliest");
        zactor_t *tower = test_tower_new (config);
        s_test_streams (config, compressions [index]);
        zactor_destroy (&tower);
        zconfig_destroy (&config);
    }
    zconfig_t *config = test_config_without_store ();
    zactor_t *tower = test_tower_new (config);
    s_test_pipe (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
