/* A disk that fails on demand: preloaded with LD_PRELOAD, it lets writes or fsyncs of the files below a folder fail while a
 * file beside the folder says which: "writes" fail as on a read-only file system, "syncs" as on a broken disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* Whether calls of this kind fail now for this file. */
static int fails(const char *kind, int fd) {
    const char *folder = getenv("INGLE_FAIL_FOLDER"), *control = getenv("INGLE_FAIL_CONTROL");
    char link[64], path[4096], text[16] = "";
    if (!folder || !control) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    ssize_t length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (length <= 0 || strcmp(text, kind) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    size_t end = strlen(folder);
    return strncmp(path, folder, end) == 0 && (path[end] == '/' || path[end] == 0);
}

#define FAILING(result, name, kind, error, parameters, arguments)                 \
    result name parameters {                                                      \
        static result(*original) parameters;                                      \
        if (!original) original = (result(*) parameters) dlsym(RTLD_NEXT, #name); \
        if (fails(kind, fd)) {                                                    \
            errno = error;                                                        \
            return -1;                                                            \
        }                                                                         \
        return original arguments;                                                \
    }

FAILING(ssize_t, write, "writes", EROFS, (int fd, const void *bytes, size_t count), (fd, bytes, count))
FAILING(ssize_t, pwrite, "writes", EROFS, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at))
FAILING(ssize_t, pwrite64, "writes", EROFS, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at))
FAILING(int, ftruncate, "writes", EROFS, (int fd, off_t length), (fd, length))
FAILING(int, ftruncate64, "writes", EROFS, (int fd, off64_t length), (fd, length))
FAILING(int, fsync, "syncs", EIO, (int fd), (fd))
FAILING(int, fdatasync, "syncs", EIO, (int fd), (fd))
