/* Records what a process does to the files below a folder, in order: for tests that cut the power.
 *
 * Preloaded. RECORD_ROOT is the folder, RECORD_LOG the file that the recording is appended to. A record is a letter, the
 * inode, an offset or length, the length of the data, and the data; all numbers are 64-bit little-endian.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(type, name, ...)                                        \
    static type (*real)(__VA_ARGS__);                                \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int below(const char *path) {
    const char *root = getenv("RECORD_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static uint64_t inode_of(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 ? about.st_ino : 0;
}

/* The caller holds the lock. */
static void record(char what, uint64_t inode, uint64_t place, const void *data, uint64_t length) {
    static int log = -1;
    if (log < 0) log = syscall(SYS_openat, AT_FDCWD, getenv("RECORD_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    char head[25];
    head[0] = what;
    memcpy(head + 1, &inode, 8);
    memcpy(head + 9, &place, 8);
    memcpy(head + 17, &length, 8);
    syscall(SYS_write, log, head, sizeof head);
    for (uint64_t done = 0; done < length;) {
        ssize_t written = syscall(SYS_write, log, (const char *)data + done, length - done);
        if (written <= 0) abort();
        done += written;
    }
}

static int opened(int folder, const char *name, int flags, mode_t mode) {
    char path[8192];
    if (name[0] == '/' || folder == AT_FDCWD) {
        snprintf(path, sizeof path, "%s", name);
    } else {
        char parent[4096] = "";
        path_of(folder, parent);
        snprintf(path, sizeof path, "%s/%s", parent, name);
    }
    if (!below(path) || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_DIRECTORY))
        return syscall(SYS_openat, folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = inode_of(path) != 0;
    int fd = syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0 && !existed) record('c', inode_of(path), 0, path, strlen(path));
    if (fd >= 0 && existed && (flags & O_TRUNC)) record('t', inode_of(path), 0, "", 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                \
    int name(const char *path, int flags, ...) {  \
        va_list more;                             \
        va_start(more, flags);                    \
        mode_t mode = va_arg(more, mode_t);       \
        va_end(more);                             \
        return opened(AT_FDCWD, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                         \
    int name(int folder, const char *path, int flags, ...) { \
        va_list more;                                        \
        va_start(more, flags);                               \
        mode_t mode = va_arg(more, mode_t);                  \
        va_end(more);                                        \
        return opened(folder, path, flags, mode);            \
    }
OPENAT(openat)
OPENAT(openat64)

static ssize_t written(int fd, const void *data, size_t length, off64_t place, int has_place) {
    char path[4096];
    struct stat about;
    int ours = path_of(fd, path) && fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
    if (!ours) return has_place ? syscall(SYS_pwrite64, fd, data, length, place) : syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&lock);
    if (!has_place) place = lseek(fd, 0, SEEK_CUR);
    ssize_t done = has_place ? syscall(SYS_pwrite64, fd, data, length, place) : syscall(SYS_write, fd, data, length);
    if (done > 0) record('w', about.st_ino, place, data, done);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *data, size_t length) { return written(fd, data, length, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t place) { return written(fd, data, length, place, 1); }
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t place) { return written(fd, data, length, place, 1); }

static int synced(int fd, int number) {
    char path[4096];
    struct stat about;
    if (!path_of(fd, path) || fstat(fd, &about) != 0) return syscall(number, fd);
    pthread_mutex_lock(&lock);
    int result = syscall(number, fd);
    if (result == 0) record('s', about.st_ino, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int cut(int fd, off64_t length) {
    char path[4096];
    struct stat about;
    if (!path_of(fd, path) || fstat(fd, &about) != 0) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    if (result == 0) record('t', about.st_ino, length, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off64_t length) { return cut(fd, length); }

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (!below(from)) return real(from, to);
    pthread_mutex_lock(&lock);
    int result = real(from, to);
    char both[8192];
    int length = snprintf(both, sizeof both, "%s\n%s", from, to);
    if (result == 0) record('r', 0, 0, both, length);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (!below(path)) return real(path, mode);
    pthread_mutex_lock(&lock);
    int result = real(path, mode);
    if (result == 0) record('m', inode_of(path), 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return result;
}

static int removed(const char *path, int result) {
    if (result == 0) record('u', 0, 0, path, strlen(path));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    if (!below(path)) return real(path);
    pthread_mutex_lock(&lock);
    return removed(path, real(path));
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    if (!below(path)) return real(path);
    pthread_mutex_lock(&lock);
    return removed(path, real(path));
}

int unlinkat(int folder, const char *name, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char path[8192], parent[4096];
    if (name[0] == '/' || folder == AT_FDCWD) {
        snprintf(path, sizeof path, "%s", name);
    } else if (path_of(folder, parent)) {
        snprintf(path, sizeof path, "%s/%s", parent, name);
    } else {
        return real(folder, name, flags);
    }
    if (!below(path)) return real(folder, name, flags);
    pthread_mutex_lock(&lock);
    return removed(path, real(folder, name, flags));
}
