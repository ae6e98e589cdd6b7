/* Preloaded into every process of a run: counts what it changes below the project, and lets it fail at a chosen change.
 *
 * The plan and the counters lie in a file that all processes of the run map (struct shared, mirrored by interposer.py).
 * A change is one call of write, rename, unlink, fsync, truncate, mkdir, link or of open that creates or empties a file.
 * The phase of the run follows from the lines that the command prints on standard error, like "version ...".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, DIE, TORN, FULL };
enum { PHASES = 16, NAME = 32, TEXT = 512 };

struct shared {
    int32_t mode;         /* one of the above */
    int32_t all;          /* once it has fired, every other process of the run dies at its next change */
    int32_t wanted;       /* phase in which it fires */
    int32_t occurrence;   /* of that phase: the first is 1 */
    int64_t k;            /* the change of that phase at which it fires: the first is 1 */
    int64_t total;        /* changes so far */
    int64_t changes;      /* in the present phase */
    int32_t phase;        /* the present phase; 0 before the first line */
    int32_t lines;        /* lines so far that began a phase */
    int32_t fired;        /* id of the process that it hit; 0 before */
    int32_t seen[PHASES]; /* how often each phase has begun */
    int64_t most[PHASES]; /* changes in the longest of them */
    char names[PHASES][NAME];
    char prefix[TEXT];    /* the project */
    char what[TEXT];      /* the call and the path at which it fired */
};

static struct shared *plan;

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void chaos_map(const char *file) {
    REAL(int, "open", const char *, int, ...);
    int fd = real(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED) plan = found;
}

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("CHAOS_FILE");
    if (file && *file) chaos_map(file);
}

static int below(const char *path) {
    size_t length = strlen(plan->prefix);
    return length && !strncmp(path, plan->prefix, length) && (path[length] == '/' || !path[length]);
}

static void of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, TEXT - 1);
    path[length < 0 ? 0 : length] = 0;
}

static void absolute(int folder, const char *name, char *path) {
    if (name[0] == '/') { snprintf(path, TEXT, "%s", name); return; }
    char base[TEXT];
    if (folder == AT_FDCWD) { if (!getcwd(base, TEXT)) base[0] = 0; }
    else of_fd(folder, base);
    if (snprintf(path, TEXT, "%s/%s", base, name) >= TEXT) path[TEXT - 1] = 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Count one change; returns the mode if it has to fail. */
static int change(const char *call, const char *path) {
    if (!below(path)) return COUNT;
    if (plan->fired && plan->all) die();
    __atomic_add_fetch(&plan->total, 1, __ATOMIC_SEQ_CST);
    int64_t now = __atomic_add_fetch(&plan->changes, 1, __ATOMIC_SEQ_CST);
    int phase = plan->phase;
    if (now > plan->most[phase]) plan->most[phase] = now;
    if (plan->mode == FULL && plan->fired) return FULL;
    if (plan->mode == COUNT || phase != plan->wanted || plan->seen[phase] != plan->occurrence || now != plan->k)
        return COUNT;
    snprintf(plan->what, TEXT, "%s %s", call, path + strlen(plan->prefix));
    plan->fired = getpid();
    if (plan->mode == DIE) die();
    return plan->mode;
}

static int change_of_fd(const char *call, int fd) {
    if (!plan) return COUNT;
    struct stat about;
    char path[TEXT];
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) return COUNT;
    of_fd(fd, path);
    return change(call, path);
}

static int change_of_path(const char *call, int folder, const char *name) {
    if (!plan || !name) return COUNT;
    char path[TEXT];
    absolute(folder, name, path);
    int mode = change(call, path);
    if (mode == TORN) die(); /* only a write can be torn */
    return mode;
}

static void line(const char *text, size_t length) {
    for (int i = 1; i < PHASES && plan->names[i][0]; i++) {
        size_t size = strlen(plan->names[i]);
        if (length >= size + 4 && !strncmp(text, plan->names[i], size) && !strncmp(text + size, " ...", 4)) {
            plan->changes = 0;
            plan->phase = i;
            plan->seen[i]++;
            plan->lines++;
        }
    }
}

