/* A library to preload that makes a file system and a clock misbehave, for the tests in this folder.
 *
 *     cc -shared -fPIC -O1 -o faults.so faults.c -ldl
 *     FAULTS_ROOT=/data FAULTS_LOG=/log LD_PRELOAD=./faults.so lorank ...
 *
 * FAULTS_LOG     A power cut: every change of a file below FAULTS_ROOT is logged with what it takes to undo it, and so is every
 *                sync. `power_cut.py` then undoes what was not synced, newest first, as if it had never reached the disk.
 *                Contents are kept by fsync and fdatasync of the file, names (create, rename, unlink) by fsync of the folder.
 * FAULTS_SPACE   A full disk: after so many bytes, writes below FAULTS_ROOT fail with ENOSPC.
 * FAULTS_CLOCK   A clock that jumps: the file's text is added to the real time, in seconds, and is read anew at each look.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_len;
static int log_fd = -1;
static long long space = -1;
static const char *clock_path;

/* A record: kind, inode, offset and old size, then the lengths of two texts (or of old bytes), then these. */
struct record {
    char kind;
    uint64_t inode, offset, size;
    uint32_t n_first, n_second;
} __attribute__((packed));

__attribute__((constructor)) static void begin(void) {
    const char *root_given = getenv("FAULTS_ROOT"), *log_given = getenv("FAULTS_LOG"), *space_given = getenv("FAULTS_SPACE");
    clock_path = getenv("FAULTS_CLOCK");
    if (!root_given || !realpath(root_given, root)) return;
    root_len = strlen(root);
    if (space_given) space = atoll(space_given);
    if (log_given) {
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        log_fd = real(log_given, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    }
}

static int is_below(const char *path) {
    return root_len && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

/* The path that a descriptor was opened by, if it is below the root. */
static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path);
}

/* The absolute form of a path, whose last part need not be there. */
static int resolve(int dir, const char *path, char *out) {
    char folder[PATH_MAX], whole[PATH_MAX];
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        if (dir == AT_FDCWD) {
            if (!getcwd(folder, sizeof folder)) return 0;
        } else if (!path_of(dir, folder)) {
            return 0;
        }
        if (snprintf(whole, sizeof whole, "%s/%s", folder, path) >= (int)sizeof whole) return 0;
    }
    char *last = strrchr(whole, '/');
    char name[NAME_MAX + 1];
    snprintf(name, sizeof name, "%s", last + 1);
    *last = 0;
    if (!realpath(whole[0] ? whole : "/", folder)) return 0;
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX && is_below(out);
}

static void append(struct record *record, const void *first, const void *second) {
    struct iovec parts[3] = {{record, sizeof *record}, {(void *)first, record->n_first}, {(void *)second, record->n_second}};
    ssize_t (*real)(int, const struct iovec *, int) = dlsym(RTLD_NEXT, "writev");
    if (real(log_fd, parts, 3) < 0) abort();
}

static void log_names(char kind, const char *first, const char *second, uint64_t inode) {
    struct record record = {.kind = kind, .inode = inode, .n_first = strlen(first), .n_second = second ? strlen(second) : 0};
    append(&record, first, second ? second : "");
}

/* Logs what `n` bytes at `offset` will replace. Called with the lock. */
static void log_write(int fd, off_t offset, size_t n) {
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
    size_t n_old = offset >= st.st_size ? 0 : (size_t)(st.st_size - offset) < n ? (size_t)(st.st_size - offset) : n;
    char *old = malloc(n_old + 1);
    char path[PATH_MAX];
    /* The descriptor may be for writing alone. */
    if (n_old && path_of(fd, path)) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        int reader = real(link, O_RDONLY | O_CLOEXEC);
        ssize_t n_read = reader < 0 ? 0 : pread(reader, old, n_old, offset);
        if (reader >= 0) close(reader);
        n_old = n_read < 0 ? 0 : n_read;
    } else {
        n_old = 0;
    }
    struct record record = {.kind = 'W', .inode = st.st_ino, .offset = offset, .size = st.st_size, .n_first = n_old};
    append(&record, old, "");
    free(old);
}

