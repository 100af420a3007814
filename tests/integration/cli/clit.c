#include "clit.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

extern char **environ;

static void forget_environment(void)
{
    char name[128];
    for (char **at = environ; *at;) {
        if (strncmp(*at, "FAIRWAY_", 8)) {
            at++;
            continue;
        }
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*at, "="), *at);
        unsetenv(name);
        at = environ;
    }
}

TCase *clit_tcase(Suite *suite, const char *name, double timeout_s)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, forget_environment, NULL);
    tcase_set_timeout(tcase, timeout_s);
    suite_add_tcase(suite, tcase);
    return tcase;
}

uint64_t clit_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

const char *clit_format(const char *format, ...)
{
    static char ring[16][1024];
    static unsigned at;
    char *text = ring[at++ % 16];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof ring[0], format, args);
    va_end(args);
    return text;
}

const char *clit_lmdb_url(void)
{
    return clit_format("lmdb:%s/store", fwt_tmpdir());
}

/* ---- stores ---- */

fwt_etcd clit_etcd;

static void start_etcd(void)
{
    fwt_etcd_start(&clit_etcd);
}

static void end_etcd(void)
{
    fwt_etcd_kill(&clit_etcd);
}

void clit_share_etcd(TCase *tcase)
{
    if (CLIT_STORES > 1)
        tcase_add_unchecked_fixture(tcase, start_etcd, end_etcd);
}

void clit_use_store(int which)
{
    setenv("FAIRWAY_STORE",
           which ? clit_format("etcd://127.0.0.1:%d/t%d", clit_etcd.port, (int)getpid())
                 : clit_lmdb_url(),
           1);
    setenv("FAIRWAY_TIMEOUT", "15s", 1); /* for busy machines */
    setenv("FAIRWAY_DRAIN_TIMEOUT", "50ms", 1);
}

/* ---- runs ---- */

static void collect(const char **argv, const char *word, va_list args)
{
    size_t n = 0;
    argv[n++] = FWT_PROGRAM;
    for (; word; word = va_arg(args, const char *)) {
        ck_assert_uint_lt(n, CLIT_MAX_WORDS - 1);
        argv[n++] = word;
    }
    argv[n] = NULL;
}

static const clit_result *run(const char *const *argv, const char *input)
{
    static clit_result result;
    free(result.out);
    free(result.err);
    result = (clit_result){.code = -1};
    uint64_t start = clit_now_ms();
    result.code = fwt_run(argv, input, &result.out, &result.err, CLIT_PATIENCE_MS);
    result.took_ms = clit_now_ms() - start;
    return &result;
}

const clit_result *clit_run(const char *word, ...)
{
    const char *argv[CLIT_MAX_WORDS];
    va_list args;
    va_start(args, word);
    collect(argv, word, args);
    va_end(args);
    return run(argv, NULL);
}

const clit_result *clit_run_input(const char *input, const char *word, ...)
{
    const char *argv[CLIT_MAX_WORDS];
    va_list args;
    va_start(args, word);
    collect(argv, word, args);
    va_end(args);
    return run(argv, input);
}

const clit_result *clit_shell(const char *line)
{
    setenv("FAIRWAY", FWT_PROGRAM, 1);
    return run((const char *const[]){"/bin/sh", "-c", line, NULL}, NULL);
}

const char *clit_done(const clit_result *result, const char *file, int line)
{
    ck_assert_msg(result->code == 0 && !*result->err,
                  "%s:%d: wanted 0 and silence, got %d\nstdout: %s\nstderr: %s", file, line,
                  result->code, result->out, result->err);
    return result->out;
}

void clit_refused_at(const clit_result *result, int code, const char *text, const char *file,
                     int line)
{
    const char *end = strchr(result->err, '\n');
    const char *colon = strncmp(result->err, "fairway: ", 9) ? NULL : strstr(result->err + 9, ": ");
    ck_assert_msg(result->code == code && !*result->out && colon && end && !end[1] && colon < end &&
                      strstr(result->err, text),
                  "%s:%d: wanted %d and one line with \"%s\", got %d\nstdout: %s\nstderr: %s", file,
                  line, code, text, result->code, result->out, result->err);
}

/* ---- processes ---- */

fwt_proc *clit_start(const char *word, ...)
{
    const char *argv[CLIT_MAX_WORDS];
    va_list args;
    va_start(args, word);
    collect(argv, word, args);
    va_end(args);
    return fwt_proc_start(argv);
}

void clit_end_at(fwt_proc *proc, int sig, int wanted, const char *file, int line)
{
    fwt_proc_signal(proc, sig);
    int code = fwt_proc_wait(proc, CLIT_PATIENCE_MS);
    if (code != wanted) {
        /* What it printed, a sanitizer's report above all, belongs in the log. */
        fprintf(stderr, "%s:%d: exit code %d, wanted %d\n", file, line, code, wanted);
        fwt_proc_expect(proc, "(what the program printed)", 0);
    }
    fwt_proc_end(proc);
}

void clit_await(fwt_proc *proc, const char *text)
{
    uint64_t deadline = clit_now_ms() + CLIT_PATIENCE_MS;
    while (!fwt_proc_printed(proc, text)) {
        if (clit_now_ms() > deadline)
            fwt_proc_expect(proc, text, 0); /* fails, and shows what there is */
        uv_sleep(5);
    }
}

/* ---- JSON ---- */

cJSON *clit_json(const char *text)
{
    size_t len = strcspn(text, "\n");
    char *line = strndup(text, len);
    const char *end;
    cJSON *json = cJSON_ParseWithOpts(line, &end, true);
    ck_assert_msg(json != NULL, "not JSON: %s", line);
    free(line);
    return json;
}

const char *clit_member(const cJSON *json, const char *path)
{
    char name[64];
    while (json && *path) {
        size_t len = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)len, path);
        json = cJSON_GetObjectItemCaseSensitive(json, name);
        path += path[len] ? len + 1 : len;
    }
    if (!json)
        return "(none)";
    if (cJSON_IsString(json))
        return clit_format("%s", json->valuestring);
    if (cJSON_IsBool(json))
        return cJSON_IsTrue(json) ? "true" : "false";
    if (cJSON_IsNumber(json))
        return clit_format("%lld", (long long)json->valuedouble);
    char *text = cJSON_PrintUnformatted(json);
    const char *copy = clit_format("%s", text);
    free(text);
    return copy;
}

const char *clit_field(const char *text, const char *path)
{
    cJSON *json = clit_json(text);
    const char *value = clit_member(json, path);
    cJSON_Delete(json);
    return value;
}

size_t clit_lines_at(const char *text, const char *file, int line)
{
    size_t count = 0;
    for (; *text; count++) {
        cJSON *json = clit_json(text);
        ck_assert_msg(cJSON_IsObject(json), "%s:%d: not an object: %s", file, line, text);
        cJSON_Delete(json);
        text = strchr(text, '\n');
        ck_assert_msg(text != NULL, "%s:%d: the last line does not end", file, line);
        text++;
    }
    return count;
}
