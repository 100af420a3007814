#include "fwt.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static char made_dir[256];
static pid_t made_by;

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_dir(void)
{
    if (made_by == getpid())
        nftw(made_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Memory is faster than a disk, but a container may have next to none there. */
static bool has_room(const char *path)
{
    struct statvfs info;
    return !access(path, W_OK) && !statvfs(path, &info) &&
           (uint64_t)info.f_bavail * info.f_frsize > UINT64_C(4) << 30;
}

const char *fwt_tmpdir(void)
{
    if (!*made_dir) {
        const char *base = getenv("TMPDIR");
        if (!base)
            base = has_room("/dev/shm") ? "/dev/shm" : "/tmp";
        snprintf(made_dir, sizeof made_dir, "%s/fwt-XXXXXX", base);
        if (!mkdtemp(made_dir)) {
            perror("mkdtemp");
            exit(2);
        }
        made_by = getpid();
        atexit(remove_dir);
    }
    static char path[300];
    static unsigned count;
    snprintf(path, sizeof path, "%s/%d.%u", made_dir, (int)getpid(), count++);
    if (mkdir(path, 0700)) {
        perror("mkdir");
        exit(2);
    }
    return path;
}

const char *fwt_source_path(const char *relative)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", FWT_SOURCE_DIR, relative);
    return path;
}

char *fwt_read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    size_t len = 0, capacity = 4096;
    char *text = malloc(capacity);
    for (size_t n; (n = fread(text + len, 1, capacity - len - 1, file)) > 0;) {
        len += n;
        if (capacity - len < 2)
            text = realloc(text, capacity *= 2);
    }
    text[len] = 0;
    fclose(file);
    return text;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

int fwt_vector_names(const char *folder, const char *prefix,
                     char (*ret_names)[FWT_VECTOR_NAME_BYTES], int most)
{
    char relative[100];
    int count = 0;
    snprintf(relative, sizeof relative, "vectors/%s", folder);
    DIR *directory = opendir(fwt_source_path(relative));
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".json") || strncmp(entry->d_name, prefix, strlen(prefix)))
            continue;
        if (count == most || dot - entry->d_name >= FWT_VECTOR_NAME_BYTES) {
            fprintf(stderr, "%s: no room for %s\n", relative, entry->d_name);
            exit(2);
        }
        snprintf(ret_names[count++], sizeof *ret_names, "%.*s", (int)(dot - entry->d_name),
                 entry->d_name);
    }
    if (directory)
        closedir(directory);
    if (!count) {
        fprintf(stderr, "%s: no vectors\n", relative);
        exit(2);
    }
    qsort(ret_names, (size_t)count, sizeof *ret_names, by_name);
    return count;
}
