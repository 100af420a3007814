/*
 * main of a target in builds without libFuzzer: each file of a folder is handed to the target, as
 * it is and cut short at each length. Every input lies in memory of its exact size, so that
 * AddressSanitizer sees a byte read beyond it.
 */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

#define MAX_FILE_BYTES   (64 * 1024)
#define MAX_PREFIX_BYTES 2048 /* of longer files only prefixes up to this length are tried */

static void feed(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    FUZZ_CHECK(copy);
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void replay(const char *path)
{
    static uint8_t data[MAX_FILE_BYTES];
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file);
    size_t len = fread(data, 1, sizeof data, file);
    FUZZ_CHECK(feof(file));
    fclose(file);
    feed(data, len);
    for (size_t n = 0; n < len && n <= MAX_PREFIX_BYTES; n++)
        feed(data, n);
}

int main(int argc, char **argv)
{
    FUZZ_CHECK(argc == 2);
    DIR *dir = opendir(argv[1]);
    if (!dir) {
        fprintf(stderr, "%s: no corpus\n", argv[1]);
        return 1;
    }
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char path[4096];
        int n = snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        FUZZ_CHECK(n > 0 && (size_t)n < sizeof path);
        replay(path);
        count++;
    }
    closedir(dir);
    printf("%zu files replayed\n", count);
    return count ? 0 : 1;
}
