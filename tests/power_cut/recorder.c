/* Records what a process does to the files below a folder: preloaded with LD_PRELOAD, it appends one record to a log for
 * each call that changes a file, a name or what is durable. A lock is held over a call and its record, so the log has
 * them in the order in which they took effect. `recording.rs` reads it.
 *
 * Left out: files whose names end in -shm, which SQLite rebuilds at every start and writes through a mapping. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
#define PARTS_MAX 16

enum { IS_OTHER = 0, IS_FILE = 1, IS_FOLDER = 2, IS_PARENT = 3 };

static char folder[4096];
static size_t folder_length, parent_length;
static int log_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char kind_of[FDS_MAX];
static uint64_t file_of[FDS_MAX];

static void fail(const char *text) {
    syscall(SYS_write, 2, text, strlen(text));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *root = getenv("INGLE_RECORD_FOLDER"), *log = getenv("INGLE_RECORD_LOG");
    if (!root || !log) return;
    folder_length = strlen(root);
    if (folder_length >= sizeof folder) fail("recorder: the folder's name is too long\n");
    memcpy(folder, root, folder_length + 1);
    parent_length = strrchr(folder, '/') - folder;
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0) fail("recorder: the log cannot be opened\n");
}

/* A path relative to the folder ("" is the folder itself), or NULL when it is not below it or not of interest. */
static const char *below(const char *path) {
    if (log_fd < 0 || !path || strncmp(path, folder, folder_length) != 0) return NULL;
    const char *rest = path + folder_length;
    if (*rest != 0 && *rest != '/') return NULL;
    while (*rest == '/') rest++;
    size_t length = strlen(rest);
    if (length >= 4 && strcmp(rest + length - 4, "-shm") == 0) return NULL;
    return rest;
}

/* One record: operation, lengths, file, number, names and data. */
static void record(char op, uint64_t file, uint64_t number, const char *one, const char *two, const struct iovec *parts,
                   int count, size_t bytes) {
    struct {
        uint64_t op, file, number, one, two, bytes;
    } head = {(uint64_t)op, file, number, one ? strlen(one) : 0, two ? strlen(two) : 0, bytes};
    struct iovec all[3 + PARTS_MAX];
    int used = 0;
    all[used++] = (struct iovec){&head, sizeof head};
    all[used++] = (struct iovec){(void *)(one ? one : ""), head.one};
    all[used++] = (struct iovec){(void *)(two ? two : ""), head.two};
    size_t whole = sizeof head + head.one + head.two + bytes;
    for (int i = 0; i < count && bytes > 0; i++) {
        if (used == 3 + PARTS_MAX) fail("recorder: too many parts in one write\n");
        all[used] = parts[i];
        if (all[used].iov_len > bytes) all[used].iov_len = bytes;
        bytes -= all[used++].iov_len;
    }
    if (syscall(SYS_writev, log_fd, all, used) != (ssize_t)whole) fail("recorder: the log cannot be written\n");
}

static char kind(int fd) { return fd >= 0 && fd < FDS_MAX ? kind_of[fd] : IS_OTHER; }


