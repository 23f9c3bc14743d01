/*  =========================================================================
    test_daemon - a program that has become a daemon (by itself, or with zsys_daemonize) can use the library; the
    library starts no process; dafka_towerd and dafka_stored stay in the foreground, in the process that was started

    usage: test_daemon DIRECTORY-OF-PROGRAMS
    =========================================================================
*/

#define _XOPEN_SOURCE 700       //  waitid, getsid

#include "testing.h"
#include <sys/prctl.h>
#include <sys/wait.h>

//  Runs a small network: records are published, stored and read.

static void
s_use_library (const char *transport)
{
    test_case ("a network over %s", transport);
    zconfig_t *config = test_config (transport);
    zconfig_put (config, "consumer/offset/reset", "earliest");
    zactor_t *tower = test_tower_new (config);
    zactor_t *store = test_store_new (config);
    zactor_t *producer = test_producer_new ("daemon", config);
    dafka_consumer_t *consumer = test_consumer_new ("daemon", config);
    for (int number = 0; number < 100; number++) {
        test_send (producer, "hello");
        test_recv (consumer, "daemon", dafka_producer_address (producer), "hello");
    }
    zactor_destroy (&producer);             //  The store has acknowledged all
    dafka_consumer_destroy (&consumer);
    zactor_destroy (&store);
    zactor_destroy (&tower);
    zconfig_destroy (&config);
}

static pid_t
s_start (const char *directory, const char *program, const char *config_file)
{
    char *path = zsys_sprintf ("%s/%s", directory, program);
    pid_t pid = fork ();
    CHECK (pid >= 0);
    if (pid == 0) {
        execl (path, path, "-c", config_file, (char *) NULL);
        _exit (127);
    }
    zstr_free (&path);
    return pid;
}

//  True when this process has a child, running or ended

static bool
s_has_child (void)
{
    siginfo_t info;
    if (waitid (P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        return true;
    CHECK (errno == ECHILD);
    return false;
}


//  --------------------------------------------------------------------------
//  Daemons. No dafka or CZMQ object exists before the fork.

static int
s_daemon (const char *name)
{
    test_begin (name, 60);
    s_use_library ("inproc");
    s_use_library ("tcp");
    CHECK (!s_has_child ());
    return test_end ();
}

static void
s_become_daemon (void)
{
    pid_t pid = fork ();
    if (pid)
        _exit (pid > 0 ? 0 : 1);
    if (setsid () == -1)
        _exit (1);
    pid = fork ();
    if (pid)
        _exit (pid > 0 ? 0 : 1);
    int null = open ("/dev/null", O_RDWR);
    if (chdir ("/") || null < 0 || dup2 (null, 0) < 0 || dup2 (null, 1) < 0)
        _exit (1);
    //  Standard error stays open for failed checks.
}

//  Starts a process that becomes a daemon. All its processes become children of this one (see main), and must end with
//  0.

static void
s_test_daemon (int which)
{
    pid_t pid = fork ();
    if (pid == -1)
        exit (1);
    if (pid == 0) {
        if (which == 0) {
            s_become_daemon ();
            exit (s_daemon ("test_daemon_by_hand"));
        }
        //  zsys_daemonize ends the first process with exit (0), and closes all files.
        zsys_daemonize ("/");
        exit (s_daemon ("test_daemon_by_czmq"));
    }
    int ended = 0;
    int status;
    while (waitpid (-1, &status, 0) > 0) {
        if (!WIFEXITED (status) || WEXITSTATUS (status) != 0) {
            fprintf (stderr, "test_daemon: a process of daemon %d ended with status %x\n", which, (unsigned int) status);
            exit (1);
        }
        ended++;
    }
    if (ended < 2) {
        fprintf (stderr, "test_daemon: daemon %d was no process of its own\n", which);
        exit (1);
    }
}


//  --------------------------------------------------------------------------
//  The programs

//  The ids of the children of a process, in a string

static char *
s_children (pid_t pid)
{
    char *path = zsys_sprintf ("/proc/%d/task/%d/children", (int) pid, (int) pid);
    FILE *file = fopen (path, "r");
    zstr_free (&path);
    if (!file)
        return NULL;                        //  Some kernels do not have this file
    char text [256] = "";
    char *line = fgets (text, sizeof (text), file);
    fclose (file);
    return strdup (line ? line : "");
}

static void
s_check_foreground (pid_t pid)
{
    CHECK (waitpid (pid, NULL, WNOHANG) == 0);
    CHECK (getsid (pid) == getsid (0) && getpgid (pid) == getpgid (0));
    char *children = s_children (pid);
    if (children)
        CHECK_STR (children, "");
    free (children);
}

static void
s_stop (pid_t pid)
{
    CHECK (kill (pid, SIGTERM) == 0);
    int status;
    CHECK (waitpid (pid, &status, 0) == pid);
    CHECK (WIFEXITED (status) && WEXITSTATUS (status) == 0);
}

static void
s_test_programs (const char *directory)
{
    test_case ("dafka_towerd and dafka_stored: starting");
    zconfig_t *config = test_config ("tcp");
    zconfig_put (config, "consumer/offset/reset", "earliest");
    char *file = test_new_path ("config");
    CHECK (zconfig_save (config, file) == 0);
    pid_t tower = s_start (directory, "dafka_towerd", file);
    pid_t store = s_start (directory, "dafka_stored", file);
    zstr_free (&file);
    zactor_t *producer = test_producer_new ("daemon", config);
    test_send (producer, "hello");
    zactor_destroy (&producer);             //  The store has it
    test_case ("dafka_towerd and dafka_stored are in the foreground");
    s_check_foreground (tower);
    s_check_foreground (store);
    char *children = s_children (getpid ());
    if (children) {
        char *number = zsys_sprintf ("%d ", (int) tower);
        CHECK (strstr (children, number));  //  Shows that the check above can fail
        zstr_free (&number);
        free (children);
    }
    test_case ("dafka_towerd and dafka_stored: stopping");
    s_stop (store);
    s_stop (tower);
    zconfig_destroy (&config);
}

int
main (int argc, char **argv)
{
    if (argc != 2) {
        fprintf (stderr, "usage: test_daemon DIRECTORY-OF-PROGRAMS\n");
        return 1;
    }
    //  Daemons become children of this process, which can then wait for them.
    dafka_producer_msg_t *msg = dafka_producer_msg_new ();
    if (!msg || dafka_producer_msg_set_content_str (msg, "before") || prctl (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
        return 1;
    for (int which = 0; which < 2; which++)
        s_test_daemon (which);
    dafka_producer_msg_destroy (&msg);

    test_begin ("test_daemon", 60);
    test_case ("the library starts no process");
    CHECK (!s_has_child ());
    s_use_library ("tcp");
    CHECK (!s_has_child ());
    test_case ("a child would be detected");
    pid_t pid = s_start ("/bin", "true", "ignored");
    CHECK (s_has_child ());
    CHECK (waitpid (pid, NULL, 0) == pid && !s_has_child ());

    s_test_programs (argv [1]);
    return test_end ();
}
