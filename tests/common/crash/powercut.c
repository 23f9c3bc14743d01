/*  Simulates a disk that forgets what was not synchronized, and that fails on demand. The library is preloaded into a
    store.

    The library records the operations on each file below the directory POWERCUT_DIR in the journal POWERCUT_JOURNAL:
    each change before it is made, and each synchronization. From the journal, the harness (image.rs) computes what may
    be on the disk after a power cut. The library never really synchronizes a file. It only records in the journal that
    the program has requested the synchronization.

    POWERCUT_CONTROL is a file of 16 octets, which the library maps. The harness writes to this file to make operations
    fail; see s_fails.

    The library ignores LMDB's table of readers, lock.mdb. LMDB writes this file through a memory map, and does not need
    it after a crash. When the program is about to change another file in a way that the library cannot record, the
    library ends the process. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FDS 4096

/*  The file of a file descriptor, if the file is watched. */
typedef struct {
    int is_watched;
    int is_sync;
    uint64_t inode;
} watched_t;

static watched_t s_fds [MAX_FDS];
static const char *s_dir;
static size_t s_dir_len;
static int s_journal = -1;
static volatile uint8_t *s_control;
static pthread_mutex_t s_mutex = PTHREAD_MUTEX_INITIALIZER;

static void
s_die (const char *what)
{
    char text [256];
    int len = snprintf (text, sizeof text, "powercut: %s (errno %d)\n", what, errno);
    (void) !syscall (SYS_write, 2, text, len);
    _exit (99);
}

