//  A stream processor: reads a topic of text, and writes the counts of its words to another topic. It continues where
//  it stopped after any end, including kill -9 and power failures.
//
//  usage: wordcount CONFIG process INPUT OUTPUT    until SIGINT or SIGTERM
//         wordcount CONFIG print OUTPUT COUNT      the totals of the first COUNT records, sorted by word
//
//  CONFIG is a configuration file, as all nodes read it. The network needs a store: stores keep the records of both
//  topics, and the processor's position in the input.
//
//  How it continues where it stopped
//
//  The processor reads the input with a named consumer. For each input record it publishes ONE output record. The
//  output record contains the place of the input record (its partition and its sequence there) and the counts of its
//  words:
//
//      5B0C7E... 17 fox 1 the 2
//
//  After every 100 records, or when no record arrives, the processor first flushes its output: a store then has it on
//  disk. After that, it commits its position in the input. The order matters. If the processor dies between the two
//  steps, the next one begins at the older position, and processes the records since then again. In the other order, it
//  would skip records without output.
//
//  So the processor alone works AT LEAST ONCE: the counts and the position are stored one after the other, and not
//  together. What makes the totals exact is the place in each output record: A READER OF THE OUTPUT COUNTS EACH PLACE
//  ONCE. Two things make this possible. The output record depends only on its input record, so both copies contain the
//  same counts. And the records contain increments and not totals: totals would have to be read in the order of their
//  creation, and there is no order between the partitions of different runs.
//
//  What is guaranteed, and what is not
//
//  - If a store has an input record, each reader of the output counts it, once. This requires that stores keep all
//    records of both topics. It also holds while two processors run: both do all of the work.
//  - After a crash, usually less than 200 records are processed again. If no store sends the position in time, the
//    processor begins at the first record of each partition: it reads `earliest`. A reader must drop repetitions.
//  - A reader that adds up what arrives, without dropping repetitions, gets totals that are too high after a crash.
//    Exact totals without such a reader need a database that stores the totals and the position in one transaction.
//    Such a program continues with dafka_consumer_seek at the position in its database.
//  - The start takes as long as asking the stores for the position, about a second, and not as long as the topics are.

#include <dafka.h>

#define COMMIT_EVERY 100        //  Records
#define IDLE_MSECS 100          //  The processor also commits when no record has arrived for this time


//  --------------------------------------------------------------------------
//  What a reader of the output knows

typedef struct {
    zhash_t *places;            //  The counted places. The keys are "PARTITION SEQUENCE"
    zhash_t *words;             //  Word -> size_t
    size_t repeated;            //  Number of output records that were dropped, since their place was counted before
} counts_t;

static counts_t *
s_counts_new (void)
{
    counts_t *self = (counts_t *) zmalloc (sizeof (counts_t));
    self->places = zhash_new ();
    self->words = zhash_new ();
    return self;
}

static void
s_counts_destroy (counts_t **self_p)
{
    counts_t *self = *self_p;
    zhash_destroy (&self->places);
    zhash_destroy (&self->words);
    free (self);
    *self_p = NULL;
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

//  Counts one record of the output topic, unless its place was counted before.
static void
s_counts_add (counts_t *self, const char *record)
{
    char *text = strdup (record);
    char *rest = NULL;
    char *partition = strtok_r (text, " ", &rest);
    char *sequence = strtok_r (NULL, " ", &rest);
    char *place = sequence ? zsys_sprintf ("%s %s", partition, sequence) : NULL;
    if (!place)
        zsys_warning ("wordcount: no record of this program: %s", record);
    else
    if (zhash_insert (self->places, place, self) == -1)     //  Any value except NULL
        self->repeated++;
    else {
        char *word, *count;
        while ((word = strtok_r (NULL, " ", &rest)) && (count = strtok_r (NULL, " ", &rest)))
            s_add_word (self->words, word, (size_t) strtoull (count, NULL, 10));
    }
    zstr_free (&place);
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
s_count_words (const char *partition, uint64_t sequence, const byte *content, size_t size)
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
    char *place = zsys_sprintf ("%s %" PRIu64, partition, sequence);
    zchunk_extend (record, place, strlen (place));
    zstr_free (&place);
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

//  First makes the output safe, then commits the position in the input.
static int
s_commit (zactor_t *producer, dafka_consumer_t *consumer)
{
    //  EAGAIN: no store has confirmed the commit within 5 seconds. The consumer repeats it until a store does
    //  EINTR: a signal came. s_process then commits
    if (dafka_producer_flush (producer, -1) == 0 && dafka_consumer_commit (consumer) == 0)
        return 0;
    return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

//  Reads the input until a signal comes. Returns -1 when a record that was read has no output.
static int
s_work (dafka_consumer_t *consumer, zactor_t *producer)
{
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    size_t done = 0, uncommitted = 0, reported = 0;
    int rc = 0;
    while (rc == 0 && !zsys_interrupted) {
        bool is_idle = dafka_consumer_msg_recv (msg, consumer) == -1;
        if (!is_idle) {
            const char *partition = dafka_consumer_msg_address (msg);
            uint64_t sequence = dafka_consumer_msg_sequence (msg);
            if (done++ == 0)
                fprintf (stderr, "wordcount: begins at record %" PRIu64 " of %s\n", sequence, partition);
            char *record = s_count_words (
                partition, sequence, dafka_consumer_msg_content (msg), dafka_consumer_msg_content_size (msg));
            rc = s_publish (producer, record);
            zstr_free (&record);
            uncommitted++;
        }
        if (rc == 0 && (is_idle || uncommitted == COMMIT_EVERY)) {
            rc = s_commit (producer, consumer);
            uncommitted = 0;
            if (is_idle && reported < done) {
                fprintf (stderr, "wordcount: %zu records done, waiting for more\n", done);
                reported = done;
            }
        }
    }
    fprintf (stderr, "wordcount: %zu records done in this run\n", done);
    dafka_consumer_msg_destroy (&msg);
    return rc;
}

static int
s_process (zconfig_t *config, const char *input, const char *output)
{
    //  The user must not change these, because the program depends on them
    zconfig_put (config, "consumer/name", "wordcount");
    zconfig_put (config, "consumer/commit", "manual");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "0");

    dafka_producer_args_t producer_args = { output, config };
    zactor_t *producer = zactor_new (dafka_producer, &producer_args);
    dafka_consumer_args_t consumer_args = { config, NULL };
    dafka_consumer_t *consumer = dafka_consumer_new (&consumer_args);
    int rc = dafka_consumer_subscribe (consumer, input);
    if (rc == 0) {
        zsock_set_rcvtimeo (dafka_consumer_record_source (consumer), IDLE_MSECS);
        rc = s_work (consumer, producer);
    }
    //  Waits until a store has all of the output. After that, the position can be committed, also after a signal
    zactor_destroy (&producer);
    if (rc == 0)
        dafka_consumer_commit (consumer);
    //  Waits up to 2 seconds until a store has confirmed the commit
    dafka_consumer_destroy (&consumer);
    //  SIGINT and SIGTERM end it regularly
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
    while (rc == 0 && zhash_size (counts->places) < count) {
        rc = dafka_consumer_msg_recv (msg, consumer);
        if (rc == 0) {
            char *record = dafka_consumer_msg_strdup (msg);
            s_counts_add (counts, record);
            zstr_free (&record);
        }
    }
    if (rc == 0) {
        fprintf (stderr, "wordcount: %zu records, %zu repetitions dropped\n", count, counts->repeated);
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