#define NO_SPACE(mode) if ((mode) == FULL) { errno = ENOSPC; return -1; }

ssize_t write(int fd, const void *bytes, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (plan && fd == 2) line(bytes, size);
    int mode = change_of_fd("write", fd);
    NO_SPACE(mode);
    if (mode == TORN) { real(fd, bytes, size / 2); die(); }
    return real(fd, bytes, size);
}

#define PWRITE(name, offset) \
    ssize_t name(int fd, const void *bytes, size_t size, offset at) { \
        REAL(ssize_t, #name, int, const void *, size_t, offset); \
        int mode = change_of_fd("pwrite", fd); \
        NO_SPACE(mode); \
        if (mode == TORN) { real(fd, bytes, size / 2, at); die(); } \
        return real(fd, bytes, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define BY_FD(type, name, label, parameters, arguments) \
    type name parameters { \
        static type (*real) parameters; \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name); \
        int mode = change_of_fd(label, fd); \
        NO_SPACE(mode); \
        if (mode == TORN) die(); \
        return real arguments; \
    }
BY_FD(ssize_t, writev, "write", (int fd, const struct iovec *v, int n), (fd, v, n))
BY_FD(ssize_t, sendfile, "write", (int fd, int in, off_t *at, size_t n), (fd, in, at, n))
BY_FD(ssize_t, sendfile64, "write", (int fd, int in, off64_t *at, size_t n), (fd, in, at, n))
BY_FD(int, fsync, "fsync", (int fd), (fd))
BY_FD(int, fdatasync, "fsync", (int fd), (fd))
BY_FD(int, ftruncate, "truncate", (int fd, off_t size), (fd, size))
BY_FD(int, ftruncate64, "truncate", (int fd, off64_t size), (fd, size))

#define BY_PATH(name, label, folder, path, parameters, arguments, needs_space) \
    int name parameters { \
        static int (*real) parameters; \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
        int mode = change_of_path(label, folder, path); \
        if (needs_space) NO_SPACE(mode); \
        return real arguments; \
    }
BY_PATH(rename, "rename", AT_FDCWD, b, (const char *a, const char *b), (a, b), 1)
BY_PATH(renameat, "rename", d, b, (int c, const char *a, int d, const char *b), (c, a, d, b), 1)
BY_PATH(renameat2, "rename", d, b, (int c, const char *a, int d, const char *b, unsigned f), (c, a, d, b, f), 1)
BY_PATH(link, "link", AT_FDCWD, b, (const char *a, const char *b), (a, b), 1)
BY_PATH(linkat, "link", d, b, (int c, const char *a, int d, const char *b, int f), (c, a, d, b, f), 1)
BY_PATH(symlink, "link", AT_FDCWD, b, (const char *a, const char *b), (a, b), 1)
BY_PATH(mkdir, "mkdir", AT_FDCWD, a, (const char *a, mode_t m), (a, m), 1)
BY_PATH(mkdirat, "mkdir", d, a, (int d, const char *a, mode_t m), (d, a, m), 1)
BY_PATH(unlink, "unlink", AT_FDCWD, a, (const char *a), (a), 0)
BY_PATH(unlinkat, "unlink", d, a, (int d, const char *a, int f), (d, a, f), 0)
BY_PATH(rmdir, "unlink", AT_FDCWD, a, (const char *a), (a), 0)

static int creates(int flags) { return flags & (O_CREAT | O_TRUNC); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t bits = creates(flags) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (creates(flags)) NO_SPACE(change_of_path("open", AT_FDCWD, path)); \
        return real(path, flags, bits); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, #name, int, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (creates(flags)) NO_SPACE(change_of_path("open", folder, path)); \
        return real(folder, path, flags, bits); \
    }
OPENAT(openat)
OPENAT(openat64)
