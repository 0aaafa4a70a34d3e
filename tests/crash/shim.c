/* What a crash does to files, on purpose: loaded with LD_PRELOAD, this counts each operation that
   changes something below a folder (write, fsync, rename, unlink, truncate, mkdir, create) and, at
   the one that it was told, kills the process, fills the disk, makes it read-only or takes the
   folder away. It can also write down what was done, for tests/crash/disk.py, which tells what of
   that a power cut would have left. tests/crash/server.py arms it after a fork; a command's own
   processes are armed by the environment: CRASH_ROOT, CRASH_AT, CRASH_MODE, CRASH_LOG. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, KILL, TORN, FULL, READ_ONLY, GONE, SIGNAL };

static char root[PATH_MAX];
static size_t root_length;
static long at;
static int mode, log_fd = -1, number;
static _Atomic long count;


/* From here on, operations below `folder` count; `what` happens at the `operation`-th. */
void crash_arm(const char *folder, long operation, int what, const char *log_path, int signal_number) {
    if (!realpath(folder, root)) snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    at = operation;
    mode = what;
    number = signal_number;
    atomic_store(&count, 0);
    if (log_path && *log_path)
        log_fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

long crash_count(void) { return atomic_load(&count); }

__attribute__((constructor)) static void from_environment(void) {
    const char *folder = getenv("CRASH_ROOT");
    if (!folder) return;
    const char *n = getenv("CRASH_AT"), *what = getenv("CRASH_MODE"), *sig = getenv("CRASH_SIGNAL");
    crash_arm(folder, n ? atol(n) : 0, what ? atoi(what) : KILL, getenv("CRASH_LOG"), sig ? atoi(sig) : 0);
}

static int below(const char *path) {
    return root_length && !strncmp(path, root, root_length)
        && (path[root_length] == '/' || path[root_length] == 0);
}

/* The absolute path of an argument, with no regard to a link at its end. */
static int resolved(int folder, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (!root_length || !path) return 0;
    if (path[0] != '/') {
        char link[64];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 2);
        if (n < 0) return 0;
        base[n] = '/';
        base[n + 1] = 0;
    }
    if (strlen(base) + strlen(path) >= PATH_MAX) return 0;
    strcpy(out, base);
    strcat(out, path);
    return below(out);
}

static int of_fd(int fd, char *out) {
    char link[64];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    if (n < 0) return 0;
    out[n] = 0;
    return below(out);
}

static void note(const char *operation, const char *path, const char *other, long where,
                 const void *data, size_t length) {
    if (log_fd < 0) return;
    char line[2 * PATH_MAX + 128];
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\t%ld\t%zu\n", operation, path, other, where, length);
    struct iovec parts[2] = {{line, n}, {(void *)data, data ? length : 0}};
    syscall(SYS_writev, log_fd, parts, 2);
}

/* One operation begins. Returns what is to go wrong with it: 0, ENOSPC, EROFS, or -1 for half of a
   write and then death. `grows`: it needs space. */
