//  A stream processor: reads a topic of text, writes the counts of its words to another topic, and goes on where it
//  left off after any end, kill -9 and power failures included.
//
//  usage: wordcount CONFIG process INPUT OUTPUT    until SIGINT or SIGTERM
//         wordcount CONFIG print OUTPUT COUNT      the totals of the first COUNT records, sorted by word
//
//  CONFIG is a file of keys as all nodes read it. It needs a store in the network: what the processor has done is what
//  the store has, there is no other memory.
//
//  How it goes on where it left off
//
//  A Dafka consumer commits no offsets; it reads each partition from the first record, in order, each record once. So
//  the processor writes down itself how far it is, together with the result: for each input record it publishes ONE
//  output record, which holds the position of the input record (its partition, and its number there, from 0) and the
//  counts of its words:
//
//      5B0C7E... 17 fox 1 the 2
//
//  One record is in the store or is not: no crash leaves a position without its counts, or counts without their
//  position. On restart, the processor first reads its own output, then the input from the beginning, and does what it
//  finds no output record for.
//
//  Two things it cannot know for sure, and need not:
//
//  - Whether it has read all of its output. Each run of the processor is another producer, that is another partition of
//    the output topic; a consumer gets them in any order, and is not told where they end.
//  - Whether what the last run had published, and no store had acknowledged when it was killed, is lost or is still on
//    its way to a store.
//
//  In both cases it may do a record again. That does no harm, since an output record depends on nothing but its input
//  record, and carries its position: WHO READS THE OUTPUT TAKES EACH POSITION ONCE. For that reason the records hold
//  what is to be added, and not the totals so far: totals would have to be read in the order in which they were made,
//  and there is no order between partitions.
//
//  To do little twice, the processor waits before it reads the input:
//
//  - It publishes a marker to its output topic, with a producer that it ends then. This end waits for a store's
//    acknowledgement, so when the marker comes back, it comes from a store: the processor is connected to one.
//  - After the marker it reads on until no record has come for a while (key wordcount/quiet, ms, default 1000).
//
//  What is guaranteed, and what not
//
//  - Each input record that a store has is counted once by each reader of the output, provided that stores keep all
//    records of both topics, and that one processor runs at a time: a second one could see an output record of the first
//    which gets lost with it, before a store has it, and leave that position to nobody until the next start.
//  - There is no bound to how much is done twice: a reader has to drop it.
//  - The start takes as long as it takes to read both topics from their beginning.

#include <dafka.h>

#define MARKER "begin"


//  --------------------------------------------------------------------------
//  What has been counted: the positions and the words of output records. The processor and who reads its output need
//  the same.

//  The positions of one partition of the input. Several runs may have done parts of it, and their output comes in any
//  order.
typedef struct {
    uint64_t next;              //  All records before this one have been counted,
    zhash_t *early;             //  and of those after it these: keys are their numbers
    uint64_t read;              //  How many input records this run of the processor has read of it
} partition_t;

typedef struct {
    zhash_t *partitions;        //  Address -> partition_t
    zhash_t *words;             //  Word -> size_t
    size_t records;             //  How many positions have been counted
    size_t repeated;            //  How many output records were dropped, as their position had been counted
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
    zhash_insert (self->early, key, self);          //  Any value that is not NULL
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

//  Count one record of the output topic, unless its position has been counted before.
static void
s_counts_add (counts_t *self, const char *record)
{
    //  Markers of all runs are in the topic, too
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

//  All words with their counts, as "word count", sorted. Caller owns the list and the strings in it.
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

//  The output record of an input record. Caller frees it with zstr_free.
static char *
s_count_words (const char *address, uint64_t number, const byte *content, size_t size)
{
    //  Words are runs of letters, in lower case
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

//  Publish the marker. Returns when a store has it, with the name of its partition, to be freed with zstr_free.
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

//  Read our own output, of all earlier runs
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

//  Read the input, and do what has not been done
static int
s_work (dafka_consumer_t *consumer, const char *input, zactor_t *producer, counts_t *counts)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t done = 0;
    int rc = 0;
    //  Until a signal comes
    while (rc == 0 && dafka_consumer_msg_recv (msg, consumer) == 0) {
        //  Records of the output that were on their way when we unsubscribed
        if (strneq (dafka_consumer_msg_subject (msg), input))
            continue;
        const char *address = dafka_consumer_msg_address (msg);
        partition_t *partition = s_counts_partition (counts, address);
        //  Records of a partition come from the first on, in order, without gaps: to count them is to number them
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
    //  Not for the user to choose: all of this rests on both
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
        //  What this run publishes it knows without reading it back
        dafka_consumer_unsubscribe (consumer, output);
        rc = dafka_consumer_subscribe (consumer, input);
        dafka_producer_args_t producer_args = { output, config };
        zactor_t *producer = zactor_new (dafka_producer, &producer_args);
        if (rc == 0)
            rc = s_work (consumer, input, producer, counts);
        //  Waits until a store has all that was published
        zactor_destroy (&producer);
    }
    dafka_consumer_destroy (&consumer);
    s_counts_destroy (&counts);
    zstr_free (&marker);
    //  SIGINT and SIGTERM are how it ends, also during the replay
    return rc == 0 || zsys_interrupted ? 0 : 1;
}


//  --------------------------------------------------------------------------
//  Who reads the output

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
