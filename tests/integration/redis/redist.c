#include "redist.h"

#include <stdarg.h>

#define MAX_ARGS 24

fw_kv *redist_open_as(int port, const char *path, const fw_kv_options *options)
{
    char url[200];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d%s", port, path);
    fw_kv *kv = NULL;
    fwt_run_for(1); /* the loop's clock stood still while the test did other things */
    FWT_OK(fw_kv_open(fwt_loop, url, options, &kv));
    return kv;
}

fw_kv *redist_open(int port, const char *path, unsigned timeout_ms)
{
    return redist_open_as(port, path, &(fw_kv_options){.timeout_ms = timeout_ms});
}

const char *redist_cli(int port, ...)
{
    static char *out;
    char text[16];
    snprintf(text, sizeof text, "%d", port);
    const char *argv[MAX_ARGS] = {"redis-cli", "-p", text};
    size_t n = 3;
    va_list args;
    va_start(args, port);
    for (const char *arg; (arg = va_arg(args, const char *)) && n < MAX_ARGS - 1;)
        argv[n++] = arg;
    va_end(args);
    argv[n] = NULL;
    free(out);
    char *err;
    int rc = fwt_run(argv, NULL, &out, &err, STORET_WAIT_MS);
    ck_assert_msg(rc == 0, "redis-cli %s: %s%s", argv[3], out, err);
    free(err);
    return out;
}