__attribute__ ((constructor)) static void
s_init (void)
{
    s_dir = getenv ("POWERCUT_DIR");
    const char *journal = getenv ("POWERCUT_JOURNAL");
    const char *control = getenv ("POWERCUT_CONTROL");
    if (!s_dir || !journal || !control)
        s_die ("the environment is not complete");
    s_dir_len = strlen (s_dir);
    s_journal = (int) syscall (SYS_openat, AT_FDCWD, journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (s_journal < 0)
        s_die ("cannot open the journal");
    int fd = (int) syscall (SYS_openat, AT_FDCWD, control, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        s_die ("cannot open the control file");
    s_control = (volatile uint8_t *) syscall (SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (s_control == MAP_FAILED)
        s_die ("cannot map the control file");
    syscall (SYS_close, fd);
}

/*  Whether the changes of the file at a path are recorded. */
static int
s_is_ours (const char *path)
{
    if (!s_dir || strncmp (path, s_dir, s_dir_len) != 0)
        return 0;
    const char *rest = path + s_dir_len;
    if (*rest && *rest != '/')
        return 0;
    const char *name = strrchr (path, '/');
    return !name || strcmp (name, "/lock.mdb") != 0;
}

/*  Writes an entry to the journal: kind, 7 zero octets, two numbers, the length of the data, data. Numbers have the
    machine's byte order. */
static void
s_note_v (char kind, uint64_t a, uint64_t b, const struct iovec *data, int count, size_t len)
{
    struct iovec parts [1024 + 1];
    uint8_t head [32] = { (uint8_t) kind };
    uint64_t data_len = len;
    memcpy (head + 8, &a, 8);
    memcpy (head + 16, &b, 8);
    memcpy (head + 24, &data_len, 8);
    if (count > 1024)
        s_die ("too many parts");
    parts [0] = (struct iovec) { head, sizeof head };
    int n = 1;
    for (int i = 0; i < count && len; i++) {
        size_t part = data [i].iov_len < len? data [i].iov_len: len;
        parts [n++] = (struct iovec) { data [i].iov_base, part };
        len -= part;
    }
    ssize_t expected = (ssize_t) (sizeof head + data_len);
    if (syscall (SYS_writev, s_journal, parts, n) != expected)
        s_die ("cannot write the journal");
}

static void
s_note (char kind, uint64_t a, uint64_t b, const char *text)
{
    struct iovec data = { (void *) text, text? strlen (text): 0 };
    s_note_v (kind, a, b, &data, 1, data.iov_len);
}

/*  The octets of the control file:
    0: which operations fail (1: write, 2: write to a synchronous descriptor, 4: synchronize);
    1: with which errno;
    2: how (0: without effect; 1: with an effect that is not durable, and the next write, with which LMDB would undo the
       effect, fails too; 2: half of a write is done, and the program gets the number of written octets);
    3: how many more times (255: without end);
    8 to 11: how many operations have failed. */
enum { FAIL_WRITE = 1, FAIL_SYNC_WRITE = 2, FAIL_SYNC = 4 };

static int s_next_fails;

static int
s_fails (int operation)
{
    if (operation == FAIL_WRITE && s_next_fails) {
        s_next_fails = 0;
        // The harness may have ended the fault since the failed write.
        return s_control [0] != 0;
    }
    if (!(s_control [0] & operation) || s_control [3] == 0)
        return 0;
    if (s_control [3] != 255)
        s_control [3]--;
    volatile uint32_t *failed = (volatile uint32_t *) (s_control + 8);
    ++*failed;
    return 1;
}

static watched_t *
s_watched (int fd)
{
    return fd >= 0 && fd < MAX_FDS && s_fds [fd].is_watched? &s_fds [fd]: NULL;
}

static int
s_open (int at, const char *path, int flags, mode_t mode)
{
    int ours = s_is_ours (path);
    pthread_mutex_lock (&s_mutex);
    struct stat status;
    int is_new = ours && (flags & O_CREAT) && stat (path, &status) != 0;
    if (ours && (flags & O_TRUNC) && !is_new)
        s_die ("O_TRUNC of a file that is there");
    // Only the journal determines which writes are durable, so the real descriptor need not be synchronous.
    int fd = (int) syscall (SYS_openat, at, path, flags & ~(O_SYNC | O_DSYNC), mode);
    int error = errno;
    if (fd >= 0 && ours) {
        if (fd >= MAX_FDS || fstat (fd, &status) != 0)
            s_die ("cannot watch a file");
        s_fds [fd] = (watched_t) { 1, (flags & (O_SYNC | O_DSYNC)) != 0, status.st_ino };
        if (is_new)
            s_note ('C', status.st_ino, 0, path + s_dir_len + 1);
    }
    else if (fd >= 0 && fd < MAX_FDS)
        s_fds [fd].is_watched = 0;
    pthread_mutex_unlock (&s_mutex);
    errno = error;
    return fd;
}

#define OPEN(name) \
    int name (const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start (rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE)? va_arg (rest, mode_t): 0; \
        va_end (rest); \
        return s_open (AT_FDCWD, path, flags, mode); \
    }
OPEN (open)
OPEN (open64)

#define OPENAT(name) \
    int name (int at, const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start (rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE)? va_arg (rest, mode_t): 0; \
        va_end (rest); \
        return s_open (at, path, flags, mode); \
    }
OPENAT (openat)
OPENAT (openat64)

int
close (int fd)
{
    pthread_mutex_lock (&s_mutex);
    if (fd >= 0 && fd < MAX_FDS)
        s_fds [fd].is_watched = 0;
    pthread_mutex_unlock (&s_mutex);
    return (int) syscall (SYS_close, fd);
}

static ssize_t
s_write (int fd, const struct iovec *parts, int count, off_t offset)
{
    pthread_mutex_lock (&s_mutex);
    watched_t *file = s_watched (fd);
    ssize_t done;
    int error = 0;
    if (!file)
        done = syscall (SYS_pwritev, fd, parts, count, offset, 0);
    else {
        size_t len = 0;
        for (int i = 0; i < count; i++)
            len += parts [i].iov_len;
        int how = -1;
        if (s_fails (file->is_sync? FAIL_SYNC_WRITE: FAIL_WRITE)) {
            how = file->is_sync || s_control [2] == 2? s_control [2]: 0;
            error = s_control [1];
            s_next_fails = how == 1;
        }
        if (how == 2)
            len /= 2;
        if (how == 0)
            done = -1;
        else {
            s_note_v ('W', file->inode, (uint64_t) offset, parts, count, len);
            struct iovec cut [1024];
            int n = 0;
            for (size_t left = len; n < count && left; n++) {
                cut [n] = parts [n];
                if (cut [n].iov_len > left)
                    cut [n].iov_len = left;
                left -= cut [n].iov_len;
            }
            done = syscall (SYS_pwritev, fd, cut, n, offset, 0);
            if (done != (ssize_t) len)
                s_die ("a write did not go through");
            if (how == 1) {
                s_note ('L', file->inode, 0, NULL);
                done = -1;
            }
            else {
                error = 0;
                if (file->is_sync)
                    s_note ('S', file->inode, 0, NULL);
            }
        }
    }
    if (done < 0 && !error)
        error = errno;
    pthread_mutex_unlock (&s_mutex);
    if (done < 0)
        errno = error;
    return done;
}

static ssize_t
s_pwrite (int fd, const void *data, size_t len, off_t offset)
{
    struct iovec part = { (void *) data, len };
    return s_write (fd, &part, 1, offset);
}

ssize_t pwrite (int fd, const void *data, size_t len, off_t offset) { return s_pwrite (fd, data, len, offset); }
ssize_t pwrite64 (int fd, const void *data, size_t len, off64_t offset) { return s_pwrite (fd, data, len, offset); }
ssize_t pwritev (int fd, const struct iovec *parts, int n, off_t offset) { return s_write (fd, parts, n, offset); }
ssize_t pwritev64 (int fd, const struct iovec *parts, int n, off64_t offset) { return s_write (fd, parts, n, offset); }

static ssize_t
s_write_on (int fd, const struct iovec *parts, int count)
{
    if (!s_watched (fd))
        return syscall (SYS_writev, fd, parts, count);
    off_t offset = lseek (fd, 0, SEEK_CUR);
    ssize_t done = s_write (fd, parts, count, offset);
    if (done > 0)
        lseek (fd, offset + done, SEEK_SET);
    return done;
}

ssize_t writev (int fd, const struct iovec *parts, int count) { return s_write_on (fd, parts, count); }

ssize_t
write (int fd, const void *data, size_t len)
{
    struct iovec part = { (void *) data, len };
    return s_watched (fd)? s_write_on (fd, &part, 1): syscall (SYS_write, fd, data, len);
}

static int
s_sync (int fd, int number)
{
    pthread_mutex_lock (&s_mutex);
    watched_t *file = s_watched (fd);
    int rc = 0;
    if (!file)
        rc = (int) syscall (number, fd);
    else
    if (s_fails (FAIL_SYNC)) {
        // As in Linux: data that could not be written counts as written, and the system never writes it again.
        s_note ('L', file->inode, 0, NULL);
        errno = s_control [1];
        rc = -1;
    }
    else
        s_note ('S', file->inode, 0, NULL);
    int error = errno;
    pthread_mutex_unlock (&s_mutex);
    errno = error;
    return rc;
}

int fsync (int fd) { return s_sync (fd, SYS_fsync); }
int fdatasync (int fd) { return s_sync (fd, SYS_fdatasync); }

static int
s_truncate (int fd, off_t len)
{
    pthread_mutex_lock (&s_mutex);
    watched_t *file = s_watched (fd);
    if (file)
        s_note ('T', file->inode, (uint64_t) len, NULL);
    int rc = (int) syscall (SYS_ftruncate, fd, len);
    int error = errno;
    pthread_mutex_unlock (&s_mutex);
    errno = error;
    return rc;
}

int ftruncate (int fd, off_t len) { return s_truncate (fd, len); }
int ftruncate64 (int fd, off64_t len) { return s_truncate (fd, len); }

int
rename (const char *from, const char *to)
{
    pthread_mutex_lock (&s_mutex);
    if (s_is_ours (from) || s_is_ours (to)) {
        struct stat status;
        if (!s_is_ours (from) || !s_is_ours (to) || stat (from, &status) != 0)
            s_die ("a rename across the border");
        char names [1024];
        snprintf (names, sizeof names, "%s\n%s", from + s_dir_len + 1, to + s_dir_len + 1);
        s_note ('R', status.st_ino, 0, names);
    }
    int rc = (int) syscall (SYS_rename, from, to);
    int error = errno;
    pthread_mutex_unlock (&s_mutex);
    errno = error;
    return rc;
}

int
unlink (const char *path)
{
    pthread_mutex_lock (&s_mutex);
    struct stat status;
    if (s_is_ours (path) && stat (path, &status) == 0)
        s_note ('U', status.st_ino, 0, path + s_dir_len + 1);
    int rc = (int) syscall (SYS_unlink, path);
    int error = errno;
    pthread_mutex_unlock (&s_mutex);
    errno = error;
    return rc;
}

static void *
s_map (void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if ((flags & MAP_SHARED) && (protection & PROT_WRITE) && s_watched (fd))
        s_die ("a file is mapped for writing");
    return (void *) syscall (SYS_mmap, at, len, protection, flags, fd, offset);
}

void *mmap (void *at, size_t len, int prot, int flags, int fd, off_t offset) { return s_map (at, len, prot, flags, fd, offset); }
void *mmap64 (void *at, size_t len, int prot, int flags, int fd, off64_t offset) { return s_map (at, len, prot, flags, fd, offset); }

/*  Functions that could change a watched file in other ways: they end the process. */
#define REFUSED(name, parameters, fd, call) \
    int name parameters \
    { \
        if (s_watched (fd)) \
            s_die (#name); \
        return (int) call; \
    }
REFUSED (fallocate, (int fd, int mode, off_t offset, off_t len), fd, syscall (SYS_fallocate, fd, mode, offset, len))
REFUSED (fallocate64, (int fd, int mode, off64_t offset, off64_t len), fd, syscall (SYS_fallocate, fd, mode, offset, len))
REFUSED (dup2, (int fd, int to), fd, syscall (SYS_dup2, fd, to))
