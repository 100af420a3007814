/*
 * fw_tls. Connections take the context that is there when they begin, and keep it; a reload makes a
 * new one. Tickets are sealed with a context's own key, so none outlives a reload.
 */
#include "transport/tls/tls.h"

#include <fairway/error.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define LOOK_EVERY_MS 1000

static fwi_tls_file_id id_of(const char *path)
{
    struct stat status;
    if (!path || stat(path, &status))
        return (fwi_tls_file_id){.size = 0};
    return (fwi_tls_file_id){
        .inode = status.st_ino, .size = status.st_size, .modified = status.st_mtim};
}

static void look(const fw_tls *tls, fwi_tls_file_id ret_files[3])
{
    ret_files[0] = id_of(tls->config.cacert);
    ret_files[1] = id_of(tls->config.cert);
    ret_files[2] = id_of(tls->config.key);
}

static bool same_file(const fwi_tls_file_id *a, const fwi_tls_file_id *b)
{
    return a->inode == b->inode && a->size == b->size && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec;
}

/* With the lock. Whether it succeeds or not, the files count as read: only another change makes
 * them be read again. */
static int load(fw_tls *tls, char *ret_detail)
{
    SSL_CTX *context;
    look(tls, tls->files); /* before they are read: what is written meanwhile differs next time */
    int err = fwi_tls_context_new(&tls->config, &context, ret_detail);
    if (err)
        return err;
    SSL_CTX_free(tls->context);
    tls->context = context;
    fwi_tls_sessions_clear(&tls->sessions);
    return FW_OK;
}

static void tell(const char *detail, char *ret_detail, size_t size)
{
    if (ret_detail && size)
        (void)snprintf(ret_detail, size, "%s", detail);
}

static void destroy(fw_tls *tls)
{
    fwi_tls_sessions_clear(&tls->sessions);
    SSL_CTX_free(tls->context);
    uv_mutex_destroy(&tls->lock);
    fwi_tls_config_fini(&tls->config);
    free(tls);
}

int fw_tls_new(const fw_tls_options *options, fw_tls **ret_tls)
{
    char detail[FWI_TLS_DETAIL_BYTES] = "";
    fw_tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return UV_ENOMEM;
    int err = fwi_tls_config_init(&tls->config, options, detail);
    if (!err && (err = uv_mutex_init(&tls->lock)))
        fwi_tls_config_fini(&tls->config);
    if (err) {
        free(tls);
    } else {
        tls->refs = 1;
        fwi_tls_sessions_init(&tls->sessions);
        err = load(tls, detail);
        if (err)
            destroy(tls);
        else
            *ret_tls = tls;
    }
    if (err)
        tell(detail, options->detail, options->detail_size);
    return err;
}

fw_tls *fw_tls_acquire(fw_tls *tls)
{
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void fw_tls_release(fw_tls *tls)
{
    if (tls && atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) == 1)
        destroy(tls);
}

int fw_tls_reload(fw_tls *tls, char *ret_detail, size_t detail_size)
{
    char detail[FWI_TLS_DETAIL_BYTES] = "";
    uv_mutex_lock(&tls->lock);
    int err = load(tls, detail);
    uv_mutex_unlock(&tls->lock);
    if (err)
        tell(detail, ret_detail, detail_size);
    return err;
}

static void refresh(fw_tls *tls, uint64_t now_ms)
{
    if (now_ms < tls->looked_ms + LOOK_EVERY_MS)
        return;
    tls->looked_ms = now_ms;
    fwi_tls_file_id now[3];
    look(tls, now);
    bool changed = false;
    for (int i = 0; i < 3; i++)
        changed = changed || !same_file(&now[i], &tls->files[i]);
    char detail[FWI_TLS_DETAIL_BYTES] = "";
    if (changed && load(tls, detail))
        fwi_log(FW_LOG_WARN, "tls", "changed files cannot be used; the old ones stay",
                FWI_TEXT("why", detail));
}

SSL_CTX *fwi_tls_context(fw_tls *tls, uint64_t now_ms)
{
    uv_mutex_lock(&tls->lock);
    refresh(tls, now_ms);
    SSL_CTX *context = tls->context;
    SSL_CTX_up_ref(context);
    uv_mutex_unlock(&tls->lock);
    return context;
}
