//  This library is preloaded into a program. It makes functions fail or hang that a test cannot make fail from outside
//  the process. It also counts calls that a test cannot see from outside.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

//  As soon as the file $FAIL_POLL exists, the actor of a producer cannot wait for several files. (libzmq waits for one
//  file, and ends the process when it cannot.)
int
poll (struct pollfd *items, nfds_t count, int timeout)
{
    char name [16] = "";
    pthread_getname_np (pthread_self (), name, sizeof (name));
    const char *file = getenv ("FAIL_POLL");
    if (file && count > 1 && strcmp (name, "dafka-producer") == 0 && access (file, F_OK) == 0) {
        errno = EFAULT;
        return -1;
    }
    static int (*next) (struct pollfd *, nfds_t, int);
    if (!next)
        next = (int (*) (struct pollfd *, nfds_t, int)) dlsym (RTLD_NEXT, "poll");
    return next (items, count, timeout);
}

//  With $FIXED_GETRANDOM, each process gets the same random octets, as clones of a virtual machine may.
ssize_t
getrandom (void *octets, size_t size, unsigned flags)
{
    static atomic_uchar s_count;
    if (!getenv ("FIXED_GETRANDOM"))
        return syscall (SYS_getrandom, octets, size, flags);
    memset (octets, 'A' + s_count++, size);
    return (ssize_t) size;
}

//  With $INTERRUPT_RECV, a signal interrupts every fifth attempt to receive.
int
zmq_msg_recv (void *message, void *socket, int flags)
{
    static __thread unsigned count;
    if (getenv ("INTERRUPT_RECV") && ++count % 5 == 0) {
        errno = EINTR;
        return -1;
    }
    static int (*next) (void *, void *, int);
    if (!next)
        next = (int (*) (void *, void *, int)) dlsym (RTLD_NEXT, "zmq_msg_recv");
    return next (message, socket, flags);
}

//  Counts how often the program writes to pipes, and writes the number to the file $COUNT_WRITES when the program ends.
//  Writes to sockets do not count. Writes to eventfds, with which libzmq wakes its threads, do not count either.
static atomic_uint s_writes;

ssize_t
write (int file, const void *octets, size_t size)
{
    struct stat status;
    if (fstat (file, &status) == 0 && S_ISFIFO (status.st_mode))
        s_writes++;
    static ssize_t (*next) (int, const void *, size_t);
    if (!next)
        next = (ssize_t (*) (int, const void *, size_t)) dlsym (RTLD_NEXT, "write");
    return next (file, octets, size);
}

static void __attribute__ ((destructor))
s_tell_writes (void)
{
    const char *name = getenv ("COUNT_WRITES");
    FILE *file = name? fopen (name, "w"): NULL;
    if (file) {
        fprintf (file, "%u", s_writes);
        fclose (file);
    }
}

//  As soon as the program has set a handler for the signal number $EARLY_SIGNAL, it gets that signal.
int
sigaction (int number, const struct sigaction *action, struct sigaction *old)
{
    static int (*next) (int, const struct sigaction *, struct sigaction *);
    if (!next)
        next = (int (*) (int, const struct sigaction *, struct sigaction *)) dlsym (RTLD_NEXT, "sigaction");
    int rc = next (number, action, old);
    const char *early = getenv ("EARLY_SIGNAL");
    if (rc == 0 && early && atoi (early) == number && action && action->sa_handler != SIG_DFL
        && action->sa_handler != SIG_IGN)
        kill (getpid (), number);
    return rc;
}

static bool
s_ends_with (const char *text, const char *end)
{
    size_t len = strlen (text), end_len = strlen (end);
    return len >= end_len && strcmp (text + len - end_len, end) == 0;
}

//  With $NAMES, the lookup of a name that ends in ".slow" takes a minute and fails. A name that ends in ".here" stands
//  for this host.
int
getaddrinfo (const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    static int (*next) (const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next)
        next = (int (*) (const char *, const char *, const struct addrinfo *, struct addrinfo **)) dlsym (
            RTLD_NEXT, "getaddrinfo");
    if (name && getenv ("NAMES")) {
        if (s_ends_with (name, ".slow")) {
            sleep (60);
            return EAI_AGAIN;
        }
        if (s_ends_with (name, ".here"))
            name = "127.0.0.1";
    }
    return next (name, service, hints, result);
}

//  As long as the file $HANG_SYNC exists, fdatasync does not return, as with a disk that hangs.
int
fdatasync (int file)
{
    const char *name = getenv ("HANG_SYNC");
    while (name && access (name, F_OK) == 0)
        usleep (10000);
    static int (*next) (int);
    if (!next)
        next = (int (*) (int)) dlsym (RTLD_NEXT, "fdatasync");
    return next (file);
}
