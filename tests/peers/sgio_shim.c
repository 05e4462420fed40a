/*
 * Preloaded into programs that speak SCSI through SG_IO: paths below $SGIO_FOLDER look like SCSI generic devices,
 * and every command to one is answered by whoever listens on the Unix socket $SGIO_FOLDER/socket.
 *
 * Question: 32-bit native words {length of path, of CDB, of data out, room for data in}, then these three.
 * Answer: words {status, length of sense, of data in}, then these two. One connection for each command.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

enum { SG_MAJOR = 21, SG_VERSION = 30536 };

static const char *folder(void)
{
    const char *path = getenv("SGIO_FOLDER");
    return path ? path : "/nonexistent";
}

static int ours(const char *path)
{
    size_t length = strlen(folder());
    return strncmp(path, folder(), length) == 0 && path[length] == '/';
}

static int path_of(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return ours(path);
}

static int all(ssize_t (*move)(int, void *, size_t), int fd, void *data, size_t length)
{
    char *at = data;
    while (length > 0) {
        ssize_t moved = move(fd, at, length);
        if (moved <= 0)
            return 0;
        at += moved;
        length -= moved;
    }
    return 1;
}

static ssize_t put(int fd, void *data, size_t length) { return write(fd, data, length); }

static int execute(int fd, const char *path, sg_io_hdr_t *io)
{
    int out = io->dxfer_direction == SG_DXFER_TO_DEV, in = io->dxfer_direction == SG_DXFER_FROM_DEV;
    uint32_t question[4] = {strlen(path), io->cmd_len, out ? io->dxfer_len : 0, in ? io->dxfer_len : 0};
    uint32_t answer[3];
    int done = all(put, fd, question, sizeof question) && all(put, fd, (void *)path, question[0])
        && all(put, fd, io->cmdp, question[1]) && all(put, fd, io->dxferp, question[2])
        && all(read, fd, answer, sizeof answer)
        && answer[1] <= io->mx_sb_len && answer[2] <= question[3]
        && all(read, fd, io->sbp, answer[1]) && all(read, fd, io->dxferp, answer[2]);
    if (!done)
        return 0;
    io->status = answer[0];
    io->masked_status = answer[0] >> 1;
    io->sb_len_wr = answer[1];
    io->driver_status = answer[1] ? 8 : 0; /* sense data is there */
    io->host_status = io->msg_status = 0;
    io->resid = question[3] - answer[2];
    io->info = answer[0] ? SG_INFO_CHECK : SG_INFO_OK;
    return 1;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    char path[4096];
    if (!real)
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    if (!path_of(fd, path, sizeof path))
        return real(fd, request, argument);
    if (request == SG_GET_VERSION_NUM) {
        *(int *)argument = SG_VERSION;
        return 0;
    }
    if (request != SG_IO)
        return 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder());
    int peer = socket(AF_UNIX, SOCK_STREAM, 0);
    int done = connect(peer, (struct sockaddr *)&address, sizeof address) == 0 && execute(peer, path, argument);
    close(peer);
    if (!done)
        errno = EIO;
    return done ? 0 : -1;
}

#define LIKE_A_DEVICE(result, status) \
    if ((result) == 0) { \
        (status)->st_mode = S_IFCHR | 0600; \
        (status)->st_rdev = makedev(SG_MAJOR, 0); \
    }

int stat64(const char *path, struct stat64 *status)
{
    int result = fstatat64(-100 /* AT_FDCWD */, path, status, 0);
    if (ours(path))
        LIKE_A_DEVICE(result, status)
    return result;
}

int stat(const char *path, struct stat *status) { return stat64(path, (struct stat64 *)status); }

int fstat64(int fd, struct stat64 *status)
{
    char path[4096];
    int result = fstatat64(fd, "", status, 0x1000 /* AT_EMPTY_PATH */);
    if (path_of(fd, path, sizeof path))
        LIKE_A_DEVICE(result, status)
    return result;
}

int fstat(int fd, struct stat *status) { return fstat64(fd, (struct stat64 *)status); }
