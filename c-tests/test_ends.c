/*  =========================================================================
    test_ends - programs that end without destroying their nodes, and actors that could not start

    usage: test_ends [leave WAY DIRECTORY NUMBER]

    zactor_destroy of an actor that could not start returns, even when the program has read the actor's pipe (as
    dafka_stored of the C library does). A program that leaves main without destroying its nodes ends with its own exit
    code.
    =========================================================================
*/

//  realpath, setenv
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

//  The exit code of a program that leaves main
#define OWN_CODE 7
//  Attempts with each actor that cannot start
#define TRIES 10
//  Threads that send to one producer
#define SENDERS 4
//  Attempts with each way to leave
#define LEAVE_TRIES 4
//  Records that a store has acknowledged
#define RECORDS 3
//  Beacons in one program
#define BEACONS 8
//  Records that a program sends right before it leaves main: more than a producer publishes in a turn
#define PUBLISHED 2500

//  zactor_new, zstr_recv, zactor_destroy

static void
s_read_and_destroy (const char *name, zactor_fn *task, void *args)
{
    test_case ("%s that cannot start: the program reads its pipe and destroys it", name);
    for (size_t number = 0; number < TRIES; number++) {
        test_at (number);
        int64_t start = zclock_mono ();
        zactor_t *actor = zactor_new (task, args);
        CHECK (actor);
        char *word = zstr_recv (actor);             //  Arrives at once: the actor has failed
        zstr_free (&word);
        zactor_destroy (&actor);
        CHECK (actor == NULL);
        CHECK (zclock_mono () - start < 20000);
    }
}

//  Sends from several threads to a producer that could not start

static void *
s_send_in_vain (void *producer)
{
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int number = 0; number < 10; number++) {
        CHECK (dafka_producer_msg_set_content_str (msg, "content") == 0);
        CHECK (dafka_producer_msg_send (msg, (zactor_t *) producer) == -1);
    }
    dafka_producer_msg_destroy (&msg);
    return NULL;
}

static void
s_test_senders (dafka_producer_args_t *args)
{
    test_case ("a producer that cannot start: %d threads send to it", SENDERS);
    for (size_t number = 0; number < TRIES; number++) {
        test_at (number);
        zactor_t *producer = zactor_new (dafka_producer, args);
        CHECK (producer);
        pthread_t senders [SENDERS];
        for (int index = 0; index < SENDERS; index++)
            CHECK (pthread_create (&senders [index], NULL, s_send_in_vain, producer) == 0);
        for (int index = 0; index < SENDERS; index++)
            CHECK (pthread_join (senders [index], NULL) == 0);
        zactor_destroy (&producer);
    }
}

static void
s_test_cannot_start (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "store/db", "/proc/self");
    s_read_and_destroy ("a store", dafka_store_actor, config);

    zactor_t *tower = test_tower_new (config);
    s_read_and_destroy ("a tower", dafka_tower_actor, config);      //  The address is in use
    zactor_destroy (&tower);

    char topic [257];
    memset (topic, 't', 256);
    topic [256] = 0;
    dafka_producer_args_t args = { topic, config };
    s_read_and_destroy ("a producer", dafka_producer, &args);

    test_case ("a producer that cannot start: calls on it fail, also after its pipe was read");
    zactor_t *producer = zactor_new (dafka_producer, &args);
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    for (int round = 0; round < 2; round++) {
        int64_t start = zclock_mono ();
        CHECK (dafka_producer_msg_set_content_str (msg, "content") == 0);
        CHECK (dafka_producer_msg_send (msg, producer) == -1);
        CHECK (dafka_producer_address (producer) == NULL);
        CHECK (zclock_mono () - start < 5000);
        if (round == 0 && test_poll (producer, 0)) {
            char *word = zstr_recv (producer);
            zstr_free (&word);
        }
    }
    dafka_producer_msg_destroy (&msg);
    zactor_destroy (&producer);
    s_test_senders (&args);
    zconfig_destroy (&config);
}

//  --------------------------------------------------------------------------
//  Programs that leave main, or call exit, without destroying their nodes

//  One node of each role, in the usual order
static const char *s_roles [] = {
    "tower", "store", "beacon", "consumer", "subscriber", "producer", "publisher", NULL
};

static zconfig_t *s_config;
static zactor_t *s_actors [BEACONS + 1];
static size_t s_count;
static dafka_consumer_t *s_consumer;

