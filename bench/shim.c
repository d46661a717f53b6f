/* Counts what a process syncs and writes, for the benchmark: LD_PRELOAD of this library.
 *
 * SQLite writes its files with pwrite and syncs them with fdatasync or fsync; sockets and logs use
 * other calls and are not counted. The counts stand in a file that is named by BENCH_COUNTS and
 * mapped shared, so that the process can read its own counts at any moment.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

struct counts {
    uint64_t syncs;
    uint64_t writes;
    uint64_t written_bytes;
};

static struct counts nowhere;
static struct counts *counts = &nowhere;

static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);

__attribute__((constructor)) static void start(void)
{
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    const char *path = getenv("BENCH_COUNTS");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        counts = mapped;
}

static void add(uint64_t *count, uint64_t amount)
{
    __atomic_fetch_add(count, amount, __ATOMIC_RELAXED);
}

int fsync(int file)
{
    add(&counts->syncs, 1);
    return real_fsync(file);
}

int fdatasync(int file)
{
    add(&counts->syncs, 1);
    return real_fdatasync(file);
}

static ssize_t counted(ssize_t written)
{
    if (written > 0) {
        add(&counts->writes, 1);
        add(&counts->written_bytes, (uint64_t)written);
    }
    return written;
}

ssize_t pwrite(int file, const void *from, size_t size, off_t at)
{
    return counted(real_pwrite(file, from, size, at));
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at)
{
    return counted(real_pwrite64(file, from, size, at));
}
