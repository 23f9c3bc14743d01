//  A stream processor: reads a topic of text, and writes the counts of its words to another topic. It continues where
//  it stopped after any end, including kill -9 and power failures.
//
//  usage: wordcount CONFIG process INPUT OUTPUT    until SIGINT or SIGTERM
//         wordcount CONFIG print OUTPUT COUNT      the totals of the first COUNT records, sorted by word
//
//  CONFIG is a configuration file, as all nodes read it. The network needs a store: the store's records are the only
//  memory of the processor.
//
//  How it continues where it stopped
//
//  A Dafka consumer does not commit offsets. It reads each partition from the first record, in order, each record once.
//  So the processor itself writes its position, together with the result: for each input record it publishes ONE output
//  record. The output record contains the position of the input record (its partition, and its number there, from 0)
//  and the counts of its words:
//
//      5B0C7E... 17 fox 1 the 2
//
//  A store has a record completely or not at all. So no crash leaves a position without its counts, or counts without
//  their position. After a restart, the processor first reads its own output. Then it reads the input from the
//  beginning, and processes each record without an output record.
//
//  There are two things that the processor cannot know for certain, and does not need to know:
//
//  - Whether it has read all of its output. Each run of the processor is another producer, so it writes another
//    partition of the output topic. A consumer receives partitions in any order, and does not know where they end.
//  - What has happened to records that the last run had published, but no store had acknowledged. They may be lost, or
//    still on their way to a store.
//
//  In both cases it may process a record again. That does no harm, because an output record depends only on its input
//  record, and contains its position: A READER OF THE OUTPUT COUNTS EACH POSITION ONCE. For that reason the records
//  contain increments and not totals: totals would have to be read in the order of their creation, and there is no
//  order between partitions.
//
//  To avoid most of the repeated work, the processor waits before it reads the input:
//
//  - It publishes a marker to its output topic, with a producer that it then ends. Ending waits for a store's
//    acknowledgement. So when the marker arrives, it comes from a store, and the processor is connected to one.
//  - After the marker it continues to read until no record has arrived for a while (key wordcount/quiet, ms, default
//    1000).
//
//  What is guaranteed, and what is not
//
//  - If a store has an input record, each reader of the output counts it, once. This requires that stores keep all
//    records of both topics, and that only one processor runs at a time. Otherwise, a second processor could read an
//    output record of the first one, and this record could then be lost before a store has it. No processor would
//    repeat that position until the next start.
//  - The amount of repeated work is not limited. A reader must drop repetitions.
//  - The start takes as long as reading both topics from their beginning.

#include <dafka.h>

#define MARKER "begin"


//  --------------------------------------------------------------------------
//  The positions and words of the output records that were counted. The processor and readers of its output both need
//  them.

//  The positions of one partition of the input. Several runs may have processed parts of it, and their output arrives
//  in any order.
typedef struct {
    uint64_t next;              //  All records before this one have been counted,
    zhash_t *early;             //  and these records after it; the keys are their numbers
    uint64_t read;              //  Number of its input records that this run has read
} partition_t;

typedef struct {
    zhash_t *partitions;        //  Address -> partition_t
    zhash_t *words;             //  Word -> size_t
    size_t records;             //  Number of counted positions
    size_t repeated;            //  Number of output records that were dropped, since their position was counted before
} counts_t;

static void
s_partition_destroy (void *item)
{
    partition_t *self = (partition_t *) item;
    zhash_destroy (&self->early);
    free (self);
}

static counts_t *
s_counts_new (void)
{
    counts_t *self = (counts_t *) zmalloc (sizeof (counts_t));
    self->partitions = zhash_new ();
    self->words = zhash_new ();
    return self;
}

static void
s_counts_destroy (counts_t **self_p)
{
    counts_t *self = *self_p;
    zhash_destroy (&self->partitions);
    zhash_destroy (&self->words);
    free (self);
    *self_p = NULL;
}

static partition_t *
s_counts_partition (counts_t *self, const char *address)
{
    partition_t *partition = (partition_t *) zhash_lookup (self->partitions, address);
    if (!partition) {
        partition = (partition_t *) zmalloc (sizeof (partition_t));
        partition->early = zhash_new ();
        zhash_insert (self->partitions, address, partition);
        zhash_freefn (self->partitions, address, s_partition_destroy);
    }
    return partition;
}

static bool
s_partition_has (partition_t *self, uint64_t number)
{
    char key [24];
    snprintf (key, sizeof (key), "%" PRIu64, number);
    return number < self->next || zhash_lookup (self->early, key);
}

