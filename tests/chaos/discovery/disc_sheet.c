#include "disc_sheet.h"

#include "sheet.h"

#include <sys/mman.h>
#include <uv.h>

disc_sheet *disc_sheet_open(const char *path)
{
    return chaos_map(path, sizeof(disc_sheet));
}

void disc_sheet_close(disc_sheet *sheet)
{
    if (sheet)
        munmap(sheet, sizeof *sheet);
}

void disc_sheet_add(disc_sheet *sheet, disc_record record)
{
    size_t count = atomic_load(&sheet->count);
    if (count == DISC_MAX_RECORDS) {
        atomic_store(&sheet->full, true);
        return;
    }
    record.time_ns = uv_hrtime();
    sheet->records[count] = record;
    atomic_store(&sheet->count, count + 1);
}
