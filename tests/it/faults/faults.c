/* A disk with faults, for the files of a store: for tests that ask what becomes of them.
 *
 * Preloaded. FAULT is the kind, FAULT_AT the number of the call that it strikes, from 0, among those of its kind:
 *   eio-write, eio-sync, eio-read   the call fails with EIO, once
 *   erofs, enospc                   this write and the next hundred fail: the file system is read-only, or full
 *   short                           half is written, as write(2) may
 *   lost                            nothing is written, and all is said to be: a flush that lied, at the next cut
 *   misdirected                     it is written one sector further on
 *   stale                           what is read is zeros: what was there before
 *   emfile                          this open and the next twenty fail: no file descriptors
 *   readonly                        as long as there is a file FAULT_SWITCH, no file in a folder state takes anything: its
 *                                   file system has become read-only under a process that has files open
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(type, name, ...)                                        \
    static type (*real)(__VA_ARGS__);                                \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int is(const char *kind) {
    const char *fault = getenv("FAULT");
    return fault && strcmp(fault, kind) == 0;
}

static int of_store(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, "/store/") != 0;
}

/* Whether this path cannot be written now. */
static int is_readonly(const char *path) {
    const char *given = getenv("FAULT_SWITCH");
    return is("readonly") && given && strstr(path, "/state/") && syscall(SYS_faccessat, AT_FDCWD, given, F_OK) == 0;
}

static int is_readonly_fd(int fd) {
    char link[64], path[4096];
    if (!is("readonly")) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_readonly(path);
}

/* Whether the call that counts now is one of `count` from FAULT_AT on. */
static int strikes(atomic_long *counter, long count) {
    long number = atomic_fetch_add(counter, 1), at = atol(getenv("FAULT_AT") ? getenv("FAULT_AT") : "0");
    return number >= at && number < at + count;
}

static atomic_long writes, syncs, reads, opens;

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off64_t), int fd, const void *data, size_t length, off64_t place) {
    if (is("eio-write") && strikes(&writes, 1)) return errno = EIO, -1;
    if (is("erofs") && strikes(&writes, 100)) return errno = EROFS, -1;
    if (is("enospc") && strikes(&writes, 100)) return errno = ENOSPC, -1;
    if (is("short") && length > 1 && strikes(&writes, 1)) return real(fd, data, length / 2, place);
    if (is("lost") && strikes(&writes, 1)) return length;
    if (is("misdirected") && strikes(&writes, 1)) return real(fd, data, length, place + 512);
    return real(fd, data, length, place);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t place) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    if (is_readonly_fd(fd)) return errno = EROFS, -1;
    return of_store(fd) ? write_at(real, fd, data, length, place) : real(fd, data, length, place);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t place) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off64_t);
    if (is_readonly_fd(fd)) return errno = EROFS, -1;
    return of_store(fd) ? write_at(real, fd, data, length, place) : real(fd, data, length, place);
}

static ssize_t read_at(ssize_t (*real)(int, void *, size_t, off64_t), int fd, void *data, size_t length, off64_t place) {
    if (is("eio-read") && strikes(&reads, 1)) return errno = EIO, -1;
    ssize_t got = real(fd, data, length, place);
    if (got > 0 && is("stale") && strikes(&reads, 1)) memset(data, 0, got);
    return got;
}

ssize_t pread64(int fd, void *data, size_t length, off64_t place) {
    REAL(ssize_t, "pread64", int, void *, size_t, off64_t);
    return of_store(fd) ? read_at(real, fd, data, length, place) : real(fd, data, length, place);
}

ssize_t pread(int fd, void *data, size_t length, off_t place) {
    REAL(ssize_t, "pread", int, void *, size_t, off64_t);
    return of_store(fd) ? read_at(real, fd, data, length, place) : real(fd, data, length, place);
}

#define SYNC(name)                                                                       \
    int name(int fd) {                                                                   \
        REAL(int, #name, int);                                                           \
        if (is("eio-sync") && of_store(fd) && strikes(&syncs, 1)) return errno = EIO, -1; \
        return real(fd);                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

#define OPEN(name)                                                                                          \
    int name(const char *path, int flags, ...) {                                                            \
        REAL(int, #name, const char *, int, ...);                                                           \
        va_list rest;                                                                                       \
        va_start(rest, flags);                                                                              \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                             \
        va_end(rest);                                                                                       \
        if (is("emfile") && strstr(path, "/store/") && strikes(&opens, 20)) return errno = EMFILE, -1;      \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT) && is_readonly(path)) return errno = EROFS, -1;           \
        return real(path, flags, mode);                                                                     \
    }
OPEN(open)
OPEN(open64)