static void
s_partition_add (partition_t *self, uint64_t number)
{
    char key [24];
    snprintf (key, sizeof (key), "%" PRIu64, number);
    zhash_insert (self->early, key, self);          //  Any value except NULL
    while (true) {
        snprintf (key, sizeof (key), "%" PRIu64, self->next);
        if (!zhash_lookup (self->early, key))
            break;
        zhash_delete (self->early, key);
        self->next++;
    }
}

static void
s_add_word (zhash_t *words, const char *word, size_t count)
{
    size_t *total = (size_t *) zhash_lookup (words, word);
    if (!total) {
        total = (size_t *) zmalloc (sizeof (size_t));
        zhash_insert (words, word, total);
        zhash_freefn (words, word, free);
    }
    *total += count;
}

//  Counts one record of the output topic, unless its position was counted before.
static void
s_counts_add (counts_t *self, const char *record)
{
    //  The topic also contains the markers of all runs
    if (streq (record, MARKER))
        return;
    char *text = strdup (record);
    char *rest = NULL;
    char *address = strtok_r (text, " ", &rest);
    char *number = strtok_r (NULL, " ", &rest);
    if (number) {
        partition_t *partition = s_counts_partition (self, address);
        uint64_t position = strtoull (number, NULL, 10);
        if (s_partition_has (partition, position))
            self->repeated++;
        else {
            s_partition_add (partition, position);
            self->records++;
            char *word, *count;
            while ((word = strtok_r (NULL, " ", &rest)) && (count = strtok_r (NULL, " ", &rest)))
                s_add_word (self->words, word, (size_t) strtoull (count, NULL, 10));
        }
    }
    else
        zsys_warning ("wordcount: no record of this program: %s", record);
    free (text);
}

//  All words with their counts, as "word count", sorted. The caller owns the list and its strings.
static zlist_t *
s_sorted (zhash_t *words)
{
    zlist_t *list = zlist_new ();
    for (size_t *count = (size_t *) zhash_first (words); count; count = (size_t *) zhash_next (words))
        zlist_append (list, zsys_sprintf ("%s %zu", zhash_cursor (words), *count));
    zlist_sort (list, NULL);
    return list;
}


//  --------------------------------------------------------------------------
//  Processor

//  The output record of an input record. The caller frees it with zstr_free.
static char *
s_count_words (const char *address, uint64_t number, const byte *content, size_t size)
{
    //  Words are sequences of letters, in lower case
    zhash_t *words = zhash_new ();
    char *word = (char *) malloc (size + 1);
    size_t length = 0;
    for (size_t index = 0; index <= size; index++) {
        int letter = index < size ? content [index] : ' ';
        if (letter < 128 && isalpha (letter))
            word [length++] = (char) tolower (letter);
        else
        if (length > 0) {
            word [length] = 0;
            s_add_word (words, word, 1);
            length = 0;
        }
    }
    free (word);

    zlist_t *list = s_sorted (words);
    zchunk_t *record = zchunk_new (NULL, 0);
    char *position = zsys_sprintf ("%s %" PRIu64, address, number);
    zchunk_extend (record, position, strlen (position));
    zstr_free (&position);
    char *item;
    while ((item = (char *) zlist_pop (list))) {
        zchunk_extend (record, " ", 1);
        zchunk_extend (record, item, strlen (item));
        zstr_free (&item);
    }
    zlist_destroy (&list);
    zhash_destroy (&words);
    char *text = zchunk_strdup (record);
    zchunk_destroy (&record);
    return text;
}

static int
s_publish (zactor_t *producer, const char *text)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    int rc = dafka_producer_msg_set_content_str (msg, text);
    if (rc == 0)
        rc = dafka_producer_msg_send (msg, producer);
    dafka_producer_msg_destroy (&msg);
    return rc;
}

//  Publishes the marker. Returns when a store has it. The result is the name of its partition, to be freed with
//  zstr_free.
static char *
s_publish_marker (zconfig_t *config, const char *topic)
{
    dafka_producer_args_t args = { topic, config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    const char *address = dafka_producer_address (producer);
    char *partition = address ? strdup (address) : NULL;
    if (partition && s_publish (producer, MARKER) == -1)
        zstr_free (&partition);
    zactor_destroy (&producer);
    return partition;
}

//  Reads the output of all earlier runs
static int
s_replay (dafka_consumer_t *consumer, const char *marker, int quiet_ms, counts_t *counts)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    zpoller_t *poller = zpoller_new (dafka_consumer_record_source (consumer), NULL);
    bool marker_seen = false;
    int rc = 0;
    while (rc == 0 && (zpoller_wait (poller, marker_seen ? quiet_ms : -1))) {
        rc = dafka_consumer_msg_recv (msg, consumer);
        if (rc == 0) {
            char *record = dafka_consumer_msg_strdup (msg);
            s_counts_add (counts, record);
            zstr_free (&record);
            if (streq (dafka_consumer_msg_address (msg), marker))
                marker_seen = true;
        }
    }
    if (zpoller_terminated (poller))
        rc = -1;
    zpoller_destroy (&poller);
    dafka_consumer_msg_destroy (&msg);
    return rc;
}

