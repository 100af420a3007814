/*
 * The parameters of URLs. Dials with the same parameters share one fw_tls, as long as they are
 * among the last few that were used: files are not read for every dial, and sessions go on.
 */
#include "transport/tls/tls.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MOST_SHARED 16

const char *const fwi_tls_params[] = {"ca",          "cacert", "cert", "key",    "verify",
                                      "server_name", "alpn",   "min",  "client", NULL};

/* ---- one parameter ---- */

static int set_text(const char **field, const char *value)
{
    if (*field || !*value)
        return FW_EOPTION; /* twice, or empty */
    *field = value;
    return FW_OK;
}

/* A value that is one of two words. */
static int set_choice(int *field, const char *value, const char *first, int first_means,
                      const char *second, int second_means)
{
    if (*field != -1)
        return FW_EOPTION;
    *field = !strcmp(value, first) ? first_means : !strcmp(value, second) ? second_means : -1;
    return *field == -1 ? FW_EOPTION : FW_OK;
}

typedef struct choices {
    int verify, min, client; /* -1: not said */
} choices;

static int take_param(fw_tls_options *options, choices *chosen, const char *name, const char *value)
{
    if (!strcmp(name, "ca") || !strcmp(name, "cacert"))
        return set_text(&options->cacert, value);
    if (!strcmp(name, "cert"))
        return set_text(&options->cert, value);
    if (!strcmp(name, "key"))
        return set_text(&options->key, value);
    if (!strcmp(name, "alpn"))
        return set_text(&options->alpn, value);
    if (!strcmp(name, "min"))
        return set_choice(&chosen->min, value, "1.2", FW_TLS_1_2, "1.3", FW_TLS_1_3);
    if (!strcmp(name, "server_name") && !options->server)
        return set_text(&options->server_name, value);
    if (!strcmp(name, "verify") && !options->server)
        return set_choice(&chosen->verify, value, "1", 1, "0", 0);
    if (!strcmp(name, "client") && options->server)
        return set_choice(&chosen->client, value, "require", FW_TLS_CLIENTS_REQUIRE, "request",
                          FW_TLS_CLIENTS_REQUEST);
    return FW_EOPTION;
}

static bool is_ours(const char *name)
{
    for (const char *const *known = fwi_tls_params; *known; known++)
        if (!strcmp(name, *known))
            return true;
    return false;
}

/* *ret_count: how many of the parameters are ours. */
static int read_params(const fw_url *url, bool server, fw_tls_options *ret_options,
                       size_t *ret_count)
{
    choices chosen = {.verify = -1, .min = -1, .client = -1};
    *ret_options = (fw_tls_options){.server = server};
    *ret_count = 0;
    for (size_t i = 0; i < url->param_count; i++) {
        if (!is_ours(url->params[i].name))
            continue; /* the lower transport's */
        int err = take_param(ret_options, &chosen, url->params[i].name, url->params[i].value);
        if (err)
            return err;
        ++*ret_count;
    }
    ret_options->skip_verify = chosen.verify == 0;
    if (chosen.min != -1)
        ret_options->min_version = (fw_tls_version)chosen.min;
    if (chosen.client != -1)
        ret_options->clients = (fw_tls_clients)chosen.client;
    return FW_OK;
}

/* ---- shared ones ---- */

typedef struct shared {
    char *key;
    fw_tls *tls;
} shared;

static shared recent[MOST_SHARED]; /* the last one used is the first */
static uv_mutex_t recent_lock;
static uv_once_t recent_once = UV_ONCE_INIT;
static bool recent_usable;

static void make_lock(void)
{
    recent_usable = !uv_mutex_init(&recent_lock);
}

/* Everything that makes one different from another, as a string to be freed. */
static char *key_of(const fw_tls_options *options)
{
    const char *texts[] = {options->cacert, options->cert, options->key, options->alpn};
    size_t size = 16;
    for (size_t i = 0; i < 4; i++)
        size += texts[i] ? strlen(texts[i]) + 1 : 1;
    char *key = malloc(size);
    if (key)
        (void)snprintf(key, size, "%d%d\n%s\n%s\n%s\n%s", options->skip_verify,
                       (int)options->min_version, texts[0] ? texts[0] : "",
                       texts[1] ? texts[1] : "", texts[2] ? texts[2] : "",
                       texts[3] ? texts[3] : "");
    return key;
}

/* Puts the one at `place` in front. */
static void bring_forward(size_t place)
{
    shared one = recent[place];
    memmove(recent + 1, recent, place * sizeof *recent);
    recent[0] = one;
}

static int new_and_log(fw_tls_options *options, fw_tls **ret_tls)
{
    char detail[FWI_TLS_DETAIL_BYTES] = "";
    options->detail = detail;
    options->detail_size = sizeof detail;
    int err = fw_tls_new(options, ret_tls);
    options->detail = NULL;
    if (err)
        fwi_log(FW_LOG_WARN, "tls", "these parameters of a URL cannot be used",
                FWI_TEXT("why", detail));
    return err;
}

static int find_or_new(fw_tls_options *options, char *key, fw_tls **ret_tls)
{
    size_t place = 0;
    while (place < MOST_SHARED && recent[place].key && strcmp(recent[place].key, key) != 0)
        place++;
    if (place < MOST_SHARED && recent[place].key) {
        bring_forward(place);
        *ret_tls = fw_tls_acquire(recent[0].tls);
        free(key);
        return FW_OK;
    }
    int err = new_and_log(options, ret_tls);
    if (err) {
        free(key);
        return err;
    }
    shared *last = &recent[MOST_SHARED - 1];
    free(last->key);
    fw_tls_release(last->tls);
    *last = (shared){.key = key, .tls = fw_tls_acquire(*ret_tls)};
    bring_forward(MOST_SHARED - 1);
    return FW_OK;
}

static int get_shared(fw_tls_options *options, fw_tls **ret_tls)
{
    uv_once(&recent_once, make_lock);
    char *key = recent_usable ? key_of(options) : NULL;
    if (!key)
        return UV_ENOMEM;
    uv_mutex_lock(&recent_lock);
    int err = find_or_new(options, key, ret_tls);
    uv_mutex_unlock(&recent_lock);
    return err;
}

int fwi_tls_of_url(const fw_url *url, fw_tls *given, bool server, fw_tls **ret_tls,
                   const char **ret_server_name)
{
    fw_tls_options options;
    size_t count;
    int err = read_params(url, server, &options, &count);
    if (err)
        return err;
    *ret_server_name = options.server_name;
    options.server_name = NULL; /* not of the shared object, but of the one connection */
    if (!given)
        return server ? new_and_log(&options, ret_tls) : get_shared(&options, ret_tls);
    if (given->config.server != server || count > (*ret_server_name ? 1u : 0u))
        return FW_EOPTION;
    *ret_tls = fw_tls_acquire(given);
    return FW_OK;
}
