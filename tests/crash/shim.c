/* What a disk and a power supply may do to a database, played by a preloaded library.
 *
 * It stands between the daemon and the C library and looks only at one database: the file named by
 * SHIM_DATABASE, its "-wal" and its "-journal", and the folder that they are in. Everything is
 * chosen by the environment:
 *
 *   SHIM_DATABASE=path   the database, absolute and without symbolic links
 *   SHIM_COUNT=path      keeps the number of syncs so far in this file, as text
 *   SHIM_KILL_SYNC=n     kills the process with SIGKILL at the n-th sync, counted from 1 ...
 *   SHIM_KILL_WHEN=w     ... "before" it is done (the default) or "after"
 *   SHIM_UNDO=path       writes down what is needed to take back every change, see below
 *   SHIM_FULL=path       while that file exists, what makes a file grow fails with ENOSPC
 *   SHIM_EIO=path        while that file exists, syncs fail with EIO
 *
 * Which calls SQLite makes was taken from its source (os_unix.c, the table aSyscall) and checked
 * with strace: pwrite, ftruncate, fdatasync and fsync, unlink, open; changes to the "-shm" file are
 * not followed, because it means nothing after a restart of the machine.
 *
 * The undo log is a sequence of records, each a line of text and then raw bytes, written before the
 * change that it takes back:
 *
 *   W name offset size length old\n<old bytes>   a write; the file had `size` bytes before
 *   T name size wanted old\n<old bytes>          a change of the file's length
 *   C name\n                                     the file was created
 *   U name number\n                              it was unlinked; a link to it is kept beside the log
 *   S name position\n                            it was synced; the log had `position` bytes then
 *   D position\n                                 so was the folder
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { OTHER, TRACKED, INDEX, FOLDER };

static char database[PATH_MAX];
static char folder[PATH_MAX];
static const char *base; /* name of the database in its folder */
static const char *full_control;
static const char *eio_control;
static const char *undo_path;
static long kill_sync;
static int kill_after;
static int count_file = -1;
static int undo_file = -1;
static long syncs;
static long kept;
static off_t undo_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);

static void die(const char *what) {
    dprintf(STDERR_FILENO, "shim: %s: %s\n", what, strerror(errno));
    abort();
}

static void *find(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        dprintf(STDERR_FILENO, "shim: the C library has no %s\n", name);
        abort();
    }
    return found;
}

__attribute__((constructor)) static void begin(void) {
    real_write = find("write");
    real_pwrite = find("pwrite64");
    real_ftruncate = find("ftruncate64");
    real_fsync = find("fsync");
    real_fdatasync = find("fdatasync");
    real_unlink = find("unlink");
    real_open = find("open64");
    real_openat = find("openat64");
    const char *path = getenv("SHIM_DATABASE");
    if (path == NULL) return;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        errno = EINVAL;
        die("SHIM_DATABASE");
    }
    *slash = '\0';
    snprintf(database, sizeof database, "%s", path);
    base = strrchr(database, '/') + 1;
    full_control = getenv("SHIM_FULL");
    eio_control = getenv("SHIM_EIO");
    undo_path = getenv("SHIM_UNDO");
    const char *when = getenv("SHIM_KILL_WHEN");
    kill_after = when != NULL && strcmp(when, "after") == 0;
    const char *number = getenv("SHIM_KILL_SYNC");
    kill_sync = number != NULL ? atol(number) : 0;
    const char *count = getenv("SHIM_COUNT");
    if (count != NULL) {
        count_file = real_open(count, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (count_file < 0) die(count);
    }
    if (undo_path != NULL) {
        undo_file = real_open(undo_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (undo_file < 0) die(undo_path);
        undo_size = lseek(undo_file, 0, SEEK_END);
    }
}

/* What a path is to the database; *name is set to the name of a tracked file. */
static enum kind kind_of(const char *path, const char **name) {
    if (base == NULL) return OTHER;
    if (strcmp(path, folder) == 0) return FOLDER;
    size_t length = strlen(database);
    if (strncmp(path, database, length) != 0) return OTHER;
    const char *suffix = path + length;
    *name = path + (base - database);
    if (*suffix == '\0' || strcmp(suffix, "-wal") == 0 || strcmp(suffix, "-journal") == 0)
        return TRACKED;
    return strcmp(suffix, "-shm") == 0 ? INDEX : OTHER;
}

static enum kind kind_of_file(int file, char path[PATH_MAX], const char **name) {
    if (base == NULL) return OTHER;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return OTHER;
    path[length] = '\0';
    return kind_of(path, name);
}

static int is_set(const char *control) { return control != NULL && access(control, F_OK) == 0; }

static off_t size_of(int file) {
    struct stat found;
    return fstat(file, &found) == 0 ? found.st_size : 0;
}

static void append(const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = real_write(undo_file, (const char *)bytes + done, length - done);
        if (wrote < 0) die("undo log");
        done += (size_t)wrote;
    }
    undo_size += (off_t)length;
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    char line[PATH_MAX + 128];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    append(line, (size_t)length);
}

