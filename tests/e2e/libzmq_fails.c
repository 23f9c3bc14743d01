//  Preloaded into a program, lets libzmq fail where a test cannot make it fail from outside.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

//  A producer's actor cannot poll as soon as the file $FAIL_POLL is there.
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
    static int (*next) (void *, int, long);
    if (!next)
        next = (int (*) (void *, int, long)) dlsym (RTLD_NEXT, "zmq_poll");
    return next (items, count, timeout);
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
