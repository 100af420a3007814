#include "sheet.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

void *chaos_map(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    void *memory = MAP_FAILED;
    if (!ftruncate(fd, (off_t)size))
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

chaos_sheet *chaos_sheet_open(const char *path)
{
    return chaos_map(path, sizeof(chaos_sheet));
}

void chaos_sheet_close(chaos_sheet *sheet)
{
    if (sheet)
        munmap(sheet, sizeof *sheet);
}