static int begins(int grows) {
    long n = atomic_fetch_add(&count, 1) + 1;
    if (!mode || n < at) return 0;
    if (mode == FULL) return grows ? ENOSPC : 0;
    if (mode == READ_ONLY) return EROFS;
    if (n != at) return 0;
    if (mode == TORN && grows) return -1;
    if (mode == SIGNAL) { raise(number); return 0; }
    if (mode == GONE) {
        char other[PATH_MAX + 8];
        snprintf(other, sizeof other, "%s.gone", root);
        syscall(SYS_renameat2, AT_FDCWD, root, AT_FDCWD, other, 0);
        return 0;
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define FAIL(error) do { errno = (error); return -1; } while (0)

static ssize_t put(int fd, const void *data, size_t length, off_t where) {
    char path[PATH_MAX];
    if (!of_fd(fd, path)) goto as_ever;
    int wrong = begins(1);
    if (wrong > 0) FAIL(wrong);
    off_t place = where;
    if (log_fd >= 0 && where < 0) {
        int flags = fcntl(fd, F_GETFL);
        place = lseek(fd, 0, flags & O_APPEND ? SEEK_END : SEEK_CUR);
    }
    if (wrong) {
        length /= 2;
        if (where < 0) syscall(SYS_write, fd, data, length);
        else syscall(SYS_pwrite64, fd, data, length, where);
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    note("write", path, "", place, data, length);
as_ever:
    return where < 0 ? syscall(SYS_write, fd, data, length)
                     : syscall(SYS_pwrite64, fd, data, length, where);
}

ssize_t write(int fd, const void *data, size_t length) { return put(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t where) { return put(fd, data, length, where); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t where) { return put(fd, data, length, where); }

ssize_t writev(int fd, const struct iovec *parts, int n) {
    ssize_t done = 0;
    for (int i = 0; i < n; i++) {
        ssize_t some = put(fd, parts[i].iov_base, parts[i].iov_len, -1);
        if (some < 0) return done ? done : some;
        done += some;
        if ((size_t)some < parts[i].iov_len) break;
    }
    return done;
}

static int synced(int fd, long call) {
    char path[PATH_MAX];
    if (of_fd(fd, path)) {
        int wrong = begins(0);
        if (wrong > 0) FAIL(wrong);
        note("fsync", path, "", 0, 0, 0);
        return 0; /* a kill loses nothing that the system has, and power cuts are made of the log */
    }
    return syscall(call, fd);
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int cut(int fd, off_t length) {
    char path[PATH_MAX];
    if (of_fd(fd, path)) {
        int wrong = begins(0);
        if (wrong > 0) FAIL(wrong);
        note("truncate", path, "", length, 0, 0);
    }
    return syscall(SYS_ftruncate, fd, length);
}
int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off_t length) { return cut(fd, length); }

static int opened(int folder, const char *path, int flags, mode_t permissions) {
    char full[PATH_MAX];
    int is_new = 0, is_cut = 0;
    if ((flags & (O_CREAT | O_TRUNC | O_RDWR | O_WRONLY)) && resolved(folder, path, full)) {
        struct stat status;
        int is_there = !syscall(SYS_newfstatat, AT_FDCWD, full, &status, 0);
        is_new = !is_there && (flags & O_CREAT) && (flags & O_TMPFILE) != O_TMPFILE;
        is_cut = is_there && (flags & O_TRUNC) && status.st_size > 0;
        if (is_new || is_cut) {
            int wrong = begins(is_new);
            if (wrong > 0) FAIL(wrong);
            if (wrong) { kill(getpid(), SIGKILL); for (;;) pause(); }
        } else if (mode == READ_ONLY && count >= at && is_there && !S_ISDIR(status.st_mode)
                   && (flags & (O_RDWR | O_WRONLY))) FAIL(EROFS);
    }
    int fd = syscall(SYS_openat, folder, path, flags, permissions);
    if (fd >= 0 && is_new) note("create", full, "", 0, 0, 0);
    if (fd >= 0 && is_cut) note("truncate", full, "", 0, 0, 0);
    return fd;
}

#define PERMISSIONS \
    mode_t permissions = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        permissions = va_arg(more, int); \
        va_end(more); \
    }
int open(const char *path, int flags, ...) { PERMISSIONS return opened(AT_FDCWD, path, flags, permissions); }
int open64(const char *path, int flags, ...) { PERMISSIONS return opened(AT_FDCWD, path, flags, permissions); }
int openat(int folder, const char *path, int flags, ...) { PERMISSIONS return opened(folder, path, flags, permissions); }
int openat64(int folder, const char *path, int flags, ...) { PERMISSIONS return opened(folder, path, flags, permissions); }

static int moved(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char source[PATH_MAX], target[PATH_MAX];
    int inside = resolved(from_folder, from, source) & resolved(to_folder, to, target);
    if (inside) {
        int wrong = begins(0);
        if (wrong > 0) FAIL(wrong);
    }
    int status = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (!status && inside) note("rename", source, target, 0, 0, 0);
    return status;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return moved(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return moved(a, from, b, to, flags); }

static int removed(int folder, const char *path, int flags) {
    char full[PATH_MAX];
    struct stat status;
    int inside = resolved(folder, path, full) && !syscall(SYS_newfstatat, AT_FDCWD, full, &status, AT_SYMLINK_NOFOLLOW);
    if (inside) {
        int wrong = begins(0);
        if (wrong > 0) FAIL(wrong);
    }
    int result = syscall(SYS_unlinkat, folder, path, flags);
    if (!result && inside) note("unlink", full, "", 0, 0, 0);
    return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

static int made(int folder, const char *path, mode_t permissions) {
    char full[PATH_MAX];
    struct stat status;
    int inside = resolved(folder, path, full) && syscall(SYS_newfstatat, AT_FDCWD, full, &status, 0);
    if (inside) {
        int wrong = begins(1);
        if (wrong > 0) FAIL(wrong);
        if (wrong) { kill(getpid(), SIGKILL); for (;;) pause(); }
    }
    int result = syscall(SYS_mkdirat, folder, path, permissions);
    if (!result && inside) note("mkdir", full, "", 0, 0, 0);
    return result;
}
int mkdir(const char *path, mode_t permissions) { return made(AT_FDCWD, path, permissions); }
int mkdirat(int folder, const char *path, mode_t permissions) { return made(folder, path, permissions); }
