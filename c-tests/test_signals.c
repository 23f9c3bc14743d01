/*  =========================================================================
    test_signals - signals that have nothing to do with the library cost no record, and no connection
    =========================================================================
*/

//  sigaction, setitimer
#define _XOPEN_SOURCE 700
#include "testing.h"
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t s_signals;

static void
s_count (int signal_value)
{
    (void) signal_value;
    s_signals++;
}

//  SIGALRM, which any thread may get, every so many microseconds; 0: no more, also of those that are under way
static void
s_storm (long interval_us)
{
    struct sigaction action;
    memset (&action, 0, sizeof action);
    action.sa_handler = interval_us? s_count: SIG_IGN;      //  No SA_RESTART: calls fail with EINTR
    //  libzmq does not expect EINTR from a write that cannot wait, which valgrind lets happen. poll is never restarted.
    if (test_in_valgrind ())
        action.sa_flags = SA_RESTART;
    struct itimerval timer = { { 0, interval_us }, { 0, interval_us } };
    if (interval_us)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
    CHECK (setitimer (ITIMER_REAL, &timer, NULL) == 0);
    if (!interval_us)
        CHECK (sigaction (SIGALRM, &action, NULL) == 0);
}

static void
s_test_records (zconfig_t *config)
{
    test_case ("records in a storm of signals");
    size_t count = test_scale (100000, 1000);
    zactor_t *producer = test_producer_new ("storm", config);
    dafka_consumer_t *consumer = test_consumer_new ("storm", config);
    s_storm (50);
    for (size_t i = 0; i < count; i++)
        test_send (producer, "%zu", i);
    dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
    for (size_t i = 0; i < count; i++) {
        test_at (i);
        while (dafka_consumer_msg_recv (msg, consumer) == -1)
            CHECK (!zsys_interrupted);
        char content [32];
        snprintf (content, sizeof content, "%zu", i);
        char *received = dafka_consumer_msg_strdup (msg);
        CHECK_STR (received, content);
        zstr_free (&received);
    }
    CHECK (s_signals > 0);
    s_storm (0);
    dafka_consumer_msg_destroy (&msg);
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&producer);
}

//  The consumer's threads get all the signals, as the main thread blocks them, and so the producers, which inherit that:
//  CZMQ's own zactor_new and zactor_destroy take an interrupted wait for the actor's answer.

static void
s_test_peers (zconfig_t *config)
{
    test_case ("peers that come and go in a storm of signals");
    dafka_consumer_t *consumer = test_consumer_new ("peers", config);
    sigset_t storm;
    sigemptyset (&storm);
    sigaddset (&storm, SIGALRM);
    CHECK (pthread_sigmask (SIG_BLOCK, &storm, NULL) == 0);
    s_storm (50);
    for (size_t i = 0; i < test_scale (20, 2); i++) {
        test_at (i);
        zactor_t *producer = test_producer_new ("peers", config);
        test_send (producer, "hello");
        test_recv (consumer, "peers", dafka_producer_address (producer), "hello");
        zactor_destroy (&producer);
    }
    s_storm (0);
    dafka_consumer_destroy (&consumer);
    CHECK (pthread_sigmask (SIG_UNBLOCK, &storm, NULL) == 0);
}

int
main (void)
{
    test_begin ("test_signals", 120);
    zconfig_t *config = test_config ("inproc");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zconfig_put (config, "producer/terminate_unacked", "1");
    zactor_t *tower = zactor_new (dafka_tower_actor, config);
    CHECK (tower);
    s_test_records (config);
    s_test_peers (config);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
    return test_end ();
}
