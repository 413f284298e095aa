/* Makes the disk slow: for tests of what the daemon does meanwhile.
 *
 * Preloaded. SLOW_SYNC names a file with a number of milliseconds, for which each sync takes longer while the file is
 * there. After "once" behind the number the file is removed by the first sync.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void wait_if_slow(void) {
    const char *name = getenv("SLOW_SYNC");
    FILE *file = name ? fopen(name, "r") : NULL;
    if (!file) return;
    long millis = 0;
    char word[8] = "";
    if (fscanf(file, "%ld %7s", &millis, word) < 1) millis = 0;
    fclose(file);
    if (strcmp(word, "once") == 0 && unlink(name) != 0) return;
    struct timespec rest = {millis / 1000, millis % 1000 * 1000000};
    nanosleep(&rest, NULL);
}

int fdatasync(int fd) {
    wait_if_slow();
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}

int fsync(int fd) {
    wait_if_slow();
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}
