/*  =========================================================================
    test_ends - programs that end as the programs of the C library do

    usage: test_ends [leave]

    An actor that could not start, and whose pipe the program has read (as dafka_stored of the C library does), is
    destroyed all the same. A program that does not destroy it ends with its own exit code.
    =========================================================================
*/

//  realpath, setenv
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <sys/wait.h>
#include <unistd.h>

//  What a program returns from main in the second case
#define OWN_CODE 7
//  How often each case is tried
#define TRIES 10

//  zactor_new, zstr_recv, zactor_destroy

static void
s_read_and_destroy (const char *name, zactor_fn *task, void *args)
{
    test_case ("%s that cannot start: its pipe is read, and it is destroyed", name);
    for (size_t number = 0; number < TRIES; number++) {
        test_at (number);
        int64_t start = zclock_mono ();
        zactor_t *actor = zactor_new (task, args);
        CHECK (actor);
        char *word = zstr_recv (actor);             //  Comes at once: the actor has failed
        zstr_free (&word);
        zactor_destroy (&actor);
        CHECK (actor == NULL);
        CHECK (zclock_mono () - start < 20000);
    }
}

static void
s_test_cannot_start (void)
{
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "store/db", "/proc/self");
    s_read_and_destroy ("a store", dafka_store_actor, config);

    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    s_read_and_destroy ("a tower", dafka_tower_actor, config);      //  There is one
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
    zconfig_destroy (&config);
}

//  --------------------------------------------------------------------------
//  A program whose store could not start, and that leaves main without destroying it

static int
s_leave (void)
{
    zconfig_t *config = zconfig_new ("root", NULL);
    zconfig_put (config, "store/db", "/proc/self");
    return zactor_new (dafka_store_actor, config) ? OWN_CODE : 1;
}

static void
s_test_leave (const char *program)
{
    test_case ("a program that leaves main with a store that could not start");
    //  All at a time: each end takes CZMQ 200 ms
    pid_t children [TRIES];
    for (size_t number = 0; number < TRIES; number++) {
        children [number] = fork ();
        CHECK (children [number] >= 0);
        if (children [number] == 0) {
            //  Nothing is freed on purpose.
            setenv ("ASAN_OPTIONS", "detect_leaks=0", 1);
            execl (program, program, "leave", (char *) NULL);
            _exit (127);
        }
    }
    for (size_t number = 0; number < TRIES; number++) {
        test_at (number);
        int status;
        CHECK (waitpid (children [number], &status, 0) == children [number]);
        CHECK (WIFEXITED (status) && WEXITSTATUS (status) == OWN_CODE);
    }
}

int
main (int argc, char **argv)
{
    if (argc == 2 && streq (argv [1], "leave"))
        return s_leave ();
    test_begin ("test_ends", 240);
    char *program = realpath ("/proc/self/exe", NULL);
    CHECK (program);
    s_test_cannot_start ();
    s_test_leave (program);
    free (program);
    return test_end ();
}