/* How much of a write there is space for, or -1. Called with the lock. */
static ssize_t take_space(size_t n) {
    if (space < 0) return n;
    if (space == 0 && n > 0) return -1;
    size_t taken = n < (size_t)space ? n : (size_t)space;
    space -= taken;
    return taken;
}

static ssize_t guarded(int fd, const void *bytes, size_t n, off_t offset, int has_offset) {
    ssize_t (*write_real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    ssize_t (*pwrite_real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    char path[PATH_MAX];
    if ((log_fd < 0 && space < 0) || fd == log_fd || !path_of(fd, path))
        return has_offset ? pwrite_real(fd, bytes, n, offset) : write_real(fd, bytes, n);
    pthread_mutex_lock(&lock);
    ssize_t fits = take_space(n);
    ssize_t written = -1;
    int error = ENOSPC;
    if (fits >= 0) {
        if (log_fd >= 0) {
            struct stat st;
            off_t at = has_offset ? offset : lseek(fd, 0, SEEK_CUR);
            if (!has_offset && (fcntl(fd, F_GETFL) & O_APPEND) && !fstat(fd, &st)) at = st.st_size;
            log_write(fd, at, fits);
        }
        written = has_offset ? pwrite_real(fd, bytes, fits, offset) : write_real(fd, bytes, fits);
        error = errno;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t write(int fd, const void *bytes, size_t n) { return guarded(fd, bytes, n, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) { return guarded(fd, bytes, n, offset, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset) { return guarded(fd, bytes, n, offset, 1); }

ssize_t writev(int fd, const struct iovec *parts, int n_parts) {
    REAL(writev);
    char path[PATH_MAX];
    if ((log_fd < 0 && space < 0) || fd == log_fd || !path_of(fd, path)) return real(fd, parts, n_parts);
    /* One part: a short write is allowed. */
    for (int n = 0; n < n_parts; n++)
        if (parts[n].iov_len) return guarded(fd, parts[n].iov_base, parts[n].iov_len, 0, 0);
    return 0;
}

/* Callers fall back to reads and writes, which are logged. */
ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t n, unsigned flags) {
    REAL(copy_file_range);
    char path[PATH_MAX];
    if (path_of(to, path)) {
        errno = ENOSYS;
        return -1;
    }
    return real(from, from_at, to, to_at, n, flags);
}

ssize_t sendfile64(int to, int from, off_t *offset, size_t n) {
    ssize_t (*real)(int, int, off_t *, size_t) = dlsym(RTLD_NEXT, "sendfile64");
    char path[PATH_MAX];
    if (path_of(to, path)) {
        errno = ENOSYS;
        return -1;
    }
    return real(to, from, offset, n);
}

static int truncate_to(int fd, off_t size, const char *name) {
    int (*real)(int, off_t) = dlsym(RTLD_NEXT, name);
    char path[PATH_MAX];
    if (log_fd < 0 || !path_of(fd, path)) return real(fd, size);
    pthread_mutex_lock(&lock);
    log_write(fd, size, SSIZE_MAX);
    int done = real(fd, size);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate(int fd, off_t size) { return truncate_to(fd, size, "ftruncate"); }
int ftruncate64(int fd, off_t size) { return truncate_to(fd, size, "ftruncate64"); }

static int sync_with(int fd, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    char path[PATH_MAX];
    struct stat st;
    if (log_fd < 0 || !path_of(fd, path) || fstat(fd, &st)) return real(fd);
    /* Nothing is written meanwhile, so what stands in the log before the sync was synced. */
    pthread_mutex_lock(&lock);
    int done = real(fd);
    int error = errno;
    if (done == 0) log_names(S_ISDIR(st.st_mode) ? 'D' : 'S', path, NULL, st.st_ino);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fsync(int fd) { return sync_with(fd, "fsync"); }
int fdatasync(int fd) { return sync_with(fd, "fdatasync"); }

static int open_with(const char *name, int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    struct stat st;
    int is_new = 0, is_cut = 0;
    int is_ours = log_fd >= 0 && (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE && resolve(dir, path, whole);
    if (is_ours) {
        pthread_mutex_lock(&lock);
        is_new = lstat(whole, &st) != 0;
        is_cut = !is_new && (flags & O_TRUNC) && S_ISREG(st.st_mode) && st.st_size > 0;
    }
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int (*real_at)(int, const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int is_at = strncmp(name, "openat", 6) == 0;
    int first_flags = is_cut ? flags & ~O_TRUNC : flags;
    int fd = is_at ? real_at(dir, path, first_flags, mode) : real(path, first_flags, mode);
    int error = errno;
    if (is_ours) {
        if (fd >= 0 && is_new && !fstat(fd, &st)) log_names('C', whole, NULL, st.st_ino);
        pthread_mutex_unlock(&lock);
        if (fd >= 0 && is_cut) ftruncate(fd, 0);
    }
    errno = error;
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *path, int flags, ...) { MODE return open_with("open", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_with("open64", AT_FDCWD, path, flags, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE return open_with("openat", dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE return open_with("openat64", dir, path, flags, mode); }

/* Keeps what a name stood for, so that it can come back: a second link, in a folder beside the log. */
static uint64_t keep(const char *path) {
    struct stat st;
    char kept[PATH_MAX];
    if (lstat(path, &st) || !S_ISREG(st.st_mode)) return 0;
    snprintf(kept, sizeof kept, "%s.kept/%llu", getenv("FAULTS_LOG"), (unsigned long long)st.st_ino);
    if (link(path, kept) && errno != EEXIST) return 0;
    return st.st_ino;
}

static int rename_with(int from_dir, const char *from, int to_dir, const char *to, unsigned flags, int kind) {
    int (*plain)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    int (*at)(int, const char *, int, const char *) = dlsym(RTLD_NEXT, "renameat");
    int (*at2)(int, const char *, int, const char *, unsigned) = dlsym(RTLD_NEXT, "renameat2");
    char whole_from[PATH_MAX], whole_to[PATH_MAX];
    int is_ours = log_fd >= 0 && resolve(from_dir, from, whole_from) && resolve(to_dir, to, whole_to);
    uint64_t old = 0;
    if (is_ours) {
        pthread_mutex_lock(&lock);
        old = keep(whole_to);
    }
    int done = kind == 0 ? plain(from, to) : kind == 1 ? at(from_dir, from, to_dir, to) : at2(from_dir, from, to_dir, to, flags);
    int error = errno;
    if (is_ours) {
        if (done == 0) log_names('R', whole_from, whole_to, old);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return done;
}

int rename(const char *from, const char *to) { return rename_with(AT_FDCWD, from, AT_FDCWD, to, 0, 0); }
int renameat(int a, const char *from, int b, const char *to) { return rename_with(a, from, b, to, 0, 1); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return rename_with(a, from, b, to, flags, 2); }

static int unlink_with(int dir, const char *path, int flags, int is_at) {
    int (*plain)(const char *) = dlsym(RTLD_NEXT, "unlink");
    int (*at)(int, const char *, int) = dlsym(RTLD_NEXT, "unlinkat");
    char whole[PATH_MAX];
    uint64_t old = 0;
    int is_ours = log_fd >= 0 && !(flags & AT_REMOVEDIR) && resolve(dir, path, whole);
    if (is_ours) {
        pthread_mutex_lock(&lock);
        old = keep(whole);
    }
    int done = is_at ? at(dir, path, flags) : plain(path);
    int error = errno;
    if (is_ours) {
        if (done == 0 && old) log_names('U', whole, NULL, old);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return done;
}

int unlink(const char *path) { return unlink_with(AT_FDCWD, path, 0, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlink_with(dir, path, flags, 1); }

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int done = real(clock, time);
    if (done == 0 && clock_path && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int (*open_real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        char text[32] = {0};
        int fd = open_real(clock_path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            if (read(fd, text, sizeof text - 1) > 0) time->tv_sec += atoll(text);
            close(fd);
        }
    }
    return done;
}
