/*
 * A place of our own below the store that was given: a directory with a random name, at the end of
 * the URL's path. It is deleted as a tree; for lmdb, whose path is a directory of files, as files.
 */
#include "conform.h"

#include <errno.h>
#include <fairway/url.h>
#include <fairway/wait.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_scheme(const char *url, const char *scheme)
{
    size_t len = strlen(scheme);
    return !strncmp(url, scheme, len) && url[len] == ':';
}

bool conform_place_is_files(const conform_place *place)
{
    return has_scheme(place->base, "lmdb");
}

/* Puts something at the end of the path of a URL, before its query. */
static int add_to_path(const char *url, const char *what, char *ret_url, size_t size)
{
    size_t path = strcspn(url, "?");
    const char *query = url + path;
    while (path && url[path - 1] == '/' && !(path > 2 && !strncmp(url + path - 3, "://", 3)))
        path--;
    /* redis://host has its number of a database between the host and the prefix. */
    const char *host = strstr(url, "://");
    bool no_path = host && !memchr(host + 3, '/', (size_t)(url + path - host) - 3);
    bool needs_db = no_path && (has_scheme(url, "redis") || has_scheme(url, "rediss"));
    int n =
        snprintf(ret_url, size, "%.*s%s/%s%s", (int)path, url, needs_db ? "/0" : "", what, query);
    return n > 0 && (size_t)n < size ? -1 : cli_fail(EXIT_USAGE, url, "too long");
}

/* The uppermost part of a path that does not exist yet. */
static void find_made(const char *path, char *ret_made, size_t size)
{
    struct stat info;
    snprintf(ret_made, size, "%s", path);
    for (;;) {
        char parent[1200];
        snprintf(parent, sizeof parent, "%s", ret_made);
        char *slash = strrchr(parent, '/');
        if (!slash || slash == parent)
            return;
        *slash = 0;
        if (!stat(parent, &info))
            return;
        snprintf(ret_made, size, "%s", parent);
    }
}

int conform_place_init(conform_place *place, const char *url)
{
    uint64_t number = 0;
    fw_url parsed;
    memset(place, 0, sizeof *place);
    int err = fw_url_init(&parsed, url);
    if (err)
        return cli_fail_error(url, err, NULL);
    fw_url_fini(&parsed);
    uv_random(NULL, NULL, &number, sizeof number, 0, NULL);
    snprintf(place->base, sizeof place->base, "%s", url);
    if (strlen(url) >= sizeof place->base)
        return cli_fail(EXIT_USAGE, url, "too long");
    snprintf(place->name, sizeof place->name, "fairway-conform-%016llx",
             (unsigned long long)number);
    int rc = add_to_path(url, place->name, place->url, sizeof place->url);
    if (rc >= 0 || !conform_place_is_files(place))
        return rc;
    err = fw_url_init(&parsed, place->url);
    if (err)
        return cli_fail_error(place->url, err, NULL);
    find_made(parsed.path, place->made, sizeof place->made);
    fw_url_fini(&parsed);
    return -1;
}

void conform_fresh_url(const conform_place *place, char *url, size_t size)
{
    static unsigned count;
    char name[48];
    snprintf(name, sizeof name, "%d-%u", (int)getpid(), count++);
    if (add_to_path(place->url, name, url, size) >= 0)
        abort(); /* its length was checked with that of the place */
}

/* ---- deleting ---- */

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int delete_files(const conform_place *place)
{
    if (!nftw(place->made, remove_one, 16, FTW_DEPTH | FTW_PHYS) || errno == ENOENT)
        return -1;
    return cli_fail_error(place->made, -errno, "cannot be removed");
}

/* Key by key: a store may bound what it does in one revision. */
static int delete_one_by_one(fw_wait_kv *kv, const char *prefix, char *ret_detail, size_t size)
{
    const fw_kv_result *list = fw_wait_kv_list(kv, prefix);
    size_t count = list->count;
    int status = list->status;
    char **keys = calloc(count + 1, sizeof *keys);
    for (size_t i = 0; keys && i < count; i++)
        keys[i] = strdup(list->pairs[i].key);
    for (size_t i = 0; keys && i < count && !status; i++) {
        const fw_kv_result *result = keys[i] ? fw_wait_kv_delete(kv, keys[i]) : NULL;
        status = !result ? UV_ENOMEM : result->status == FW_ENOTFOUND ? FW_OK : result->status;
        if (result && status)
            snprintf(ret_detail, size, "%s", result->detail);
    }
    for (size_t i = 0; keys && i < count; i++)
        free(keys[i]);
    status = keys ? status : UV_ENOMEM;
    free(keys);
    return status;
}

int conform_place_delete(const conform_place *place, uint32_t timeout_ms)
{
    if (conform_place_is_files(place))
        return delete_files(place);
    if (has_scheme(place->base, "mem"))
        return -1; /* it ended with the processes of the tests */
    char detail[512] = "", what[1300];
    fw_kv_options options = {
        .timeout_ms = timeout_ms, .detail = detail, .detail_size = sizeof detail};
    fw_wait_kv *kv;
    int status = fw_wait_kv_open(place->base, &options, &kv);
    if (!status) {
        const fw_kv_result *result = fw_wait_kv_delete_tree(kv, place->name);
        status = result->status;
        snprintf(detail, sizeof detail, "%s", result->detail);
        if (status && status != FW_EUNREACHABLE)
            status = delete_one_by_one(kv, place->name, detail, sizeof detail);
        fw_wait_kv_close(kv);
    }
    snprintf(what, sizeof what, "%s: what was made cannot be deleted", place->url);
    return status ? cli_fail_error(what, status, detail) : -1;
}
