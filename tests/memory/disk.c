/* Preloaded into the program by the tests of `disk.rs`: a disk that says no.
 *
 * OMNIZAP_TEST_DISK names a file that says what fails from now on, in lines of
 *     WHAT ERRNO AFTER
 * WHAT is write, sync, truncate, or room for what would make a file longer; AFTER is how many of
 * those pass before, counted anew whenever the file says something else. ERRNO -1 of a write means
 * that half of it is written, and that there is no room for the next. Only files with
 * OMNIZAP_TEST_DISK_OF in their names are meant.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char said[512];
static long passed[4];
static const char *const names[4] = {"write", "sync", "truncate", "room"};

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

/* The error where a file would be made longer than it is. */
static int has_no_room(int fd, off64_t end) {
    int keep = errno, found = 0;
    struct stat64 is;
    if (is_meant(fd) && fstat64(fd, &is) == 0 && S_ISREG(is.st_mode) && end > is.st_size)
        found = fault(3);
    errno = keep;
    return found;
}

/* What is to become of a write. */
static int is_writing(int fd, off64_t at, size_t length) {
    int error = is_failing(0, fd);
    return error != 0 ? error : has_no_room(fd, at + (off64_t)length);
}

static off64_t here(int fd) {
    struct stat64 is;
    int flags = fcntl(fd, F_GETFL);
    if (flags != -1 && (flags & O_APPEND) && fstat64(fd, &is) == 0) return is.st_size;
    return lseek64(fd, 0, SEEK_CUR);
}

static size_t sum(const struct iovec *parts, int count) {
    size_t length = 0;
    while (count-- > 0) length += parts[count].iov_len;
    return length;
}

ssize_t write(int fd, const void *data, size_t length) {
    int keep = errno, error = is_meant(fd) ? is_writing(fd, here(fd), length) : 0;
    errno = keep;
    if (error == -1) return REAL(write)(fd, data, length > 1 ? length / 2 : length);
    if (error != 0) { errno = error; return -1; }
    return REAL(write)(fd, data, length);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    int error = is_writing(fd, at, length);
    if (error == -1) return REAL(pwrite)(fd, data, length > 1 ? length / 2 : length, at);
    if (error != 0) { errno = error; return -1; }
    return REAL(pwrite)(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    int error = is_writing(fd, at, length);
    if (error == -1) return REAL(pwrite64)(fd, data, length > 1 ? length / 2 : length, at);
    if (error != 0) { errno = error; return -1; }
    return REAL(pwrite64)(fd, data, length, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    int error = is_writing(fd, at, sum(parts, count));
    if (error != 0) { errno = error == -1 ? ENOSPC : error; return -1; }
    return REAL(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    int error = is_writing(fd, at, sum(parts, count));
    if (error != 0) { errno = error == -1 ? ENOSPC : error; return -1; }
    return REAL(pwritev64)(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t length) {
    int error = has_no_room(fd, at + length);
    return error != 0 ? error : REAL(posix_fallocate)(fd, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    int error = has_no_room(fd, at + length);
    return error != 0 ? error : REAL(posix_fallocate64)(fd, at, length);
}

int fallocate(int fd, int mode, off_t at, off_t length) {
    int error = has_no_room(fd, at + length);
    if (error != 0) { errno = error; return -1; }
    return REAL(fallocate)(fd, mode, at, length);
}

int fallocate64(int fd, int mode, off64_t at, off64_t length) {
    int error = has_no_room(fd, at + length);
    if (error != 0) { errno = error; return -1; }
    return REAL(fallocate64)(fd, mode, at, length);
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
    if (error == 0) error = has_no_room(fd, length);
    if (error != 0) { errno = error; return -1; }
    return REAL(ftruncate)(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    int error = is_failing(2, fd);
    if (error == 0) error = has_no_room(fd, length);
    if (error != 0) { errno = error; return -1; }
    return REAL(ftruncate64)(fd, length);
}
