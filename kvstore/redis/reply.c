/* What Redis says: a reader with limits, errors and what they mean, answers of the script. */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

/* A string of Redis may have 512 MiB, but none of ours is longer than a value. */
#define MAX_STRING_BYTES (FWI_REDIS_MAX_VALUE_BYTES + 1024)
/* The reader keeps what it has not yet parsed: at most one string, and what came behind it. */
#define MAX_UNPARSED_BYTES ((size_t)MAX_STRING_BYTES + 1024 * 1024)
#define MAX_ELEMENTS       (64 * 1024 * 1024)

/* hiredis allocates an array by the length that stands on the wire. */
static void *make_array(const redisReadTask *task, int count)
{
    const redisReplyObjectFunctions *hiredis = task->privdata;
    return count > MAX_ELEMENTS ? NULL : hiredis->createArray(task, count);
}

int fwi_redis_reader_init(fwi_redis_reader *reader)
{
    reader->reader = redisReaderCreate();
    if (!reader->reader)
        return UV_ENOMEM;
    reader->reader->privdata = reader->reader->fn;
    reader->functions = *reader->reader->fn;
    reader->functions.createArray = make_array;
    reader->reader->fn = &reader->functions;
    return FW_OK;
}

void fwi_redis_reader_fini(fwi_redis_reader *reader)
{
    redisReaderFree(reader->reader);
}

bool fwi_redis_reader_is_full(const fwi_redis_reader *reader)
{
    return reader->reader->len - reader->reader->pos > MAX_UNPARSED_BYTES;
}

/* ---- errors ---- */

static const struct {
    const char *code;
    fwi_redis_refusal refusal;
    int status;
} meanings[] = {
    {"NOSCRIPT", FWI_REDIS_RELOAD, FW_EUNREACHABLE},
    {"NOAUTH", FWI_REDIS_FINAL, FW_EAUTH},
    {"WRONGPASS", FWI_REDIS_FINAL, FW_EAUTH},
    {"NOPERM", FWI_REDIS_FINAL, FW_EDENIED},
    {"OOM", FWI_REDIS_FINAL, FW_ENOSPACE},
    {"READONLY", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"LOADING", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"BUSY", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"MASTERDOWN", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"CLUSTERDOWN", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"TRYAGAIN", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"NOREPLICAS", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
    {"UNKILLABLE", FWI_REDIS_RECONNECT, FW_EUNREACHABLE},
};

/* True if the text has the code as its first word, or, as older servers write when a command fails
 * inside a script, as a word behind a minus. */
static bool has_code(const char *text, const char *code)
{
    size_t len = strlen(code);
    if (!strncmp(text, code, len) && (text[len] == ' ' || !text[len]))
        return true;
    if (strncmp(text, "ERR ", 4))
        return false;
    for (const char *at = text; (at = strstr(at, " -")); at++)
        if (!strncmp(at + 2, code, len) && at[2 + len] == ' ')
            return true;
    return false;
}

fwi_redis_refusal fwi_redis_classify(const redisReply *error, int *ret_status)
{
    const char *text = error->str ? error->str : "";
    *ret_status = FW_ESTORE;
    /* These have no code of their own. (A long command before AUTH is a protocol error.) */
    if (!strncmp(text, "ERR AUTH ", 9) || strstr(text, "invalid password") ||
        strstr(text, "unauthenticated"))
        *ret_status = FW_EAUTH;
    else if (strstr(text, "ACL failure") || strstr(text, "can't run this command"))
        *ret_status = FW_EDENIED;
    else if (strstr(text, "max number of clients"))
        *ret_status = FW_EUNREACHABLE;
    if (*ret_status != FW_ESTORE)
        return *ret_status == FW_EUNREACHABLE ? FWI_REDIS_RECONNECT : FWI_REDIS_FINAL;
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        if (!has_code(text, meanings[i].code))
            continue;
        *ret_status = meanings[i].status;
        return meanings[i].refusal;
    }
    return FWI_REDIS_FINAL;
}

/* ---- answers ---- */

bool fwi_redis_integer_at(const redisReply *reply, size_t at, int64_t *ret_value)
{
    if (at >= reply->elements || reply->element[at]->type != REDIS_REPLY_INTEGER)
        return false;
    *ret_value = reply->element[at]->integer;
    return true;
}

bool fwi_redis_text_at(const redisReply *reply, size_t at, fw_slice *ret_text)
{
    if (at >= reply->elements || reply->element[at]->type != REDIS_REPLY_STRING)
        return false;
    *ret_text = (fw_slice){reply->element[at]->str, reply->element[at]->len};
    return true;
}

bool fwi_redis_pair_at(const redisReply *reply, size_t at, fwi_redis_pair *ret_pair)
{
    return fwi_redis_text_at(reply, at, &ret_pair->key) &&
           fwi_redis_integer_at(reply, at + 1, &ret_pair->revision) &&
           fwi_redis_integer_at(reply, at + 2, &ret_pair->lease) &&
           fwi_redis_text_at(reply, at + 3, &ret_pair->value) && ret_pair->key.len &&
           ret_pair->key.len <= FW_KV_MAX_KEY_BYTES && ret_pair->revision >= 0 &&
           ret_pair->lease >= -1;
}

int fwi_redis_answer(const redisReply *reply, int64_t *ret_revision, int64_t *ret_due_ms)
{
    static const struct {
        const char *word;
        int status;
    } words[] = {{"ok", FW_OK},          {"notfound", FW_ENOTFOUND},
                 {"exists", FW_EEXISTS}, {"modified", FW_EMODIFIED},
                 {"lease", FW_ELEASE},   {"history", FW_ECOMPACTED}};
    fw_slice word;
    if (reply->type != REDIS_REPLY_ARRAY || !fwi_redis_text_at(reply, 0, &word) ||
        !fwi_redis_integer_at(reply, 1, ret_revision) ||
        !fwi_redis_integer_at(reply, 2, ret_due_ms) || *ret_revision <= 0)
        return FW_ESTORE;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(word.data, words[i].word))
            return words[i].status;
    return FW_ESTORE;
}
