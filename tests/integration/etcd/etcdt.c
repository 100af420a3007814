#include "etcdt.h"

#include <stdarg.h>

#define MAX_ARGS 16

fw_kv *etcdt_open_with(const char *url, const fw_kv_options *options)
{
    fw_kv *kv = NULL;
    char detail[400];
    fw_kv_options own = *options;
    own.detail = detail;
    own.detail_size = sizeof detail;
    if (!own.timeout_ms)
        own.timeout_ms = ETCDT_PATIENT_MS;
    fwt_run_for(1); /* the loop's clock stood still while the test did other things */
    int err = fw_kv_open(fwt_loop, url, &own, &kv);
    ck_assert_msg(!err, "%s: %s: %s", url, fw_error_name(err), detail);
    return kv;
}

fw_kv *etcdt_open_url(const char *url, unsigned timeout_ms)
{
    return etcdt_open_with(url, &(fw_kv_options){.timeout_ms = timeout_ms});
}

fw_kv *etcdt_open_at(const char *scheme, int port, const char *path, unsigned timeout_ms)
{
    char url[200];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", scheme, port, path);
    return etcdt_open_url(url, timeout_ms);
}

const char *etcdt_ctl(int port, ...)
{
    static char *out;
    const char *args[MAX_ARGS];
    size_t n = 0;
    va_list list;
    va_start(list, port);
    for (const char *arg; (arg = va_arg(list, const char *)) && n < MAX_ARGS - 1;)
        args[n++] = arg;
    va_end(list);
    args[n] = NULL;
    free(out);
    out = fwt_etcdctl(port, args);
    return out;
}

void etcdt_restart_at(fwt_etcd *etcd, int port)
{
    if (etcd->proc)
        fwt_etcd_kill(etcd);
    etcd->port = port;
    fwt_etcd_restart(etcd);
}

void etcdt_compact(int port)
{
    static const char name[] = "\"Revision\" : ";
    char revision[32];
    const char *fields = etcdt_ctl(port, "put", "/compact/k", "v", "-w", "fields", NULL);
    const char *at = strstr(fields, name);
    ck_assert_msg(at != NULL, "%s", fields);
    snprintf(revision, sizeof revision, "%lld", atoll(at + strlen(name)));
    etcdt_ctl(port, "compact", revision, NULL);
}
