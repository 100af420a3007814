#include "transport/ws/config.h"

#include <ctype.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_PING_SECONDS 86400
#define MAX_VALUE_BYTES  1024 /* of a parameter: it has to fit into the head of a request */

const char *const fwi_ws_params[] = {"protocol", "origin", "deflate", "text",
                                     "ping",     "query",  NULL};

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* A list of tokens of HTTP. */
static bool is_token_list(const char *list)
{
    bool in_token = false;
    for (; *list; list++) {
        if (*list != ',' && !is_token_char(*list))
            return false;
        if (*list == ',' && !in_token)
            return false;
        in_token = *list != ',';
    }
    return in_token;
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

static int parse_switch(const fw_url *url, const char *name, bool *ret_on)
{
    const char *value = fw_url_get(url, name);
    if (value && strcmp(value, "0") && strcmp(value, "1"))
        return FW_EOPTION;
    *ret_on = value && *value == '1';
    return FW_OK;
}

static int parse_ping(const fw_url *url, uint32_t *ret_ms)
{
    const char *value = fw_url_get(url, "ping");
    *ret_ms = 0;
    if (!value)
        return FW_OK;
    char *end;
    unsigned long seconds = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || seconds > MAX_PING_SECONDS)
        return FW_EOPTION;
    *ret_ms = (uint32_t)seconds * 1000;
    return FW_OK;
}

/* The request's target: the path, encoded again, and the query. */
static int make_target(const char *path, const char *query, char **ret_target)
{
    static const char hex[] = "0123456789ABCDEF";
    if (!*path)
        path = "/";
    char *target = malloc(3 * strlen(path) + strlen(query) + 2), *out = target;
    if (!target)
        return UV_ENOMEM;
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        if (isalnum(c) || strchr("/-._~!$&'()*+,;=:@", c)) {
            *out++ = (char)c;
            continue;
        }
        *out++ = '%';
        *out++ = hex[c >> 4];
        *out++ = hex[c & 15];
    }
    if (*query)
        *out++ = '?';
    memcpy(out, query, strlen(query) + 1);
    *ret_target = target;
    return FW_OK;
}

static int make_host(const fw_url *url, bool secure, char **ret_host)
{
    const fw_url_host *host = &url->hosts[0];
    size_t size = strlen(host->name) + 10;
    char *text = malloc(size);
    if (!text)
        return UV_ENOMEM;
    bool is_ipv6 = strchr(host->name, ':');
    int len = snprintf(text, size, is_ipv6 ? "[%s]" : "%s", host->name);
    if (host->port && host->port != (secure ? 443 : 80))
        snprintf(text + len, size - (size_t)len, ":%d", host->port);
    *ret_host = text;
    return FW_OK;
}

static int copy(const char *value, char **ret_copy)
{
    *ret_copy = strdup(value ? value : "");
    return *ret_copy ? FW_OK : UV_ENOMEM;
}

static int fill(fwi_ws_config *config, const fw_url *url, bool secure)
{
    const char *protocol = fw_url_get(url, "protocol"), *origin = fw_url_get(url, "origin"),
               *query = fw_url_get(url, "query");
    int err = parse_switch(url, "deflate", &config->deflate);
    if (!err)
        err = parse_switch(url, "text", &config->text);
    if (!err)
        err = parse_ping(url, &config->ping_ms);
    if (err)
        return err;
    if ((config->text && !config->messages) || (query && config->server))
        return FW_EOPTION;
    if ((protocol && (!is_token_list(protocol) || strlen(protocol) > MAX_VALUE_BYTES)) ||
        (origin && (!is_printable(origin) || strlen(origin) > MAX_VALUE_BYTES)) ||
        (query && (!is_printable(query) || strlen(query) > MAX_VALUE_BYTES)))
        return FW_EOPTION;
    err = copy(protocol, &config->protocols);
    if (!err)
        err = copy(origin, &config->origins);
    if (!err)
        err = config->server ? copy(url->path, &config->target)
                             : make_target(url->path, query ? query : "", &config->target);
    if (!err && !config->server)
        err = make_host(url, secure, &config->host);
    return err;
}

int fwi_ws_config_new(const fw_url *url, const fwi_ws_mode *mode, fwi_ws_config **ret_config)
{
    if (url->host_count != 1 || (*url->path && *url->path != '/') ||
        strlen(url->path) > MAX_VALUE_BYTES || strlen(url->hosts[0].name) > MAX_VALUE_BYTES ||
        !is_printable(url->hosts[0].name))
        return FW_EURL;
    fwi_ws_config *config = calloc(1, sizeof *config);
    if (!config)
        return UV_ENOMEM;
    config->references = 1;
    config->server = mode->server;
    config->messages = mode->messages;
    config->max_message_bytes = mode->max_message_bytes;
    int err = fill(config, url, mode->secure);
    if (err)
        fwi_ws_config_release(config);
    else
        *ret_config = config;
    return err;
}

fwi_ws_config *fwi_ws_config_acquire(fwi_ws_config *config)
{
    config->references++;
    return config;
}

static void free_texts(fwi_ws_config *config)
{
    free(config->target);
    free(config->host);
    free(config->protocols);
    free(config->origins);
    config->target = config->host = config->protocols = config->origins = NULL;
}

void fwi_ws_config_release(fwi_ws_config *config)
{
    if (!config || --config->references)
        return;
    free_texts(config);
    fwi_ws_reader_destroy(config->reader);
    fwi_ws_writer_destroy(config->writer);
    fwi_ws_deflater_destroy(config->deflater);
    free(config);
}

void fwi_ws_config_trim(fwi_ws_config *config)
{
    if (!config->server)
        free_texts(config);
}

/* Only a listener's config keeps something: a dialled connection alone would own it. */
#define WORK_SPACE(what)                                                                           \
    fwi_ws_##what *fwi_ws_config_take_##what(fwi_ws_config *config)                                \
    {                                                                                              \
        fwi_ws_##what *spare = config->what;                                                       \
        config->what = NULL;                                                                       \
        return spare ? spare : fwi_ws_##what##_create();                                           \
    }                                                                                              \
    void fwi_ws_config_give_##what(fwi_ws_config *config, fwi_ws_##what *used)                     \
    {                                                                                              \
        if (config->server && !config->what)                                                       \
            config->what = used;                                                                   \
        else                                                                                       \
            fwi_ws_##what##_destroy(used);                                                         \
    }

WORK_SPACE(reader)
WORK_SPACE(writer)
WORK_SPACE(deflater)