static void
s_start_task (zactor_fn *task, void *args)
{
    zactor_t *actor = zactor_new (task, args);
    CHECK (actor);
    s_actors [s_count++] = actor;
}

static void
s_start (const char *role)
{
    if (streq (role, "tower"))
        s_start_task (dafka_tower_actor, s_config);
    else
    if (streq (role, "store"))
        s_start_task (dafka_store_actor, s_config);
    else
    if (streq (role, "subscriber")) {
        s_start_task (dafka_subscriber_actor, s_config);
        CHECK (dafka_subscriber_subscribe (s_actors [s_count - 1], "ends") == 0);
    }
    else
    if (streq (role, "beacon")) {
        dafka_beacon_args_t args = { "Beacon", s_config };
        s_start_task (dafka_beacon_actor, &args);
        CHECK (zsock_send (s_actors [s_count - 1], "ssi", "START", "receiver", 999) == 0);
    }
    else
    if (streq (role, "consumer")) {
        dafka_consumer_args_t args = { s_config, NULL };
        s_consumer = dafka_consumer_new (&args);
        CHECK (s_consumer && dafka_consumer_subscribe (s_consumer, "ends") == 0);
    }
    else
    if (streq (role, "producer")) {
        dafka_producer_args_t args = { "ends", s_config };
        s_start_task (dafka_producer, &args);
        test_send (s_actors [s_count - 1], "from a producer that is left");
    }
    else {
        CHECK (streq (role, "publisher"));
        dafka_publisher_args_t args = { "ends", s_config };
        s_start_task (dafka_publisher_actor, &args);
        test_publish (s_actors [s_count - 1], "from a publisher that is left");
    }
}

static void
s_start_all (void)
{
    for (size_t index = 0; s_roles [index]; index++)
        s_start (s_roles [index]);
}

static void
s_destroy_all (void)
{
    while (s_count)
        zactor_destroy (&s_actors [--s_count]);
    dafka_consumer_destroy (&s_consumer);
}

static void *
s_exit_thread (void *unused)
{
    (void) unused;
    exit (OWN_CODE);
}

//  Waits for records until the process ends. The receiving function must not fail before that.
static void *
s_wait_thread (void *unused)
{
    (void) unused;
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    while (dafka_consumer_msg_recv (msg, s_consumer) == 0);
    abort ();
}

static void *
s_start_thread (void *unused)
{
    (void) unused;
    s_start_task (dafka_store_actor, s_config);
    pause ();
    return NULL;
}

static void *
s_destroy_thread (void *unused)
{
    (void) unused;
    s_destroy_all ();
    pause ();
    return NULL;
}

static void
s_thread (void *(*function) (void *))
{
    pthread_t thread;
    CHECK (pthread_create (&thread, NULL, function, NULL) == 0);
}

