/* mute-fs MOUNTPOINT: a FUSE file system with one file of 2 MiB under two names: `stack`, and that of a ring. Its first MiB
   reads as zeros; a read beyond it is never answered, and neither is who asks what file system this is. What maps it and
   puts a stack there hangs whoever looks at that stack. */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SIZE = 2 << 20, ANSWERED = 1 << 20 };

static int mute_getattr(const char *path, struct stat *status, struct fuse_file_info *file)
{
    (void)file;
    memset(status, 0, sizeof *status);
    if (strcmp(path, "/") == 0) {
        status->st_mode = S_IFDIR | 0755;
        status->st_nlink = 2;
        return 0;
    }
    if (strcmp(path, "/stack") != 0 && strcmp(path, "/memfd:foretrace.v1") != 0)
        return -ENOENT;
    status->st_mode = S_IFREG | 0644;
    status->st_nlink = 1;
    status->st_size = SIZE;
    return 0;
}

static int mute_read(const char *path, char *into, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)path;
    (void)file;
    if (offset + (off_t)size > ANSWERED) {
        for (;;)
            pause();
    }
    memset(into, 0, size);
    return (int)size;
}

static int mute_statfs(const char *path, struct statvfs *status)
{
    (void)path;
    (void)status;
    for (;;)
        pause();
    return -EIO;
}

static void *mute_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->kernel_cache = 1;
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct fuse_operations operations = {
        .getattr = mute_getattr, .read = mute_read, .statfs = mute_statfs, .init = mute_init};
    return fuse_main(argc, argv, &operations, NULL);
}