/* Note the bytes from `offset` on that a change is about to destroy. */
static void note_old(char record, int file, const char *name, off_t offset, off_t length) {
    if (undo_file < 0) return;
    int before = errno;
    off_t size = size_of(file);
    off_t end = record == 'T' ? size : offset + length;
    if (end > size) end = size;
    size_t old = end > offset ? (size_t)(end - offset) : 0;
    char *bytes = malloc(old + 1);
    if (bytes == NULL) die("malloc");
    /* SQLite may have opened the file for writing only in theory; pread needs the right to read. */
    if (old > 0 && pread(file, bytes, old, offset) != (ssize_t)old) die("pread");
    pthread_mutex_lock(&lock);
    if (record == 'T')
        note("T %s %lld %lld %zu\n", name, (long long)size, (long long)offset, old);
    else
        note("W %s %lld %lld %lld %zu\n", name, (long long)offset, (long long)size,
             (long long)length, old);
    append(bytes, old);
    pthread_mutex_unlock(&lock);
    free(bytes);
    errno = before;
}

static ssize_t write_at(int file, const void *bytes, size_t length, off64_t offset) {
    char path[PATH_MAX];
    const char *name;
    enum kind kind = kind_of_file(file, path, &name);
    if (kind == TRACKED || kind == INDEX) {
        if (is_set(full_control) && offset + (off64_t)length > size_of(file)) {
            errno = ENOSPC;
            return -1;
        }
        if (kind == TRACKED) note_old('W', file, name, offset, (off_t)length);
    }
    return real_pwrite(file, bytes, length, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return write_at(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    return write_at(file, bytes, length, offset);
}

/* SQLite does not write the database without an offset; if another version does, tests must not
 * pass by not seeing it. */
ssize_t write(int file, const void *bytes, size_t length) {
    char path[PATH_MAX];
    const char *name;
    if (real_write == NULL) begin();
    if (kind_of_file(file, path, &name) == TRACKED) {
        errno = ENOSYS;
        die("write() on the database");
    }
    return real_write(file, bytes, length);
}

static int change_length(int file, off64_t length) {
    char path[PATH_MAX];
    const char *name;
    enum kind kind = kind_of_file(file, path, &name);
    if (kind == TRACKED || kind == INDEX) {
        if (is_set(full_control) && length > size_of(file)) {
            errno = ENOSPC;
            return -1;
        }
        if (kind == TRACKED) note_old('T', file, name, length, 0);
    }
    return real_ftruncate(file, length);
}

int ftruncate(int file, off_t length) { return change_length(file, length); }

int ftruncate64(int file, off64_t length) { return change_length(file, length); }

static void die_at(long number, int is_after) {
    if (number != kill_sync || is_after != kill_after) return;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int sync_file(int file, int (*real)(int)) {
    char path[PATH_MAX];
    const char *name = NULL;
    enum kind kind = kind_of_file(file, path, &name);
    if (kind != TRACKED && kind != FOLDER) return real(file);
    pthread_mutex_lock(&lock);
    long number = ++syncs;
    off_t position = undo_size;
    if (count_file >= 0) {
        char text[32];
        int length = snprintf(text, sizeof text, "%ld\n", number);
        if (real_pwrite(count_file, text, (size_t)length, 0) != length) die("count");
    }
    pthread_mutex_unlock(&lock);
    die_at(number, 0);
    if (is_set(eio_control)) {
        errno = EIO;
        return -1;
    }
    int result = real(file);
    /* From here on the bytes are on the disk; nobody has been told yet. */
    if (result == 0 && undo_file >= 0) {
        pthread_mutex_lock(&lock);
        if (kind == FOLDER)
            note("D %lld\n", (long long)position);
        else
            note("S %s %lld\n", name, (long long)position);
        pthread_mutex_unlock(&lock);
    }
    die_at(number, 1);
    return result;
}

int fsync(int file) { return sync_file(file, real_fsync); }

int fdatasync(int file) { return sync_file(file, real_fdatasync); }

int unlink(const char *path) {
    const char *name;
    if (undo_file >= 0 && kind_of(path, &name) == TRACKED && access(path, F_OK) == 0) {
        char beside[PATH_MAX];
        pthread_mutex_lock(&lock);
        /* Several processes may write one log after the other. */
        long number = getpid() * 1000L + ++kept;
        snprintf(beside, sizeof beside, "%s.%ld", undo_path, number);
        if (link(path, beside) != 0) die(beside);
        note("U %s %ld\n", name, number);
        pthread_mutex_unlock(&lock);
    }
    return real_unlink(path);
}

/* Note a file that is about to be created. */
static void before_open(const char *path, int flags) {
    const char *name;
    if (undo_file < 0 || (flags & O_CREAT) == 0) return;
    int before = errno;
    if (kind_of(path, &name) == TRACKED && access(path, F_OK) != 0) {
        pthread_mutex_lock(&lock);
        note("C %s\n", name);
        pthread_mutex_unlock(&lock);
    }
    errno = before;
}

static mode_t mode_of(int flags, va_list values) {
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(values, mode_t) : 0;
}

#define OPEN(function)                                  \
    int function(const char *path, int flags, ...) {    \
        va_list values;                                 \
        va_start(values, flags);                        \
        mode_t mode = mode_of(flags, values);           \
        va_end(values);                                 \
        if (real_open == NULL) begin();                 \
        before_open(path, flags);                       \
        return real_open(path, flags, mode);            \
    }

#define OPENAT(function)                                       \
    int function(int at, const char *path, int flags, ...) {   \
        va_list values;                                        \
        va_start(values, flags);                               \
        mode_t mode = mode_of(flags, values);                  \
        va_end(values);                                        \
        if (real_openat == NULL) begin();                      \
        before_open(path, flags);                              \
        return real_openat(at, path, flags, mode);             \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
