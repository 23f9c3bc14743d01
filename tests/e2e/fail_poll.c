//  Preloaded into a program, lets its producer's actor fail as soon as the file $FAIL_POLL is there: zmq_poll says so.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int (poll_fn) (void *items, int count, long timeout);

int
zmq_poll (void *items, int count, long timeout)
{
    char name [16] = "";
    pthread_getname_np (pthread_self (), name, sizeof (name));
    const char *file = getenv ("FAIL_POLL");
    if (file && strcmp (name, "dafka-producer") == 0 && access (file, F_OK) == 0) {
        errno = EFAULT;
        return -1;
    }
    poll_fn *next = (poll_fn *) dlsym (RTLD_NEXT, "zmq_poll");
    return next (items, count, timeout);
}
