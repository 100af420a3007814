/* Credentials and other parameters of a store's URL: from the query, the options, or the
 * environment. */
#include "kv.h"

#include <errno.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define MAX_PASSWORD_BYTES 4096

static const char *const user_params[] = {"user", "password_file", NULL};
static const char *const tls_params[] = {"cacert", "cert", "key", NULL};

static bool is_among(const char *name, const char *const *names)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

const char *fwi_kv_unknown_param(const fw_url *url, const char *const *names, unsigned takes)
{
    for (size_t i = 0; i < url->param_count; i++) {
        const char *name = url->params[i].name;
        if (!is_among(name, names) && !(takes & FWI_KV_TAKES_USER && is_among(name, user_params)) &&
            !(takes & FWI_KV_TAKES_TLS && is_among(name, tls_params)))
            return name;
    }
    return NULL;
}

/* One setting: the query's, else the option's, else the environment's. */
static int choose(const fw_url *url, const char *param, const char *option, const char *variable,
                  char **ret_text)
{
    const char *text = param ? fw_url_get(url, param) : NULL;
    if (!text)
        text = option;
    if (!text)
        text = secure_getenv(variable);
    *ret_text = text && *text ? strdup(text) : NULL;
    return text && *text && !*ret_text ? UV_ENOMEM : FW_OK;
}

/* The first line of a file. */
static int read_password(fw_kv *kv, const char *path, char **ret_password)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return fwi_kv_open_failed(kv, -errno, "password file %s: %s", path, strerror(errno));
    char line[MAX_PASSWORD_BYTES];
    char *got = fgets(line, sizeof line, file);
    int err = ferror(file) ? -errno : FW_OK;
    fclose(file);
    if (err)
        return fwi_kv_open_failed(kv, err, "password file %s: %s", path, strerror(-err));
    size_t len = got ? strcspn(line, "\r\n") : 0;
    if (!len || len == sizeof line - 1)
        return fwi_kv_open_failed(kv, FW_EOPTION, "password file %s: %s", path,
                                  len ? "its first line is too long" : "it is empty");
    line[len] = 0;
    *ret_password = strdup(line);
    explicit_bzero(line, sizeof line);
    return *ret_password ? FW_OK : UV_ENOMEM;
}

static int choose_password(fw_kv *kv, const fw_url *url, const fw_kv_options *options,
                           fwi_kv_access *access)
{
    char *path = NULL;
    int err = FW_OK;
    const char *from_query = fw_url_get(url, "password_file");
    if (!from_query)
        err = choose(url, NULL, options->password, "FAIRWAY_STORE_PASSWORD", &access->password);
    if (err || access->password)
        return err;
    err = choose(url, "password_file", NULL, "FAIRWAY_STORE_PASSWORD_FILE", &path);
    if (!err && path)
        err = read_password(kv, path, &access->password);
    free(path);
    return err;
}

static int choose_file(fw_kv *kv, const fw_url *url, const char *param, const char *option,
                       const char *variable, char **ret_path)
{
    int err = choose(url, param, option, variable, ret_path);
    if (!err && *ret_path && access(*ret_path, R_OK))
        err = fwi_kv_open_failed(kv, -errno, "%s file %s: %s", param, *ret_path, strerror(errno));
    return err;
}

static int choose_user(fw_kv *kv, const fw_url *url, const fw_kv_options *options,
                       fwi_kv_access *access)
{
    int err = choose(url, "user", url->user ? url->user : options->user, "FAIRWAY_STORE_USER",
                     &access->user);
    if (!err)
        err = choose_password(kv, url, options, access);
    return err;
}

static int choose_tls(fw_kv *kv, const fw_url *url, const fw_kv_options *options,
                      fwi_kv_access *access)
{
    int err =
        choose_file(kv, url, "cacert", options->cacert, "FAIRWAY_STORE_CACERT", &access->cacert);
    if (!err)
        err = choose_file(kv, url, "cert", options->cert, "FAIRWAY_STORE_CERT", &access->cert);
    if (!err)
        err = choose_file(kv, url, "key", options->key, "FAIRWAY_STORE_KEY", &access->key);
    if (!err && !access->cert != !access->key)
        err = fwi_kv_open_failed(kv, FW_ETLS, "a certificate and its key go together");
    return err;
}

int fwi_kv_access_init(fw_kv *kv, const fw_url *url, const fw_kv_options *options,
                       fwi_kv_access *ret_access)
{
    unsigned takes = kv->driver->takes;
    *ret_access = (fwi_kv_access){.user = NULL};
    const char *unknown = fwi_kv_unknown_param(url, kv->driver->params, takes);
    if (unknown)
        return fwi_kv_open_failed(kv, FW_EOPTION, "%s: takes no parameter \"%s\"", url->scheme,
                                  unknown);
    if (!(takes & FWI_KV_TAKES_USER) && (url->user || options->user || options->password))
        return fwi_kv_open_failed(kv, FW_EOPTION, "%s: knows no users", url->scheme);
    if (!(takes & FWI_KV_TAKES_TLS) && (options->cacert || options->cert || options->key))
        return fwi_kv_open_failed(kv, FW_EOPTION, "%s: takes no certificates", url->scheme);
    int err = FW_OK;
    if (takes & FWI_KV_TAKES_USER)
        err = choose_user(kv, url, options, ret_access);
    if (!err && takes & FWI_KV_TAKES_TLS)
        err = choose_tls(kv, url, options, ret_access);
    if (err)
        fwi_kv_access_fini(ret_access);
    return err;
}

void fwi_kv_access_fini(fwi_kv_access *access)
{
    free(access->user);
    if (access->password)
        explicit_bzero(access->password, strlen(access->password));
    free(access->password);
    free(access->cacert);
    free(access->cert);
    free(access->key);
    *access = (fwi_kv_access){.user = NULL};
}
