/* Preloaded into the program by the tests of `disk.rs`: a disk that says no.
 *
 * OMNIZAP_TEST_DISK names a file that says what fails from now on, in lines of
 *     WHAT ERRNO AFTER
 * WHAT is write, sync or truncate; AFTER is how many of those pass before, counted anew whenever
 * the file says something else. ERRNO -1 of a write means that half of it is written, and
 * that there is no room for the next. Only files with OMNIZAP_TEST_DISK_OF in their names are
 * meant.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char said[512];
static long passed[3];
static const char *const names[3] = {"write", "sync", "truncate"};

static int is_meant(int fd) {
    const char *of = getenv("OMNIZAP_TEST_DISK_OF");
    char link[64], path[4096];
    ssize_t length;
    if (of == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, of) != NULL;
}

/* The error that this call is to fail with, 0 for none. Past our own functions, which would ask
 * again. */
static int fault(int what) {
    const char *control = getenv("OMNIZAP_TEST_DISK");
    char now[sizeof said] = {0};
    char *line, *rest;
    int found = 0;
    long fd;
    if (control == NULL) return 0;
    fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    if (syscall(SYS_read, fd, now, sizeof now - 1) < 0) now[0] = 0;
    syscall(SYS_close, fd);
    pthread_mutex_lock(&turn);
    if (strcmp(now, said) != 0) {
        memcpy(said, now, sizeof said);
        memset(passed, 0, sizeof passed);
    }
    for (line = strtok_r(now, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char name[16];
        int error;
        long after, number;
        if (sscanf(line, "%15s %d %ld", name, &error, &after) != 3 || strcmp(name, names[what]) != 0)
            continue;
        number = passed[what]++;
        if (number >= after) found = error == -1 && (number - after) % 2 == 1 ? ENOSPC : error;
    }
    pthread_mutex_unlock(&turn);
    return found;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_failing(int what, int fd) {
    int keep = errno, found;
    found = is_meant(fd) ? fault(what) : 0;
    errno = keep;
    return found;
}

ssize_t write(int fd, const void *data, size_t length) {
    int error = is_failing(0, fd);
    if (error == -1) return REAL(write)(fd, data, length > 1 ? length / 2 : length);
    if (error != 0) { errno = error; return -1; }
    return REAL(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    int error = is_failing(0, fd);
    if (error == -1) return REAL(pwrite)(fd, data, length > 1 ? length / 2 : length, at);
    if (error != 0) { errno = error; return -1; }
    return REAL(pwrite)(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    int error = is_failing(0, fd);
    if (error == -1) return REAL(pwrite64)(fd, data, length > 1 ? length / 2 : length, at);
    if (error != 0) { errno = error; return -1; }
    return REAL(pwrite64)(fd, data, length, at);
}

int fsync(int fd) {
    int error = is_failing(1, fd);
    if (error != 0) { errno = error; return -1; }
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    int error = is_failing(1, fd);
    if (error != 0) { errno = error; return -1; }
    return REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t length) {
    int error = is_failing(2, fd);
    if (error != 0) { errno = error; return -1; }
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    int error = is_failing(2, fd);
    if (error != 0) { errno = error; return -1; }
    return REAL(ftruncate64)(fd, length);
}