//  Reads the input, and processes records without output
static int
s_work (dafka_consumer_t *consumer, const char *input, zactor_t *producer, counts_t *counts)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t done = 0;
    int rc = 0;
    //  Until a signal comes
    while (rc == 0 && dafka_consumer_msg_recv (msg, consumer) == 0) {
        //  Output records that were in the pipe when we unsubscribed
        if (strneq (dafka_consumer_msg_subject (msg), input))
            continue;
        const char *address = dafka_consumer_msg_address (msg);
        partition_t *partition = s_counts_partition (counts, address);
        //  Records of a partition arrive from the first on, in order, without gaps. So the number of a record is the
        //  count of the records that were read before it.
        uint64_t number = partition->read++;
        if (s_partition_has (partition, number))
            continue;
        char *record = s_count_words (
            address, number, dafka_consumer_msg_content (msg), dafka_consumer_msg_content_size (msg));
        s_counts_add (counts, record);
        rc = s_publish (producer, record);
        zstr_free (&record);
        done++;
    }
    fprintf (stderr, "wordcount: %zu records done in this run\n", done);
    dafka_consumer_msg_destroy (&msg);
    return rc;
}

static int
s_process (zconfig_t *config, const char *input, const char *output)
{
    //  The user must not change these, because the program depends on both
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "0");
    int quiet_ms = atoi (zconfig_get (config, "wordcount/quiet", "1000"));

    char *marker = s_publish_marker (config, output);
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    counts_t *counts = s_counts_new ();
    int rc = marker ? dafka_consumer_subscribe (consumer, output) : -1;
    if (rc == 0)
        rc = s_replay (consumer, marker, quiet_ms, counts);
    if (rc == 0) {
        fprintf (stderr, "wordcount: %zu records were done before this run\n", counts->records);
        //  This run does not need to read its own output
        dafka_consumer_unsubscribe (consumer, output);
        rc = dafka_consumer_subscribe (consumer, input);
        dafka_producer_args_t producer_args = { output, config };
        zactor_t *producer = zactor_new (dafka_producer, &producer_args);
        if (rc == 0)
            rc = s_work (consumer, input, producer, counts);
        //  Waits until a store has all published records
        zactor_destroy (&producer);
    }
    dafka_consumer_destroy (&consumer);
    s_counts_destroy (&counts);
    zstr_free (&marker);
    //  SIGINT and SIGTERM end it regularly, also during the replay
    return rc == 0 || zsys_interrupted ? 0 : 1;
}


//  --------------------------------------------------------------------------
//  The reader of the output

static int
s_print (zconfig_t *config, const char *output, size_t count)
{
    zconfig_put (config, "consumer/offset/reset", "earliest");
    dafka_consumer_args_t args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&args);
    int rc = dafka_consumer_subscribe (consumer, output);

    counts_t *counts = s_counts_new ();
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    while (rc == 0 && counts->records < count) {
        rc = dafka_consumer_msg_recv (msg, consumer);
        if (rc == 0) {
            char *record = dafka_consumer_msg_strdup (msg);
            s_counts_add (counts, record);
            zstr_free (&record);
        }
    }
    if (rc == 0) {
        fprintf (stderr, "wordcount: %zu records, %zu repetitions dropped\n", counts->records, counts->repeated);
        zlist_t *list = s_sorted (counts->words);
        char *item;
        while ((item = (char *) zlist_pop (list))) {
            puts (item);
            zstr_free (&item);
        }
        zlist_destroy (&list);
    }
    dafka_consumer_msg_destroy (&msg);
    s_counts_destroy (&counts);
    dafka_consumer_destroy (&consumer);
    return rc == 0 ? 0 : 1;
}

int
main (int argc, char *argv [])
{
    bool process = argc == 5 && streq (argv [2], "process");
    bool print = argc == 5 && streq (argv [2], "print");
    zconfig_t *config = process || print ? zconfig_load (argv [1]) : NULL;
    if (!config) {
        fprintf (stderr, "usage: wordcount CONFIG process INPUT OUTPUT\n"
                         "       wordcount CONFIG print OUTPUT COUNT\n");
        return 1;
    }
    int rc = process
        ? s_process (config, argv [3], argv [4])
        : s_print (config, argv [3], (size_t) strtoul (argv [4], NULL, 10));
    zconfig_destroy (&config);
    return rc;
}