static int opened(const char *path, int flags, mode_t mode) {
    const char *name = below(path);
    if (!name) {
        int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
        int is_parent = log_fd >= 0 && strlen(path) == parent_length && strncmp(path, folder, parent_length) == 0;
        if (is_parent && fd >= 0 && fd < FDS_MAX) kind_of[fd] = IS_PARENT;
        return fd;
    }
    pthread_mutex_lock(&lock);
    struct stat found;
    int existed = syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) == 0;
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode), error = errno;
    if (fd >= 0 && fd < FDS_MAX && syscall(SYS_fstat, fd, &found) == 0) {
        kind_of[fd] = S_ISREG(found.st_mode) ? IS_FILE : S_ISDIR(found.st_mode) ? IS_FOLDER : IS_OTHER;
        file_of[fd] = found.st_ino;
        if (kind_of[fd] == IS_FILE) {
            if (!existed) record('C', found.st_ino, 0, name, NULL, NULL, 0, 0);
            else if (flags & O_TRUNC) record('T', found.st_ino, 0, NULL, NULL, NULL, 0, 0);
        }
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define OPEN(symbol)                                                                                                   \
    int symbol(const char *path, int flags, ...) {                                                                     \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        return opened(path, flags, mode);                                                                              \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(symbol)                                                                                                 \
    int symbol(int at, const char *path, int flags, ...) {                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        if (*path == '/') return opened(path, flags, mode);                                                    \
        if (at != AT_FDCWD && kind(at) == IS_FOLDER && flags & O_CREAT) fail("recorder: a file made by openat\n");     \
        return syscall(SYS_openat, at, path, flags, mode);                                                             \
    }
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return opened(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS_MAX) kind_of[fd] = IS_OTHER;
    return syscall(SYS_close, fd);
}

/* What is written at the file's own position; at the end of one that is opened to append. */
static ssize_t written(int fd, const struct iovec *parts, int count) {
    if (kind(fd) != IS_FILE) return syscall(SYS_writev, fd, parts, count);
    pthread_mutex_lock(&lock);
    ssize_t bytes = syscall(SYS_writev, fd, parts, count);
    int error = errno;
    if (bytes > 0) {
        off_t end = syscall(SYS_lseek, fd, 0, SEEK_CUR);
        record('W', file_of[fd], end - bytes, NULL, NULL, parts, count, bytes);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return bytes;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (kind(fd) != IS_FILE) return syscall(SYS_write, fd, data, size);
    struct iovec part = {(void *)data, size};
    return written(fd, &part, 1);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return written(fd, parts, count); }

static ssize_t written_at(int fd, const struct iovec *parts, int count, off_t at) {
    if (kind(fd) != IS_FILE) return syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    pthread_mutex_lock(&lock);
    ssize_t bytes = syscall(SYS_pwritev, fd, parts, count, (long)at, 0L);
    int error = errno;
    if (bytes > 0) record('W', file_of[fd], at, NULL, NULL, parts, count, bytes);
    pthread_mutex_unlock(&lock);
    errno = error;
    return bytes;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    struct iovec part = {(void *)data, size};
    return written_at(fd, &part, 1, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return written_at(fd, parts, count, at); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return written_at(fd, parts, count, at); }

static int synced(int fd, long call) {
    if (kind(fd) == IS_OTHER) return syscall(call, fd);
    pthread_mutex_lock(&lock);
    int result = syscall(call, fd), error = errno;
    if (result == 0) record(kind(fd) == IS_FILE ? 'S' : kind(fd) == IS_FOLDER ? 'D' : 'P', file_of[fd], 0, NULL, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int ftruncate(int fd, off_t size) {
    if (kind(fd) != IS_FILE) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size), error = errno;
    if (result == 0) record('T', file_of[fd], size, NULL, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

/* No part of the server does these to a file of the folder; should one begin to, the recording would be wrong. */
int fallocate(int fd, int mode, off_t at, off_t size) {
    if (kind(fd) == IS_FILE) fail("recorder: fallocate is not recorded\n");
    return syscall(SYS_fallocate, fd, mode, at, size);
}
int fallocate64(int fd, int mode, off64_t at, off64_t size) { return fallocate(fd, mode, at, size); }
int truncate(const char *path, off_t size) {
    if (below(path)) fail("recorder: truncate is not recorded\n");
    return syscall(SYS_truncate, path, size);
}
int truncate64(const char *path, off64_t size) { return truncate(path, size); }
int link(const char *old, const char *new) {
    if (below(new)) fail("recorder: link is not recorded\n");
    return syscall(SYS_link, old, new);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags) {
    if (kind(to) == IS_FILE) fail("recorder: copy_file_range is not recorded\n");
    return syscall(SYS_copy_file_range, from, at, to, to_at, size, flags);
}

int mkdir(const char *path, mode_t mode) {
    const char *name = below(path);
    if (!name) return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (*name) fail("recorder: a folder in the folder is not recorded\n");
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_mkdirat, AT_FDCWD, path, mode), error = errno;
    if (result == 0) record('K', 0, 0, NULL, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int renamed(const char *old, const char *new, unsigned flags) {
    const char *from = below(old), *to = below(new);
    if (!from || !to) return syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, flags);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, flags), error = errno;
    if (result == 0) record('R', 0, 0, from, to, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int rename(const char *old, const char *new) { return renamed(old, new, 0); }
int renameat(int at, const char *old, int to, const char *new) {
    if (at != AT_FDCWD || to != AT_FDCWD) fail("recorder: renameat by folder is not recorded\n");
    return renamed(old, new, 0);
}
int renameat2(int at, const char *old, int to, const char *new, unsigned flags) {
    if (at != AT_FDCWD || to != AT_FDCWD) fail("recorder: renameat2 by folder is not recorded\n");
    return renamed(old, new, flags);
}

int unlink(const char *path) {
    const char *name = below(path);
    if (!name) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0), error = errno;
    if (result == 0) record('U', 0, 0, name, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int unlinkat(int at, const char *path, int flags) {
    if (at == AT_FDCWD && flags == 0) return unlink(path);
    if (kind(at) == IS_FOLDER) fail("recorder: unlinkat by folder is not recorded\n");
    return syscall(SYS_unlinkat, at, path, flags);
}
