#include "fly_vectors.h"

#include "fwt.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fwi_rpc_protocol *protocol_of(const char *name, const char *dialect)
{
    if (!strcmp(dialect, "v1"))
        return &fwi_rpc_fly_v1;
    if (!strcmp(dialect, "v03"))
        return &fwi_rpc_fly_03;
    if (!strcmp(dialect, "v04"))
        return &fwi_rpc_fly_04;
    return strstr(name, "_seed_") ? &fwi_rpc_fly_seed : &fwi_rpc_fly_v0;
}

static void load(fly_recording *recording, const char *file)
{
    char path[300];
    snprintf(path, sizeof path, "vectors/flyrpc/%s", file);
    char *text = fwt_read_file(fwt_source_path(path));
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    free(text);
    snprintf(recording->name, sizeof recording->name, "%.*s", (int)strcspn(file, "."), file);
    recording->protocol =
        protocol_of(recording->name, cJSON_GetStringValue(cJSON_GetObjectItem(json, "dialect")));
    recording->is_random = cJSON_IsTrue(cJSON_GetObjectItem(json, "nondeterministic"));
    recording->count = 0;
    const cJSON *frame;
    cJSON_ArrayForEach(frame, cJSON_GetObjectItem(json, "frames"))
    {
        const char *hex = cJSON_GetStringValue(cJSON_GetObjectItem(frame, "hex"));
        const char *dir = cJSON_GetStringValue(cJSON_GetObjectItem(frame, "dir"));
        if (!hex)
            continue;
        ck_assert_uint_lt(recording->count, FLY_MAX_RECORDS);
        fly_record *record = &recording->records[recording->count++];
        record->from_client = !strcmp(dir, "c2s");
        record->bytes = fwt_unhex(hex, &record->len);
    }
    cJSON_Delete(json);
}

size_t fly_each_recording(void (*use)(fly_recording *recording))
{
    static fly_recording recording;
    DIR *dir = opendir(fwt_source_path("vectors/flyrpc"));
    size_t count = 0;
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".json") != 0)
            continue;
        load(&recording, entry->d_name);
        use(&recording);
        for (size_t i = 0; i < recording.count; i++)
            free(recording.records[i].bytes);
        count++;
    }
    closedir(dir);
    return count;
}
