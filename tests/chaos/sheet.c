#include "sheet.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

chaos_sheet *chaos_sheet_open(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    void *memory = MAP_FAILED;
    if (!ftruncate(fd, sizeof(chaos_sheet)))
        memory = mmap(NULL, sizeof(chaos_sheet), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

void chaos_sheet_close(chaos_sheet *sheet)
{
    if (sheet)
        munmap(sheet, sizeof *sheet);
}