//  Records that a store has acknowledged
static void
s_send_acknowledged (void)
{
    dafka_producer_args_t args = { "acknowledged", s_config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    CHECK (producer);
    for (int number = 0; number < RECORDS; number++)
        test_send (producer, "acknowledged");
    zactor_destroy (&producer);         //  Waits for the store
}

//  A program that sends records to a producer, and then leaves main. A peer has connected before.
static int
s_publish (void)
{
    dafka_producer_args_t args = { "published", s_config };
    zactor_t *producer = zactor_new (dafka_producer, &args);
    CHECK (producer);
    test_send (producer, "first");
    CHECK (getchar () == 'g');
    for (int number = 0; number < PUBLISHED; number++)
        test_send (producer, "%d", number);
    return OWN_CODE;
}

//  Beacons that report each other. The program does not read the first beacon's pipe, so the pipe fills up.
static void
s_start_unread (void)
{
    zsys_set_pipehwm (1);
    zsys_set_rcvhwm (1);
    s_start ("tower");
    for (int number = 0; number < BEACONS; number++) {
        dafka_beacon_args_t args = { "Beacon", s_config };
        s_start_task (dafka_beacon_actor, &args);
        char *address = zsys_sprintf ("unread-%d", number);
        CHECK (zsock_send (s_actors [s_count - 1], "ssi", "START", address, 1000 + number) == 0);
        zstr_free (&address);
    }
    //  The first beacon receives what the others receive. It may stop before all have received its announcement.
    int left = (BEACONS - 1) * (BEACONS - 2);
    while (left > 0)
        for (size_t index = 2; index < s_count; index++)
            while (test_poll (s_actors [index], 1)) {
                char *word, *endpoint;
                CHECK (zstr_recvx (s_actors [index], &word, &endpoint, NULL) == 2);
                left -= streq (word, "CONNECT");
                zstr_free (&word);
                zstr_free (&endpoint);
            }
}

//  The other ways to leave: each role has one, too
static const char *s_ways [] = {
    "failed", "all", "thread", "waiting", "starting", "ending", "handler", "forked", "unread", NULL
};

static int
s_leave (const char *way, const char *directory, int number)
{
    alarm (120);
    zsys_init ();
    if (streq (way, "handler"))
        //  Called at exit after the library's own function, and before CZMQ's
        atexit (s_destroy_all);

    if (streq (way, "publishing")) {
        s_config = zconfig_load (directory);
        CHECK (s_config);
        return s_publish ();
    }
    s_config = zconfig_new ("root", NULL);
    const char *addresses [] = { "tower/sub_address", "beacon/sub_address", "tower/pub_address", "beacon/pub_address" };
    for (size_t index = 0; index < 4; index++)
        zconfig_put (s_config, addresses [index], index < 2 ? "inproc://ends-sub" : "inproc://ends-pub");
    zconfig_put (s_config, "beacon/address", "127.0.0.1");
    zconfig_put (s_config, "beacon/interval", "50");
    zconfig_put (s_config, "beacon/connect_timeout", "100");
    zconfig_put (s_config, "store/db", streq (way, "failed") ? "/proc/self" : directory);

    if (streq (way, "failed"))
        s_start ("store");
    else
    if (streq (way, "unread"))
        s_start_unread ();
    else
    if (streq (way, "starting")) {
        s_start ("tower");
        s_thread (s_start_thread);
        //  CZMQ itself cannot end while zactor_new makes the pipe
        while (!zsys_file_exists (directory))
            zclock_sleep (1);
        zclock_sleep (5 * number);      //  Each attempt ends at another moment of the start
    }
    else {
        for (size_t index = 0; s_roles [index]; index++)
            if (streq (way, s_roles [index])) {
                s_start (way);
                return OWN_CODE;
            }
        s_start_all ();
    }
    if (streq (way, "all"))
        s_send_acknowledged ();
    else
    if (streq (way, "waiting"))
        s_thread (s_wait_thread);
    else
    if (streq (way, "ending"))
        s_thread (s_destroy_thread);
    else
    if (streq (way, "thread")) {
        s_thread (s_exit_thread);
        for (;;)
            pause ();
    }
    else
    if (streq (way, "forked")) {
        pid_t child = fork ();
        CHECK (child >= 0);
        if (child == 0)
            exit (OWN_CODE);
        int status;
        CHECK (waitpid (child, &status, 0) == child);
        CHECK (WIFEXITED (status) && WEXITSTATUS (status) == OWN_CODE);
        //  The parent's actors continue.
        s_send_acknowledged ();
    }
    return OWN_CODE;
}

//  Starts this program again, to leave in this way. The child writes its log to a file.

static char *
s_file (const char *way, int number, const char *suffix)
{
    return zsys_sprintf ("%s/%s-%d%s", test_dir (), way, number, suffix);
}

static pid_t
s_run (const char *program, const char *way, int number)
{
    char *directory = s_file (way, number, ""), *log = s_file (way, number, ".log"), *text = zsys_sprintf ("%d", number);
    pid_t child = fork ();
    CHECK (child >= 0);
    if (child == 0) {
        //  Nothing is freed on purpose.
        setenv ("ASAN_OPTIONS", "detect_leaks=0", 1);
        if (freopen (log, "w", stdout) && dup2 (1, 2) == 2)
            execl (program, program, "leave", way, directory, text, (char *) NULL);
        _exit (127);
    }
    zstr_free (&text);
    zstr_free (&log);
    zstr_free (&directory);
    return child;
}

//  Checks that the child ends with its own exit code, and that all its nodes have ended in time. The only errors in its
//  log are CZMQ's lines that name the open sockets.
static void
s_check_end (pid_t child, const char *way, int number)
{
    int status;
    CHECK (waitpid (child, &status, 0) == child);
    bool good = WIFEXITED (status) && WEXITSTATUS (status) == OWN_CODE;
    char *path = s_file (way, number, ".log");
    FILE *log = fopen (path, "r");
    CHECK (log);
    char line [1024];
    bool may_fail = streq (way, "failed") || streq (way, "starting");
    while (fgets (line, sizeof (line), log))
        if (strstr (line, "not ended within")
        || (strstr (line, "E: ") && !strstr (line, "dangling") && !may_fail))
            good = false;
    rewind (log);
    while (!good && fgets (line, sizeof (line), log))
        fprintf (stderr, "%s: %s", way, line);
    fclose (log);
    zstr_free (&path);
    if (!good)
        fprintf (stderr, "a program that leaves %s: wait status 0x%x\n", way, (unsigned) status);
    CHECK (good);
}

static void
s_test_leave (const char *program)
{
    for (int number = 0; number < LEAVE_TRIES; number++) {
        test_case ("programs that leave main, attempt %d", number);
        //  All in parallel: CZMQ takes 200 ms for each end
        pid_t children [32];
        size_t count = 0;
        for (size_t index = 0; s_roles [index]; index++)
            children [count++] = s_run (program, s_roles [index], number);
        for (size_t index = 0; s_ways [index]; index++)
            children [count++] = s_run (program, s_ways [index], number);
        count = 0;
        for (size_t index = 0; s_roles [index]; index++)
            s_check_end (children [count++], s_roles [index], number);
        for (size_t index = 0; s_ways [index]; index++)
            s_check_end (children [count++], s_ways [index], number);
    }
}

static void
s_test_stored (void)
{
    test_case ("records that a store acknowledged before its program left main");
    for (int number = 0; number < LEAVE_TRIES; number++) {
        zconfig_t *config = test_config ("inproc");
        char *directory = s_file ("all", number, "");
        zconfig_put (config, "store/db", directory);
        zconfig_put (config, "consumer/offset/reset", "earliest");
        zactor_t *tower = test_tower_new (config);
        zactor_t *store = test_store_new (config);
        dafka_consumer_t *consumer = test_consumer_new ("acknowledged", config);
        dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
        for (int record = 0; record < RECORDS; record++) {
            CHECK (dafka_consumer_msg_recv (msg, consumer) == 0);
            CHECK (dafka_consumer_msg_streq (msg, "acknowledged"));
        }
        dafka_consumer_msg_destroy (&msg);
        dafka_consumer_destroy (&consumer);
        zactor_destroy (&store);
        zactor_destroy (&tower);
        zstr_free (&directory);
        zconfig_destroy (&config);
    }
}

static void
s_test_published (const char *program)
{
    test_case ("records that a program sent right before it left main");
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    char *path = test_new_path ("config");
    CHECK (zconfig_save (config, path) == 0);
    zactor_t *tower = test_tower_new (config);
    dafka_consumer_t *consumer = test_consumer_new ("published", config);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (int number = 0; number < LEAVE_TRIES; number++) {
        int ends [2];
        CHECK (pipe (ends) == 0);
        pid_t child = fork ();
        CHECK (child >= 0);
        if (child == 0) {
            setenv ("ASAN_OPTIONS", "detect_leaks=0", 1);
            if (dup2 (ends [0], 0) == 0 && close (ends [1]) == 0)
                execl (program, program, "leave", "publishing", path, "0", (char *) NULL);
            _exit (127);
        }
        close (ends [0]);
        CHECK (dafka_consumer_msg_recv (msg, consumer) == 0 && dafka_consumer_msg_streq (msg, "first"));
        CHECK (write (ends [1], "g", 1) == 1);
        close (ends [1]);
        for (int record = 0; record < PUBLISHED; record++) {
            test_at ((size_t) record);
            char text [16];
            snprintf (text, sizeof (text), "%d", record);
            CHECK (dafka_consumer_msg_recv (msg, consumer) == 0 && dafka_consumer_msg_streq (msg, text));
        }
        int status;
        CHECK (waitpid (child, &status, 0) == child);
        CHECK (WIFEXITED (status) && WEXITSTATUS (status) == OWN_CODE);
    }
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&tower);
    zstr_free (&path);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    if (argc == 5 && streq (argv [1], "leave"))
        return s_leave (argv [2], argv [3], atoi (argv [4]));
    test_begin ("test_ends", 240);
    char *program = realpath ("/proc/self/exe", NULL);
    CHECK (program);
    s_test_cannot_start ();
    s_test_leave (program);
    s_test_stored ();
    s_test_published (program);
    free (program);
    return test_end ();
}
